"""A parent with its workers as real processes, and a worker whose jobs hang, grow and die.

The children of a parent that is killed end by themselves, and each job that hangs does so for seconds only.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from nodes import eventually
from processes import Site, environment

WORKERS = '''
"""Jobs that do what the first word of their id says."""

import os
import signal
import time

from workers import Scribe

KEPT = []


class Odd(Scribe):
    def perform(self, run):
        word = run.jobid.partition("-")[0]
        self.note("begin", run.jobid)
        ends_at = time.monotonic() + 20
        if word == "blocks":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(20)
        while word == "spins" and time.monotonic() < ends_at:
            pass
        while word == "slow" and not os.path.exists("go-on"):
            time.sleep(0.01)
        if word == "extends":
            for _ in range(6):
                run.extend(1)
                time.sleep(0.5)
        if word == "grows":
            KEPT.append(b"x" * 200_000_000)
        if word == "leaves":
            os._exit(0)
        if word == "asks":
            open("environment", "w").write(os.environ.get("REDBIKE_CHILD", "unset"))
        self.note("end", run.jobid)

    def timeout(self, queue_name):
        return 1 if queue_name.endswith("-B") else 60
'''

ODD = "odd:Odd('A:B')"


class Led:
    """A command with a parent, in the folder of a site."""

    def __init__(self, site: Site, *arguments: str, prelude: str = "", wrapper: tuple[str, ...] = ()) -> None:
        """`prelude`: code that the parent runs before the command. `wrapper`: a command that runs the parent."""
        self.site = site
        (site.folder / "odd.py").write_text(WORKERS)
        program = f"from redbike.fleet import slot\n{prelude}\nfrom redbike.cli import run\nrun()"
        self._log = site.folder / "log"
        self._seen: set[int] = set()  # children
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, "-P", "-c", program, *arguments],
                cwd=site.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self._log.read_text("utf-8")

    def children(self, command: str = "") -> list[int]:
        """Return the pids of the children that are ready or start, and have this word in their command."""
        found = children_of(self.pid)
        self._seen |= set(found)
        return [pid for pid in found if command in " ".join(words_of(pid))]

    def wait_for(self, number: int, part: str = "working: ") -> None:
        """Wait until the log has so many lines with this part."""
        eventually(lambda: self.log().count(part) >= number or self.process.poll() is not None, 20)
        assert self.log().count(part) >= number, self.log()

    def code(self, within_s: float = 20) -> int:
        """Wait for the end of the parent, and return its exit code."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the parent has not ended\n{self.log()}") from None

    def close(self) -> None:
        """End the parent, and each child that has not ended with it."""
        if self.process.poll() is None:
            self.children()
            self.process.kill()
        self.process.wait()
        for pid in self._seen:
            if "redbike" in words_of(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def words_of(pid: int) -> list[str]:
    """Return the command of a process; nothing for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
