"""What can go wrong, one class for each exit code of the program."""

from __future__ import annotations

from pathlib import Path


class ZsktError(Exception):
    """Anything that goes wrong here."""


class ProgramNotFoundError(ZsktError):
    """There is no program `zskt-run` where it was looked for."""


class NotARunError(ZsktError):
    """A folder is not what it was taken for: a run, or a sweep."""


class RunError(ZsktError):
    """The program ended with another exit code than 0.

    Its text is what the program said on standard error.
    """

    exit_code: int
    """The program's exit code; negative where a signal ended it, as `subprocess` has it."""
    diagnostics: str
    """All that the program said on standard error."""
    folder: Path | None
    """The folder of the run or the sweep, if it has one."""

    def __init__(self, exit_code: int, diagnostics: str, folder: Path | None = None) -> None:
        self.exit_code = exit_code
        self.diagnostics = diagnostics
        self.folder = folder
        super().__init__(diagnostics.strip() or f"zskt-run ended with exit code {exit_code}")

    @staticmethod
    def of(exit_code: int, diagnostics: str, folder: Path | None = None) -> RunError:
        """Return the error that an exit code stands for."""
        kind = _OF_EXIT_CODE.get(exit_code, RunFailedError)
        return kind(exit_code, diagnostics, folder)


class RefusedError(RunError):
    """A pipeline, a parameter or a plugin is wrong, and nothing was run (exit code 2)."""


class RunFailedError(RunError):
    """It failed while running (exit code 1), or something ended it."""


class ExpectationsNotMetError(RunError):
    """The run is done, and found something else than its pipeline expects (exit code 3)."""


class BudgetUsedUpError(RunError):
    """The budget is used up; the run stopped at a checkpoint (exit code 124)."""


class RunInterruptedError(RunError):
    """The run was asked to stop, and stopped at a checkpoint (exit code 130)."""


_OF_EXIT_CODE: dict[int, type[RunError]] = {
    2: RefusedError,
    3: ExpectationsNotMetError,
    124: BudgetUsedUpError,
    130: RunInterruptedError,
}
