"""Where rounds take place: the server under test, the notary, and the zygote; and a round with its fleet and its jobs.

Everything listens on unix sockets in one temporary folder, and is ended by its pid.
"""

import contextlib
import itertools
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from benchmarks.chaos.history import History, Verdict, doubled_seconds, lost_and_doubled
from benchmarks.chaos.recorder import LATER, OFTEN
from benchmarks.chaos.zygote import Actor, Zygote
from benchmarks.server import server_program
from redbike import Redbike, RoundRobin

SECONDLY = "DTSTART:20200101T000000\nRRULE:FREQ=SECONDLY"
LONG_TIMEOUT_S = 120.0

_CONF = """\
[redbike]
prefix: {prefix}
worker: benchmarks.chaos.recorder:Recorder('{order}', '{notary}', '{prefix}', {nap_s})
default-timeout: {timeout_s}
on-timeout: {on_timeout}
retries: 20
{more}
[redbike-redis]
"""


class Unsettled(Exception):
    """Something that had to come did not come within its time."""


class LeftOut(Exception):
    """This machine lacks what a fault needs; the message says what."""


def wait_for(condition: Callable[[], object], within_s: float, what: str) -> None:
    """Return as soon as the condition holds."""
    give_up_at = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > give_up_at:
            raise Unsettled(f"{what}: not within {within_s:.0f} s")
        time.sleep(0.02)


class Server:
    """A server of one's own, which can be killed, frozen, and started again on its append-only file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.socket = str(folder / "s")
        self._folder = folder
        self.start()

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", self.socket, "--dir", str(self._folder)]
        options += ["--appendonly", "yes", "--save", ""]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [server_program(), *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        with self.client() as client:
            try:
                wait_for(lambda: _answers(client), 20, "start of the server")
            except Unsettled:
                self.kill()
                raise

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def revive(self) -> None:
        """Have it answer, whatever was done to it."""
        if self._process.poll() is None:
            self.thaw()
        else:
            self.start()

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.socket)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


class Arena:
    """The servers and the zygote, for as many rounds as are wanted."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rbc-"))
        self.server = Server(self.folder / "server")
        self._notary = Server(self.folder / "notary")
        self.notary_socket = self._notary.socket
        self.notary = self._notary.client()
        self.client = self.server.client()
        self.zygote = Zygote()
        self.rounds: list[Round] = []
        """Those that are under way."""
        self._numbers = itertools.count(1)

    def now(self) -> float:
        """The servers' time, Unix seconds."""
        seconds, microseconds = self.notary.time()
        return float(seconds + microseconds / 1e6)

    def number(self) -> int:
        return next(self._numbers)

    def clear_up(self) -> list[str]:
        """After a round that broke off: end its processes, and have the server answer again. What was logged last."""
        last = [line for one in self.rounds for line in one.abandon()]
        self.rounds.clear()
        self.server.revive()
        return last

    def describe(self) -> str:
        """The server's name and version."""
        facts: dict[str, Any] = self.client.info("server")
        return f"valkey {facts['valkey_version']}" if "valkey_version" in facts else f"redis {facts['redis_version']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as stack:  # each of these, whatever becomes of the others
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            for server in (self.server, self._notary):
                stack.callback(server.kill)
            for client in (self.client, self.notary):
                stack.callback(client.close)
            stack.callback(self.zygote.close)


class Round:
    """One fleet on one prefix, what it was given to do, and what came of it."""

    def __init__(
        self,
        arena: Arena,
        fault: str,
        *,
        order: str = "A:A:B",
        timeout_s: float = LONG_TIMEOUT_S,
        on_timeout: str = "retry",
        nap_s: float = 0.0,
        more: str = "",
        zygote: Zygote | None = None,
        server: Mapping[str, object] | None = None,
    ) -> None:
        """`server`: how a Redbike gets to another server than the arena's; the round then has to set `client`."""
        self.arena = arena
        self.client = arena.client
        """A client of the server under test."""
        self._server = server or {"unix_socket_path": arena.server.socket}
        self.prefix = f"{fault}{arena.number()}"
        self.folder = arena.folder / self.prefix
        self.folder.mkdir()
        self.actors: list[Actor] = []
        self.killed: set[int] = set()
        self.once: list[str] = []
        self.due: dict[str, float] = {}
        """Due times of those of them that are to run at a certain time, Unix seconds."""
        self.often: list[str] = []
        self.ticks: list[str] = []
        self.history = History(arena.notary, self.prefix)
        self.verdict = Verdict(fault)
        self.bike = Redbike(
            RoundRobin(order),
            self.prefix,
            self._server,
            timefile=self.folder / "timefile",
        )
        self._zygote = zygote or arena.zygote
        self._conf: dict[str, Any] = {"order": order, "timeout_s": timeout_s, "on_timeout": on_timeout, "nap_s": nap_s}
        self._conf["more"] = more
        self._ids = itertools.count()
        self._began_at = time.monotonic()
        arena.rounds.append(self)

    def conf(self, socket: str | None = None, extra: str = "") -> str:
        """The name of a new conf file: which socket in place of the server, and further lines for its section."""
        name = f"conf{next(self._ids)}"
        values = self._conf | {"prefix": self.prefix, "notary": self.arena.notary_socket}
        server = self._server if socket is None else {"unix_socket_path": socket}
        lines = [f"{key}: {value}\n" for key, value in server.items()]
        (self.folder / name).write_text(_CONF.format(**values) + "".join(lines) + extra)
        return name

    def run(self, conf: str, *argv: str) -> Actor:
        """A process `redbike`, which nobody waits for at the end."""
        return self._zygote.start(self.folder, self.folder / f"log{next(self._ids)}", "--config", conf, *argv)

    def fleet(self, dispatchers: int, workers: int, conf: str | None = None) -> list[Actor]:
        """Processes that dispatch and work until the end of the round."""
        conf = conf or self.conf()
        made = [self.run(conf, "dispatch") for _ in range(dispatchers)]
        made += [self.run(conf, "work") for _ in range(workers)]
        self.actors += made
        return made

    def kill(self, actor: Actor) -> None:
        """End it with SIGKILL, and remember: what it had in hand may be repeated."""
        self.killed.add(actor.pid)
        actor.send(signal.SIGKILL)

    def new_id(self, kind: str) -> str:
        number = next(self._ids)
        return f"{kind}{number}:{'AAB'[number % 3]}"

    def set_now(self, count: int, bike: Redbike | None = None) -> None:
        for _ in range(count):
            jobid = self.new_id("now")
            (bike or self.bike).set(jobid, "NOW", payload=self._payload(jobid))
            self.once.append(jobid)

    def _payload(self, jobid: str) -> str:
        """Every seventh job is put off once."""
        return LATER if sum(jobid.encode()) % 7 == 0 else jobid

    def set_at(self, count: int, rng: random.Random, within_s: float, bike: Redbike | None = None) -> None:
        """Jobs that are due some time within so many seconds."""
        for _ in range(count):
            jobid, due_at = self.new_id("at"), round(self.arena.now() + rng.uniform(0.05, within_s), 4)
            (bike or self.bike).set(jobid, f"AT:{due_at}", payload=jobid)
            self.once.append(jobid)
            self.due[jobid] = due_at

    def set_often(self, count: int) -> None:
        self.often += (jobids := [self.new_id(OFTEN) for _ in range(count)])
        for jobid in jobids:
            self.bike.set(jobid, "CONTINUE")

    def set_ticks(self, count: int) -> None:
        self.ticks += (jobids := [self.new_id("tick") for _ in range(count)])
        for jobid in jobids:
            self.bike.set(jobid, SECONDLY, after=self.arena.now())

    def circulates(self, within_s: float, jobids: Sequence[str] | None = None) -> None:
        """Wait until each of the recurring jobs has begun once more; those that do not are stalled."""
        left = set([*self.often, *self.ticks] if jobids is None else jobids)
        since = self.arena.now()

        def done() -> bool:
            self.history.refresh()
            left.difference_update([one for one in left if (r := self.history.runs[one]) and r[-1].began_at > since])
            return not left

        try:
            wait_for(done, within_s, "circulation")
        except Unsettled:
            self.verdict.stalled += sorted(left)

    def all_begun(self, within_s: float) -> None:
        """Wait for each job that is to run once; what is missing is counted later."""

        def done() -> bool:
            self.history.refresh()
            return all(jobid in self.history.runs for jobid in self.once)

        try:
            wait_for(done, within_s, "one-off jobs")
        except Unsettled as error:
            self.verdict.complaints.append(str(error))

    def complain(self, text: str) -> None:
        self.verdict.complaints.append(text)

    def abandon(self) -> list[str]:
        """End all processes at once; the last line that each logged."""
        for actor in self.actors:
            self.kill(actor)
            actor.wait(10)
        return [line for actor in self.actors for line in actor.lines("")[-1:]]

    def stop(self) -> None:
        """End the fleet as an operator would; each process has to end well."""
        for actor in self.actors:
            if actor.pid not in self.killed:
                self._terminate(actor)
        for actor in self.actors:
            self._check_end(actor)

    def retire(self, actor: Actor) -> None:
        """End one of the fleet as an operator would, while the others go on."""
        self.actors.remove(actor)
        self._terminate(actor)
        self._check_end(actor)

    def _terminate(self, actor: Actor) -> None:
        """Send SIGTERM to a process. Until its handlers are installed, the signal would end it with -15."""
        with contextlib.suppress(Unsettled):  # it may have ended: its exit code is checked later
            wait_for(lambda: actor.lines("ing: Redis at ") or actor.code() is not None, 10, "start of a process")
        actor.send(signal.SIGTERM)

    def _check_end(self, actor: Actor) -> None:
        code = actor.wait(15)
        expected = -signal.SIGKILL if actor.pid in self.killed else 0
        if code != expected:
            self.complain(f"exit {code}: {' / '.join(actor.lines('')[-3:])}")
            if code is None:
                self.kill(actor)
        if actor.lines("Traceback"):
            self.complain(f"traceback in {actor.log.name}: {' / '.join(actor.lines('')[-30:])}")

    def finish(self, within_s: float = 30.0, *, dropped_is_lost: bool = True) -> Verdict:
        """Let the fleet come to rest, stop it, and judge."""
        self.all_begun(within_s)
        self.circulates(within_s)
        self.stop()
        self.history.refresh()
        verdict = self.verdict
        verdict.occurrences = self.history.count()
        lost, doubled = lost_and_doubled(self.history, self.once, self.killed, dropped_is_lost=dropped_is_lost)
        verdict.lost += lost
        verdict.doubled += doubled
        if self.history.odd:
            self.complain(f"odd payload or due time: {sorted(set(self.history.odd))[:5]}")
        if not self.killed:
            verdict.doubled += doubled_seconds(self.history, self.ticks)
        verdict.lateness_s = self.history.lateness_s(self.due)
        verdict.took_s = time.monotonic() - self._began_at
        self._check_places()
        self.bike.flush()
        self.bike.close()
        self.arena.notary.delete(self.prefix)
        self.arena.rounds.remove(self)
        return verdict

    def _check_places(self) -> None:
        """The fleet stands: each job that goes on is in a queue or on the timeline, in one of them, once."""
        client: Any = self.client
        queued: list[bytes] = []
        members: set[bytes] = set()
        for key in dict.fromkeys(self.bike.queue_names()):
            queued += client.lrange(key, 0, -1)
            members |= client.smembers(f"{key}-members")
        timeline = set(client.zrange(self.bike.timeline_key, 0, -1))
        if len(set(queued)) != len(queued):
            self.complain("a job is in its queue twice")
        if set(queued) != members:
            self.complain(f"the set of members differs from the list in {set(queued) ^ members}")
        if timeline & members:
            self.complain(f"queued and on the timeline: {timeline & members}")
        for jobid in [*self.often, *self.ticks]:
            if jobid.encode() not in members | timeline:
                self.complain(f"{jobid} is nowhere")
