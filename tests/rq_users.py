"""What the tests of the RQ bridge share: a server with RQ's queues, and Redbike on it with an RQWorker."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
import rq
from conftest import Server
from processes import environment
from rq.job import Job

from redbike import Redbike
from redbike.bridges.rq import RQWorker
from redbike.bridges.rq.home import close_homes

TASKS = '''
"""Functions for workers of RQ."""


def note(text, path="notes"):
    with open(path, "a") as file:
        file.write(f"{text}\\n")
'''


def payload(func: str = "tasks.note", **members: object) -> str:
    return json.dumps({"func": func, "queue": "q", **members})


def make_bike(server: Server, prefix: str, worker: RQWorker | None = None, **kwargs: Any) -> Redbike:
    """Return a Redbike with the settings of the bridge, which sends to the same server."""
    given = {"on_timeout": "retry", "on_error": "reschedule", "timefile": os.devnull, **kwargs}
    worker = worker or RQWorker(unix_socket_path=server.socket)
    return Redbike(worker, prefix, server.config, **given)  # type: ignore[arg-type]


def sent(client: redis.Redis, queue: str = "q") -> list[Job]:
    """Return the jobs in a queue of RQ, the next first."""
    return rq.Queue(queue, connection=client).jobs


def texts(client: redis.Redis, queue: str = "q") -> list[str]:
    """Return the first arguments of the jobs in a queue of RQ, the next first."""
    return [job.args[0] for job in sent(client, queue)]


@contextmanager
def homes_closed() -> Iterator[None]:
    """Close the connections of all jobs that are made in this block without a scheduler."""
    try:
        yield
    finally:
        close_homes()


def run_rq_worker(server: Server, folder: Path, queue: str = "q") -> list[str]:
    """Run a worker of RQ as a process until the queue is empty. Return the lines that the functions have noted."""
    (folder / "tasks.py").write_text(TASKS)
    options = ["--burst", "--quiet", "-w", "rq.worker.SimpleWorker", "--url", f"unix://{server.socket}"]
    subprocess.run(
        [sys.executable, "-m", "rq.cli", "worker", *options, "--path", str(folder), queue],
        cwd=folder,
        env=environment(),
        check=True,
        capture_output=True,
        timeout=30,
    )
    notes = folder / "notes"
    return notes.read_text().splitlines() if notes.exists() else []


@contextmanager
def looping(*bikes: Redbike) -> Iterator[None]:
    """Dispatch on the first bike and work on all of them, in threads. Their stop events are set at the end."""
    errors: list[BaseException] = []

    def keep(loop: Any) -> None:
        try:
            loop()
        except BaseException as error:
            errors.append(error)

    loops = [bikes[0].dispatch, *(bike.work for bike in bikes)]
    threads = [threading.Thread(target=keep, args=(loop,), daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for bike in bikes:
            bike.stop_event.set()  # type: ignore[union-attr]
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)
    assert errors == []
