"""Starts zskt's runs, watches them, and reads what they found.

>>> import zskt
>>> run = zskt.run("pipelines/quickstart.ron", set={"distill.batches": 200})  # doctest: +SKIP
>>> run.figures["student_accuracy.top1"]  # doctest: +SKIP
0.861
"""

from zskt._program import find_program
from zskt._run import Run, RunState
from zskt._safetensors import read_safetensors
from zskt._start import RunProcess, SweepProcess, run, start, start_sweep, sweep
from zskt._sweep import Sweep
from zskt._validate import Validation, validate
from zskt.errors import (
    BudgetUsedUpError,
    ExpectationsNotMetError,
    NotARunError,
    ProgramNotFoundError,
    RefusedError,
    RunError,
    RunFailedError,
    RunInterruptedError,
    ZsktError,
)
from zskt.events import EVENTS_FORMAT, Event

__all__ = [
    "EVENTS_FORMAT",
    "BudgetUsedUpError",
    "Event",
    "ExpectationsNotMetError",
    "NotARunError",
    "ProgramNotFoundError",
    "RefusedError",
    "Run",
    "RunError",
    "RunFailedError",
    "RunInterruptedError",
    "RunProcess",
    "RunState",
    "Sweep",
    "SweepProcess",
    "Validation",
    "ZsktError",
    "find_program",
    "read_safetensors",
    "run",
    "start",
    "start_sweep",
    "sweep",
    "validate",
]
