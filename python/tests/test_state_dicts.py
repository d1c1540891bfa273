import importlib.util
import json

import pytest

import zskt
from zskt import _safetensors


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_weights_are_a_state_dict(finished, tmp_path):
    import torch

    state = finished.state_dict()
    counted = [name for name, tensor in state.items() if not tensor.is_floating_point()]
    assert all(name.endswith("num_batches_tracked") for name in counted)
    network = torch.nn.Conv2d(3, 16, 3, padding=1, bias=False)
    first = next(name for name, tensor in state.items() if tensor.shape == network.weight.shape)
    network.load_state_dict({"weight": state[first]})
    # Both readers find the same.
    own = _safetensors._read(finished.weights["student"])
    assert own.keys() == state.keys()
    assert all(own[name].dtype == tensor.dtype and torch.equal(own[name], tensor) for name, tensor in state.items())
    with pytest.raises(LookupError, match=r"no weights `best`; it has student, student\.best, teaching"):
        finished.state_dict("best")
    (tmp_path / "odd.safetensors").write_bytes(b"PK")
    with pytest.raises(zskt.ZsktError, match="not a file of safetensors"):
        _safetensors._read(tmp_path / "odd.safetensors")


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_it_is_said_what_is_missing(finished):
    with pytest.raises(ImportError, match=r"pip install 'zskt\[torch\]'"):
        finished.state_dict()


def test_the_file_is_as_the_small_reader_takes_it(finished):
    data = finished.weights["student"].read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = [entry for name, entry in json.loads(data[8 : 8 + length]).items() if name != "__metadata__"]
    assert {entry["dtype"] for entry in entries} <= set(_safetensors._DTYPES)
    assert max(entry["data_offsets"][1] for entry in entries) == len(data) - 8 - length
