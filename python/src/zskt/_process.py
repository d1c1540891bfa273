"""A program that tells events while it runs."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from zskt._program import PathLike, find_program
from zskt.errors import RunError, ZsktError
from zskt.events import EVENTS_FORMAT, Event

if TYPE_CHECKING:
    from typing_extensions import Self

Result = TypeVar("Result")


class Process(ABC, Generic[Result]):
    """The program at work.

    It is iterated over for what happens. Left by an exception, Ctrl-C among them, a `with` block ends it at its next
    checkpoint. It has a session of its own, so Ctrl-C in a terminal reaches it through Python alone, and it goes on
    when Python is killed.
    """

    folder: Path | None = None
    """Where the run or the sweep is kept, as soon as the program has said so."""

    def __init__(self, arguments: Sequence[str], *, cwd: PathLike | None, program: PathLike | None) -> None:
        self._program = program
        self._cwd = Path(cwd) if cwd is not None else Path()
        self._popen = subprocess.Popen(
            [str(find_program(program)), *arguments, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=os.environ | {"NO_COLOR": "1"},
            start_new_session=True,
        )
        self._said: list[str] = []
        self._is_asked = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The number of the program's process."""
        return self._popen.pid

    @property
    def diagnostics(self) -> str:
        """What the program has said on standard error so far: errors, warnings, notices."""
        return "".join(self._said)

    def __iter__(self) -> Iterator[Event]:
        assert self._popen.stdout is not None
        while line := self._popen.stdout.readline():
            # The last one, of a program that was killed: what ended it says the exit code.
            if not line.endswith(b"\n"):
                break
            event = Event(json.loads(line))
            self._note(event)
            yield event

    def stop(self) -> None:
        """Ask the program to stop at its next checkpoint; asked twice, it ends at once."""
        self._is_asked = True
        if self._popen.poll() is None:
            self._popen.terminate()

    def close(self) -> None:
        """Stop the program, unless it has ended, and wait for its end."""
        if self._popen.stdout is None or self._popen.stdout.closed:
            return
        # Asked twice, it would end without its checkpoint.
        if not self._is_asked:
            self.stop()
        try:
            self._drain()
        except KeyboardInterrupt:
            self.stop()
            self._drain()
            raise

    def wait(self, on_event: Callable[[Event], object] | None = None) -> Result:
        """Wait for the end of the program, telling what happens; return what it made.

        Raises `RunError` where the exit code is not 0. An exception on the way, Ctrl-C among them, stops the program.
        """
        try:
            for event in self:
                if on_event is not None:
                    on_event(event)
            exit_code = self._popen.wait()
            self._listener.join()
        except BaseException as error:
            self.close()
            if hasattr(error, "add_note") and self.folder is not None:
                error.add_note(f"{self.folder} has what was done until then, and can be gone on with")
            raise
        if exit_code != 0:
            raise RunError.of(exit_code, self.diagnostics, self.folder)
        return self._result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _drain(self) -> None:
        for _ in self:
            pass
        self._popen.wait()
        self._listener.join()
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()

    def _listen(self) -> None:
        assert self._popen.stderr is not None
        for line in self._popen.stderr:
            self._said.append(line.decode("utf-8", "replace"))

    def _note(self, event: Event) -> None:
        """Take note of what matters here."""
        if event.kind == "started" and event["format"] > EVENTS_FORMAT:
            raise ZsktError(
                f"zskt {event['zskt']} tells events of format {event['format']}, which this package does not know: "
                f"install the one of that release"
            )

    @abstractmethod
    def _result(self) -> Result:
        """Return what it made, once it is done."""
