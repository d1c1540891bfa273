#!/usr/bin/env python3
"""Whether exported models are sound, and other runtimes find the logits of zskt: `check.py FOLDER`.

The folder is what the ignored test of `zskt-runtime/src/export/tests.rs`, which runs this, writes: for each network `NAME.onnx`, and
`NAME.images` and `NAME.logits`, 32-bit floats.
"""
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
import tract

TOLERANCE = 1e-4


def onnx_runtime(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": images})[0]


def tract_runtime(path, images):
    model = tract.onnx().load(path).into_model().into_runnable()
    return model.run([images])[0].to_numpy()


def main(folder):
    paths = sorted(Path(folder).glob("*.onnx"))
    assert paths, f"there is no model in {folder}"
    wrong = False
    for path in paths:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        sizes = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        images = numpy.fromfile(path.with_suffix(".images"), "<f4").reshape(-1, *sizes)
        expected = numpy.fromfile(path.with_suffix(".logits"), "<f4").reshape(len(images), -1)
        for name, run in (("ONNX Runtime", onnx_runtime), ("tract", tract_runtime)):
            found = run(str(path), images)
            assert found.shape == expected.shape, f"{path.name}, {name}: {found.shape}, expected {expected.shape}"
            error = numpy.abs(found - expected).max() / numpy.abs(expected).max()
            wrong |= not error < TOLERANCE
            print(f"{path.stem}, {name}: {len(images)} images, logits differ by at most {error:.1e} of the largest")
    sys.exit(wrong)


if __name__ == "__main__":
    main(*sys.argv[1:])
