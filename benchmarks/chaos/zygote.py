"""Starts processes that run the command `redbike` within milliseconds: it has imported everything, and forks.

Started as a program by `Zygote`. It has no threads, so forking is safe. It ends its children when its input ends.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

import benchmarks.chaos.recorder  # noqa: F401 - imported before the fork
import redbike
import redbike.cli
import redbike.resolve
from benchmarks.chaos import clock

_PR_SET_PDEATHSIG = 1  # prctl(2): this process ends when the parent ends, however that happens
_ROOT = Path(__file__).resolve().parents[2]


class Actor:
    """One process of a fleet."""

    def __init__(self, zygote: "Zygote", pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self._zygote = zygote
        self._code: int | None = None
        self._lock = threading.Lock()

    def code(self) -> int | None:
        """The exit code (negative: the signal); None while the process runs."""
        with self._lock:
            if self._code is None:
                self._code = self._zygote.ask(wait=self.pid)
            return self._code

    def send(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        with self._lock:
            if self._code is None:
                os.kill(self.pid, number)  # not reaped yet, so the pid is still its own

    def wait(self, within_s: float) -> int | None:
        """Wait for the exit code and return it; None if the time is over first."""
        give_up_at = time.monotonic() + within_s
        while self.code() is None and time.monotonic() < give_up_at:
            time.sleep(0.005)
        return self._code

    def lines(self, part: str) -> list[str]:
        """Return the log lines so far that contain this text."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return [line for line in text.splitlines() if part in line]


class Zygote:
    """The parent process of all actors."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        paths = [str(Path(redbike.__file__).parents[1]), str(_ROOT), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.chaos.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **(environment or {})},
        )
        self._lock = threading.Lock()

    def start(self, folder: Path, log: Path, *argv: str) -> Actor:
        """Start `redbike` with these arguments in this folder. stdout and stderr go to the log."""
        pid = self.ask(argv=argv, folder=str(folder), log=str(log))
        assert pid is not None
        return Actor(self, pid, log)

    def ask(self, **request: object) -> int | None:
        """Ask one question. Return the answer: a number or None."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer: int | None = json.loads(self._process.stdout.readline())
            return answer

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def main(requests: TextIO, answers: TextIO) -> None:
    """Fork or wait as requested, until the input ends."""
    alive: set[int] = set()
    for line in requests:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
            alive -= {pid}
        else:
            answer = os.fork()
            if answer == 0:
                _become(request)
            alive.add(answer)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _become(request: dict[str, Any]) -> None:
    """In the child: run the command, and never return."""
    code = 70
    try:
        with contextlib.suppress(AttributeError):  # Linux only
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(request["folder"])
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = redbike.cli.main(request["argv"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    clock.inject()
    redbike.resolve.import_the_rest()  # before the forks: a process starts within milliseconds
    main(sys.stdin, sys.stdout)
