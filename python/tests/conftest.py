"""The program that is tried, and a run of a small pipeline that several tests look at."""

import os
from pathlib import Path

import pytest

import zskt

PIPELINE = """(
    name: "tiny",
    data_free: ["student"],
    nodes: {
        "train_digits": SyntheticDigits(count: 160, size: 16, split: Train),
        "teacher":  WideResNet(depth: 10, widen_factor: 1),
        "labels":   CrossEntropy(),
        "learn":    Minimize(optimizer: Sgd(lr: 0.05)),
        "teaching": Train(epochs: 1, batch_size: 32),

        "student":  WideResNet(depth: 10, widen_factor: 1),
        "generator": ConvGenerator(latent_dim: 8, channels: 8, first_map: 4, image_size: 16),
        "belief":   KlDivergence(),
        "distance": MeanAbsoluteError(),
        "imitate":  Minimize(optimizer: Adam(lr: 1e-3)),
        "distill":  Transfer(
            batches: 6, batch_size: 8, evaluate_every: 2, monitor_every: 3, keep: Best("student_accuracy"),
        ),

        "tests":    SyntheticDigits(count: 40, size: 16, split: Test),
        "teacher_accuracy": Accuracy(),
        "student_accuracy": Accuracy(),
    },
    edges: [
        "train_digits -> teaching.images", "teacher -> teaching.student", "learn -> teaching.turns",
        "teacher -> learn.player", "labels -> learn.loss",
        "student -> imitate.player", "belief -> imitate.loss", "distance -> imitate.loss",
        "teaching -> distill.teacher", "student -> distill.student", "generator -> distill.images",
        "imitate -> distill.turns",
        "teaching -> teacher_accuracy.classifier", "tests -> teacher_accuracy.dataset",
        "distill -> student_accuracy.classifier", "tests -> student_accuracy.dataset",
    ],
)
"""


@pytest.fixture(scope="session", autouse=True)
def _program():
    # Elsewhere, it is the one that was built here.
    built = Path(__file__).parents[2] / "target/release/zskt-run"
    if "ZSKT_RUN" not in os.environ and built.is_file():
        os.environ["ZSKT_RUN"] = str(built)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipelines") / "tiny.ron"
    path.write_text(PIPELINE)
    return path


@pytest.fixture(scope="session")
def told():
    """The events of the run below."""
    return []


@pytest.fixture(scope="session")
def finished(pipeline, told, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return zskt.run(pipeline, set={"seed": 3}, out=out, on_event=told.append)
