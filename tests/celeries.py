"""A Celery project on the private server: an app in this process, and `celery` as separate processes in its folder.

Every process started here is ended here, by its own pid.
"""

import base64
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import redis
from helpers import dispatch_at
from nodes import eventually
from processes import environment

from redbike import Redbike
from redbike.bridges.celery import CeleryWorker
from redbike.worker import Run

if TYPE_CHECKING:
    import celery


PROJ = """\
import os

import celery

app = celery.Celery("proj", broker={url!r})
app.conf.update(task_default_queue={queue!r}, redbike_key_prefix={prefix!r}, broker_connection_retry_on_startup=True)


@app.task
def note(*args, **kwargs):
    file = os.open("notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{{note.request.id}} {{args}} {{kwargs}}\\n".encode())
    os.close(file)


"""


ADD = '{"task": "proj.add", "args": [1, 2]}'
"""The payload of a job that adds."""


class Message(NamedTuple):
    """A task in a queue of Celery's broker."""

    task: str
    id: str
    args: list[Any]
    kwargs: dict[str, Any]
    headers: dict[str, Any]
    properties: dict[str, Any]


class Ended(NamedTuple):
    """How a process ended, and what it wrote."""

    code: int
    out: str
    err: str


class Project:
    """A folder with the module `proj`, whose broker and whose Redbike are one server."""

    def __init__(self, folder: Path, client: redis.Redis, url: str, prefix: str) -> None:
        """`client`: a client of the broker. `url`: the broker, as Celery writes it."""
        self.folder, self.redis, self.url, self.prefix = folder, client, url, prefix
        self.queue = f"{prefix}-tasks"
        self._started: list[subprocess.Popen[bytes]] = []
        self._apps: list[celery.Celery] = []
        self._bikes: list[Redbike] = []
        self.configure()

    def configure(self, lines: str = "", **conf: object) -> None:
        """Write the module `proj` with these settings and further lines."""
        text = PROJ.format(url=self.url, queue=self.queue, prefix=self.prefix)
        (self.folder / "proj.py").write_text(f"{text}app.conf.update({conf!r})\n{lines}\n")

    def app(self, **conf: object) -> "celery.Celery":
        """Return an app in this process with the same settings, and the task `proj.add`."""
        from celery import Celery

        app = Celery("proj", broker=self.url, set_as_current=False)
        app.conf.update({"task_default_queue": self.queue, "redbike_key_prefix": self.prefix, **conf})
        app.task(_add, name="proj.add")
        app.finalize()
        self._apps.append(app)
        return app

    def bike(self, app: "celery.Celery", worker: CeleryWorker | None = None) -> Redbike:
        """Return a halted Redbike that sends for the app: each call of `work` is one turn."""
        from redbike.bridges.celery.conf import make_bike

        bike = make_bike(app, worker or CeleryWorker(app))
        self._bikes.append(bike)
        bike.control("HALT")
        return bike

    def messages(self, queue: str | None = None) -> list[Message]:
        """Return the tasks in a queue of the broker, the oldest first."""
        raw: Any = self.redis.lrange(queue or self.queue, 0, -1)
        return [_message(text) for text in reversed(raw)]

    def notes(self) -> list[str]:
        """Return the lines that the task `proj.note` wrote."""
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def start(self, *arguments: str, program: str = "celery") -> subprocess.Popen[bytes]:
        """Start `celery -A proj` or another program with these arguments in the folder."""
        number = len(self._started)
        given = ["-A", "proj", *arguments] if program == "celery" else list(arguments)
        with (self.folder / f"out{number}").open("wb") as out, (self.folder / f"err{number}").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", program, *given],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self._started.append(process)
        return process

    def beat(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `celery beat` with Redbike as its scheduler."""
        return self.start("beat", "-S", "redbike", "-l", "info", *arguments)

    def worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a worker of Celery that runs tasks in its own process."""
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        return self.start("worker", "-P", "solo", "-l", "warning", *quiet, *arguments)

    def out_of(self, process: subprocess.Popen[bytes]) -> str:
        """Return what a process wrote to stdout."""
        return (self.folder / f"out{self._started.index(process)}").read_text()

    def err_of(self, process: subprocess.Popen[bytes]) -> str:
        """Return what a process wrote to stderr."""
        return (self.folder / f"err{self._started.index(process)}").read_text()

    def until(self, condition: Callable[[], object], process: subprocess.Popen[bytes], within_s: float = 20) -> None:
        """Wait until a condition holds. Fail if the process ends before, or if it does not hold within the time."""
        eventually(lambda: condition() or process.poll() is not None, within_s)
        assert condition(), self.err_of(process)

    def ended(self, process: subprocess.Popen[bytes], within_s: float = 20) -> Ended:
        """Wait until a process ends. Return how it ended."""
        code = process.wait(within_s)
        return Ended(code, self.out_of(process), self.err_of(process))

    def stop(self, process: subprocess.Popen[bytes], within_s: float = 10) -> Ended:
        """Stop a process with SIGTERM. Return how it ended."""
        process.send_signal(signal.SIGTERM)
        return self.ended(process, within_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        from redbike.bridges.celery import conf

        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
        for app in self._apps:
            made = vars(app).pop(conf._ATTRIBUTE, None)
            self._bikes += [made] if made is not None else []
            app.close()
        for bike in self._bikes:
            bike.close()
        self.redis.close()


class Tries(CeleryWorker):
    """A worker that notes when each try to send begins (monotonic), and its run."""

    def __init__(self, app: "celery.Celery", lease: float = 60) -> None:
        super().__init__(app, lease)
        self.tries: list[tuple[float, Run]] = []

    def send(self, prepared: Any, run: Run) -> object:
        self.tries.append((time.monotonic(), run))
        return super().send(prepared, run)


def a_run(payload: str = ADD, *, stopping: threading.Event | None = None) -> Run:
    """Return a run that is due now, without Redis."""
    now = time.time()
    is_stopping = stopping.is_set if stopping else bool
    return Run("one", payload, now, now, 1, "celery", "EVERY:1h", 60.0, "tag", lambda _: True, is_stopping)


def server_time(client: redis.Redis) -> float:
    """Return the Unix time of a server's clock."""
    moment: Any = client.time()
    return float(moment[0] + moment[1] / 1e6)


def run_due(bike: Redbike, in_s: float = 0.0) -> None:
    """Dispatch what is due in so many seconds from now, and send all of it, on a halted prefix."""
    dispatch_at(bike, server_time(bike.redis) + in_s)
    for _ in range(int(bike.redis.llen(f"{bike.prefix}-celery"))):  # type: ignore[arg-type]
        bike.work()


def _add(x: Any, y: Any = 0) -> Any:
    return x + y


def _message(text: bytes) -> Message:
    raw = json.loads(text)
    headers = raw["headers"]
    if raw["content-type"] == "application/json":
        body = base64.b64decode(raw["body"])
        args, kwargs, _ = json.loads(body.decode(raw["content-encoding"]))
    else:
        args, kwargs = [raw["content-type"]], {}
    return Message(headers["task"], headers["id"], args, kwargs, headers, raw["properties"])
