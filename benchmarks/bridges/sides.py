"""The differences between Celery and RQ: payloads, processes, and the items in the broker's list."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from benchmarks.bridges.findings import Sizes
from benchmarks.bridges.servers import Server
from benchmarks.subjects import CHECKOUT
from redbike import Redbike

_PROJECTS = Path(__file__).with_name("projects")


class StuckError(Exception):
    """A row cannot go on. The message says why, with the end of the log of the beats."""


class Side(ABC):
    """One of the two systems, with its servers: `home` has the entries, `broker` the messages."""

    name: str
    rival: str
    """The scheduler that is measured beside Redbike."""
    list_key: str
    """The list of the broker into which the messages go."""
    prefix: str

    def __init__(self, home: Server, broker: Server, sizes: Sizes) -> None:
        """Prepare a temporary folder. The beats have the lease and the socket timeout of these sizes."""
        self.home, self.broker = home, broker
        self._sizes = sizes
        self._folder = Path(tempfile.mkdtemp(prefix="redbike-bridges-project-"))
        for file in _PROJECTS.glob("*.py"):
            shutil.copy(file, self._folder)
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            end(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def bike(self) -> Iterator[Redbike]:
        """Return a Redbike for the entries, as a user's own program has it."""
        timefile = str(self._folder / "timefile")
        with Redbike(self.worker(), self.prefix, {"url": self.home.url}, timefile) as bike:
            yield bike

    def start_beat(self, log: str = "beat.log") -> "subprocess.Popen[bytes]":
        """Start a beat of Redbike."""
        return self._start(self.beat_command(), log)

    def start_rival(self) -> "subprocess.Popen[bytes]":
        """Start the other scheduler."""
        return self._start(self.rival_command(), "rival.log")

    def log(self, name: str = "beat.log") -> str:
        """Return what the beats have printed."""
        path = self._folder / name
        return path.read_text() if path.exists() else ""

    @abstractmethod
    def worker(self) -> Any:
        """Return the worker of the bridge."""

    @abstractmethod
    def payload(self, number: int = 0, **changes: Any) -> str:
        """Return a payload that can be sent."""

    @abstractmethod
    def beat_command(self) -> Sequence[str]:
        """Return the command of a beat of Redbike."""

    @abstractmethod
    def rival_command(self) -> Sequence[str]:
        """Return the command of the other scheduler."""

    @abstractmethod
    def fill_rival(self, entries: int, *, is_due: bool, also_due: int = 0) -> None:
        """Write entries for the other scheduler: every second, due now; or each hour, due in an hour.

        `also_due`: this number of entries is due now in each case.
        """

    @abstractmethod
    def bad_payloads(self) -> dict[str, str]:
        """Return payloads that cannot be sent, by job id."""

    @abstractmethod
    def id_of(self, item: bytes) -> str:
        """Return the id of a message in the broker's list."""

    def messages(self) -> int:
        """Return how many messages lie in the broker's list."""
        found: Any = self.broker.client.llen(self.list_key)
        return int(found)

    def ids(self) -> list[str]:
        """Return the ids of all messages, the oldest first."""
        items: list[bytes] = self.broker.client.lrange(self.list_key, 0, -1)  # type: ignore[assignment]
        ids = [self.id_of(item) for item in items]
        return ids if self.name == "rq" else ids[::-1]

    def clear(self) -> None:
        """End all processes, and empty both servers."""
        for process in self._processes:
            end(process)
        self._processes.clear()
        self.home.client.flushall()
        self.broker.client.flushall()

    def _start(self, command: Sequence[str], log: str) -> "subprocess.Popen[bytes]":
        paths = [str(CHECKOUT), str(self._folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        environment.update(BROKER=self.broker.url, HOME_URL=self.home.url, PREFIX=self.prefix)
        environment.update(LEASE=str(self._sizes.lease_s), SOCKET_TIMEOUT=str(self._sizes.socket_timeout_s))
        with (self._folder / log).open("ab") as output:
            process = subprocess.Popen(command, cwd=self._folder, env=environment, stdout=output, stderr=output)
        self._processes.append(process)
        return process


class CelerySide(Side):
    """Celery: `celery beat -S redbike`, against RedBeat."""

    name, rival, list_key, prefix = "celery", "RedBeat", "celery", "redbike:celery"

    def worker(self) -> Any:
        from redbike.bridges.celery import CeleryWorker

        return CeleryWorker("proj")

    def payload(self, number: int = 0, **changes: Any) -> str:
        return json.dumps({"task": "proj.add", "args": [number, 1], **changes})

    def beat_command(self) -> Sequence[str]:
        return self._celery("redbike")

    def rival_command(self) -> Sequence[str]:
        return self._celery("redbeat.RedBeatScheduler")

    def _celery(self, scheduler: str) -> Sequence[str]:
        return [sys.executable, "-P", "-m", "celery", "-A", "proj", "-q", "beat", "-S", scheduler, "--pidfile="]

    def fill_rival(self, entries: int, *, is_due: bool, also_due: int = 0) -> None:
        every = 1 if is_due else 3600
        last = f"now - timedelta(seconds={every} + 1 if {is_due} or n < {also_due} else 0)"
        program = (
            "from datetime import datetime, timedelta, timezone\nimport proj, json\n"
            "from redbeat import RedBeatSchedulerEntry as Entry\nfrom redbeat.decoder import RedBeatJSONEncoder as E\n"
            "from redbeat.schedulers import get_redis\n"
            f"now = datetime.now(timezone.utc); pipe = get_redis(proj.app).pipeline()\n"
            f"for n in range({entries}):\n"
            f"    e = Entry(f'entry-{{n}}', 'proj.add', timedelta(seconds={every}), args=[n, 1], app=proj.app)\n"
            f"    e.last_run_at = last = {last}\n"
            "    d = {k: getattr(e, k) for k in ('name','task','args','kwargs','options','schedule','enabled')}\n"
            "    pipe.hset(e.key, 'definition', json.dumps(d, cls=E))\n"
            "    pipe.hset(e.key, 'meta', json.dumps({'last_run_at': last}, cls=E))\n"
            "    pipe.zadd(proj.app.redbeat_conf.schedule_key, {e.key: e.score})\n"
            "    if n % 1000 == 999: pipe.execute()\n"
            "pipe.execute()\n"
        )
        self._run(program)

    def bad_payloads(self) -> dict[str, str]:
        loop = json.dumps({"task": "proj.add", "args": [1, 1], "options": {"serializer": "no such serializer"}})
        return {
            "bad-empty": "",
            "bad-json": "{",
            "bad-array": "[1]",
            "bad-no-task": "{}",
            "bad-task-number": '{"task": 5}',
            "bad-args": '{"task": "proj.add", "args": 5}',
            "bad-kwargs": '{"task": "proj.add", "kwargs": [5]}',
            "bad-options": '{"task": "proj.add", "options": "x"}',
            "bad-member": '{"task": "proj.add", "queue": "x"}',
            "bad-own-option": '{"task": "proj.add", "options": {"task_id": "x"}}',
            "bad-serializer": loop,
            "bad-countdown": '{"task": "proj.add", "args": [1, 1], "options": {"countdown": "soon"}}',
        }

    def id_of(self, item: bytes) -> str:
        return str(json.loads(item)["headers"]["id"])

    def _run(self, program: str) -> None:
        process = self._start([sys.executable, "-c", program], "fill.log")
        if process.wait(timeout=600):
            raise StuckError(f"{self.rival}: its entries cannot be written:\n{self.log('fill.log')}")
        self._processes.remove(process)


class RQSide(CelerySide):
    """RQ: a scheduler of Redbike, against rq-rediscron."""

    name, rival, list_key, prefix = "rq", "rq-rediscron", "rq:queue:default", "redbike:rq"

    def worker(self) -> Any:
        from redbike.bridges.rq import RQWorker

        return RQWorker(self.broker.url)

    def payload(self, number: int = 0, **changes: Any) -> str:
        return json.dumps({"func": "tasks.add", "args": [number, 1], "queue": "default", **changes})

    def beat_command(self) -> Sequence[str]:
        return [sys.executable, "-P", "rqbeat.py"]

    def rival_command(self) -> Sequence[str]:
        return [sys.executable, "-P", "rediscron_beat.py"]

    def fill_rival(self, entries: int, *, is_due: bool, also_due: int = 0) -> None:
        every = 1 if is_due else 3600
        ahead = f"-1 if {is_due} or n < {also_due} else 3600"
        program = (
            "import os, redis\nfrom datetime import timedelta\nfrom rq.utils import now\nimport tasks\n"
            "from rediscron import RedisCronJob\npipe = redis.Redis.from_url(os.environ['BROKER']).pipeline()\n"
            f"for n in range({entries}):\n"
            f"    RedisCronJob(f'entry-{{n}}', 'default', tasks.add, args=(n, 1), interval={every},\n"
            f"        next_enqueue_time=now() + timedelta(seconds={ahead})).save(pipe)\n"
            "    if n % 1000 == 999: pipe.execute()\n"
            "pipe.execute()\n"
        )
        self._run(program)

    def bad_payloads(self) -> dict[str, str]:
        return {
            "bad-empty": "",
            "bad-json": "{",
            "bad-array": "[1]",
            "bad-no-func": "{}",
            "bad-func-number": '{"func": 5}',
            "bad-func-name": '{"func": "no dots"}',
            "bad-args": '{"func": "tasks.add", "args": 5}',
            "bad-kwargs": '{"func": "tasks.add", "kwargs": [5]}',
            "bad-timeout": '{"func": "tasks.add", "timeout": "soon"}',
            "bad-member": '{"func": "tasks.add", "unknown": 1}',
            "bad-queue": '{"func": "tasks.add", "queue": 5}',
            "bad-meta": '{"func": "tasks.add", "meta": []}',
        }

    def id_of(self, item: bytes) -> str:
        return item.decode()


SIDES = {"celery": CelerySide, "rq": RQSide}


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process. The orderly end of a beat is not measured here."""
    process.kill()
    process.wait()


def fill(bike: Redbike, side: Side, schedule: str, firsts: Iterable[float]) -> None:
    """Set entries `entry-0`, `entry-1` … with this schedule, each with its first run (Unix seconds)."""
    bike.set_many((f"entry-{n}", schedule, side.payload(n), first) for n, first in enumerate(firsts))


def wait_for(condition: Any, within_s: float, what: str, side: Side | None = None) -> float:
    """Wait until a condition holds. Return the Unix time. Raise StuckError if it does not hold in time."""
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            raise StuckError(f"{what}: not within {within_s:g} s\n{side.log()[-2000:] if side else ''}")
        time.sleep(0.005)
    return time.time()


def is_there(client: "redis.Redis[Any]") -> bool:
    """Return True if a server answers."""
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
