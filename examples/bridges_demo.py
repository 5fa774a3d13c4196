"""The program of `bin/demo --celery` and `bin/demo --rq`: a real worker of Celery or RQ runs what Redbike sends.

Runs the commands of the pages docs/celery.md and docs/rq.md on a private server in a temporary folder. Ends all
processes that it has started. Usage: bridges_demo.py --celery|--rq [--seconds N]
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from demo import Flag, end, wait

from redbike import Redbike, RoundRobin
from redbike.server.embedded import SOCKET_NAME

HERE = Path(__file__).parent
NEW_ENTRY = {
    "celery": """
from proj import app
from redbike.bridges.celery import RedbikeEntry

RedbikeEntry("hello", "proj.greet", 2, args=["hello"], app=app).save()
""",
    "rq": """
import os
from redis import Redis
from redbike.bridges.rq import RedbikeCronScheduler

scheduler = RedbikeCronScheduler(Redis.from_url(os.environ["REDIS_URL"]))
scheduler.register("jobs.report", "reports", id="hello", args=("hello",), interval=2)
""",
}


class Kind(NamedTuple):
    """What differs between Celery and RQ."""

    name: str
    worker: list[str]
    beat: list[str]
    environment: Callable[[Path], dict[str, str]]
    conf: str


KINDS = {
    "celery": Kind(
        "celery",
        ["-m", "celery", "-A", "proj", "worker", "--pool=solo", "--loglevel=warning"],
        ["-m", "celery", "-A", "proj", "beat", "-S", "redbike", "--loglevel=warning"],
        lambda socket: {"BROKER_URL": f"redis+socket://{socket}"},
        "prefix: redbike:celery\nworker: redbike.bridges.celery:CeleryWorker('proj')\n",
    ),
    "rq": Kind(
        "rq",
        ["-m", "rq.cli", "worker", "reports", "--quiet"],
        ["cron.py"],
        lambda socket: {"REDIS_URL": f"unix://{socket}", "RQ_REDIS_URL": f"unix://{socket}"},
        "prefix: redbike:rq\nworker: redbike.bridges.rq:RQWorker()\n",
    ),
}


def main() -> int:
    """Show Celery or RQ."""
    arguments = argparse.ArgumentParser(prog="bin/demo", description="Shows Celery or RQ with Redbike as its beat.")
    which = arguments.add_mutually_exclusive_group(required=True)
    which.add_argument("--celery", action="store_const", const="celery", dest="kind", help="show Celery")
    which.add_argument("--rq", action="store_const", const="rq", dest="kind", help="show RQ")
    arguments.add_argument("--seconds", type=float, default=20.0, help="how long to show it (default: 20)")
    given = arguments.parse_args()
    interrupted = Flag()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, interrupted.set)
    folder = Path(tempfile.mkdtemp(prefix="redbike-demo-"))
    try:
        Show(KINDS[given.kind], folder, interrupted).run(given.seconds)
        print("\nEverything has ended, and the folder is gone.", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 130 if interrupted.is_set else 0


class Show:
    """A demonstration in a folder."""

    def __init__(self, kind: Kind, folder: Path, interrupted: Flag) -> None:
        self.kind, self.folder, self.interrupted = kind, folder, interrupted
        self.began = time.monotonic()
        self.shown = 0
        server = folder / ".redbike.server"
        self.environment = {**os.environ, **kind.environment(server / SOCKET_NAME), "PYTHONPATH": path_of_redbike()}
        for file in (HERE / kind.name).glob("*.py"):
            shutil.copy(file, folder)
        (folder / ".redbike.conf").write_text(f"[redbike]\n{kind.conf}[redbike-redis]\nembedded: .redbike.server\n")
        self.server = {"embedded": server}

    def run(self, seconds: float) -> None:
        """Show a beat, then a new entry, then a second beat."""
        print(f"A worker of {self.kind.name} and Redbike as its beat on a private server, for {seconds:g} seconds.")
        print(f"The tasks and the schedule are in examples/{self.kind.name}. These commands run:\n")
        with Redbike(RoundRobin("A"), redis_config=self.server) as bike, contextlib.ExitStack() as started:
            bike.redis.ping()
            self.say(f"$ {shown(self.kind.worker)}")
            started.callback(end, self.start(self.kind.worker, "worker.log"))
            self.say(f"$ {shown(self.kind.beat)}")
            started.callback(end, self.start(self.kind.beat, "beat.log"))
            if self.watch(seconds * 0.4):
                self.say("an entry from Python, `hello`: the beat sees it at once")
                subprocess.run([sys.executable, "-c", NEW_ENTRY[self.kind.name]], env=self.environment, cwd=self.folder)
            if self.watch(seconds * 0.7):
                self.say(f"$ {shown(self.kind.beat)}    (a second beat: each run is still sent once)")
                started.callback(end, self.start(self.kind.beat, "beat.log"))
            self.watch(seconds)
            print("\n$ redbike info", flush=True)
            subprocess.run([sys.executable, "-m", "redbike", "info"], env=self.environment, cwd=self.folder)
        print("\nThe worker has run:")
        for line, count in sorted(Counter(self.diary()).items()):
            print(f"{count:5} x {line}")
        for name in ("worker.log", "beat.log"):
            for line in (self.folder / name).read_text(errors="replace").splitlines():
                if any(f"{level}/" in line or f"{level}:" in line for level in ("WARNING", "ERROR", "CRITICAL")):
                    print(f"  {name}: {line}")

    def watch(self, seconds: float) -> bool:
        """Show what the worker runs, until `seconds` after the start. Return False if interrupted."""
        while not self.interrupted.is_set and (left := self.began + seconds - time.monotonic()) > 0:
            for line in self.diary()[self.shown :]:
                self.shown += 1
                self.say(f"the worker runs {line}")
            wait(time.monotonic() + min(left, 0.1), self.interrupted)
        return not self.interrupted.is_set

    def diary(self) -> list[str]:
        """Return what the worker has noted."""
        diary = self.folder / "diary.txt"
        return diary.read_text().splitlines() if diary.exists() else []

    def say(self, line: str) -> None:
        """Print a line with the time."""
        print(f"{time.monotonic() - self.began:5.1f} s  {line}", flush=True)

    def start(self, command: list[str], log: str) -> "subprocess.Popen[bytes]":
        """Start a command of Python in the folder, with its output in a file. Ctrl-C does not reach it."""
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def path_of_redbike() -> str:
    """Return a path on which the processes find the package that this program uses."""
    import redbike

    return str(Path(redbike.__file__).parent.parent)


def shown(command: list[str]) -> str:
    """Return a command as a user types it."""
    words = [word for word in command if word != "-m"]
    name = {"celery": "celery", "rq.cli": "rq"}.get(words[0])
    return " ".join([name, *words[1:]] if name else ["python", *words])


if __name__ == "__main__":
    sys.exit(main())
