"""Programs that checks run: for so long and no longer, with all they say shown."""

import contextlib
import glob
import os
import signal
import subprocess
import sys
import tempfile


# Those that go on.
LIVING = set()


class Failed(Exception):
    """Why a check failed."""


class Skipped(Exception):
    """Why a check was not made."""


def run(command, limit, shown=12000, **environment):
    """Runs a command for `limit` seconds at most, showing what it says; its status (nothing, if it was stopped) and output."""
    print("$", " ".join(map(str, command)), flush=True)
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        # A session of its own, so that what it has started ends with it.
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | environment,
            start_new_session=True,
        )
        LIVING.add(process)
        status = None
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            print(f"stopped after {limit:.0f} s", flush=True)
        finally:
            end(process)
            process.wait()
            LIVING.discard(process)
            output.seek(0)
            text = output.read()
            # Its end says why it failed, its beginning what came first.
            third = shown // 3
            print(text if len(text) < shown else f"{text[:third]}\n[...]\n{text[-2 * third :]}", flush=True)
    return status, text


def end(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def end_all():
    """Ends what runs beside the checks."""
    for process in list(LIVING):
        end(process)


def last_line(text):
    return (text.strip().splitlines() or ["it says nothing"])[-1][:200]


def why(status, text):
    """Of a program that did not do what it should."""
    said = [line for line in text.splitlines() if line.startswith("error: ")]
    return "too slow" if status is None else (said or [last_line(text)])[0][:300]


def find_libraries():
    """Lets programs find the CUDA libraries that come as Python wheels beside PyTorch."""
    folders = [folder for path in sys.path if path for folder in sorted(glob.glob(f"{path}/nvidia/*/lib"))]
    folders = list(dict.fromkeys(folders))
    if folders:
        wheels = ":".join(folders)
        # Programs that open the libraries when they need them look here.
        os.environ["CUDA_LAZY_DIRS"] = wheels
        os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, [wheels, os.environ.get("LD_LIBRARY_PATH")]))
