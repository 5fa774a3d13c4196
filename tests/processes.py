"""The command `redbike` as separate processes in a folder with a conf and a worker module.

Every process started here is ended here, by its own pid.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from conftest import Server
from helpers import idle_loops
from nodes import eventually

import redbike

WORKERS = '''
"""Workers that write what they did into a file, a line a run, so that other processes can see it."""

import os
import time

from redbike import RoundRobin, StopWork, UnsetJob


class Scribe(RoundRobin):
    def work(self, jobid):
        self.note("begin", jobid)
        word = jobid.partition("-")[0]
        while word == "slow" and not os.path.exists("go-on"):
            time.sleep(0.01)
        if word == "nap":
            time.sleep(0.3)
        self.note("end", jobid)
        if word == "stops":
            raise StopWork
        if word == "unset":
            raise UnsetJob
        if word == "dies":
            raise ValueError("as it was told")
        return {"backs": 0.3}.get(word)

    def timeout(self, queue_name):
        return 60

    def note(self, what, jobid):
        line = f"{what} {jobid} {os.getpid()} {time.time():.3f}\\n"
        file = os.open("runs", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line.encode())
        os.close(file)
'''

CONF = """\
[redbike]
prefix: {prefix}
worker: workers:Scribe('{queues}')

[redbike-redis]
{connection}
"""


class Site:
    """A folder in which the command redbike is used, and the processes started there."""

    def __init__(self, folder: Path, server: Server, prefix: str, queues: str = "A") -> None:
        self.folder, self.prefix = folder, prefix
        (folder / "workers.py").write_text(WORKERS)
        connection = "\n".join(f"{name}: {value}" for name, value in server.config.items())
        conf = CONF.format(prefix=prefix, queues=queues, connection=connection)
        (folder / ".redbike.conf").write_text(conf)
        self.redis = server.client()
        self._started: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return run_command(self.folder, *arguments, timeout_s=timeout_s)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and return its process. `stderr_of` returns its stderr."""
        with (self.folder / f"stderr{len(self._started)}").open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "redbike", *arguments],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
            )
        self._started.append(process)
        return process

    def start_idle(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command, and return its process once it is idle."""
        before = self.waiting()
        process = self.start(*arguments)
        eventually(lambda: self.waiting() > before or process.poll() is not None, 20)
        assert process.poll() is None, self.stderr_of(process)
        return process

    def waiting(self) -> int:
        """Return how many dispatchers and workers of the whole server are idle."""
        return idle_loops(self.redis)

    def stderr_of(self, process: subprocess.Popen[str]) -> str:
        return (self.folder / f"stderr{self._started.index(process)}").read_text()

    def runs(self, what: str = "end") -> list[str]:
        """Return the job ids of the runs that began or ended, in order."""
        return [jobid for kind, jobid, *_ in self.notes() if kind == what]

    def notes(self) -> list[list[str]]:
        """Return kind, job id, pid and Unix time of each line that a worker wrote."""
        path = self.folder / "runs"
        return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.poll() is None:
                # Only SIGKILL ends a suspended process.
                process.send_signal(signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.redis.close()


def run_command(
    folder: Path, *arguments: str, timeout_s: float = 30, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `redbike` in a folder, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "redbike", *arguments],
        cwd=folder,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout_s,
    )


def environment() -> dict[str, str]:
    """Return an environment in which the package under test is found from any folder."""
    source = str(Path(redbike.__file__).parent.parent)
    paths = [source, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
