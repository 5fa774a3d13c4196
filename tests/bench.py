"""What the tests of the Lua scripts start from: the scripts on one prefix, and states of a job."""

from typing import Any

import redis
from state import bring_about, records, state

from redbike.schedule.plan import Action
from redbike.server.connection import ScriptConnection
from redbike.store.keys import Keys
from redbike.store.looks import Looks
from redbike.store.messages import NO_PLACES, Placement, Places, Queues, RunEnd, Turn
from redbike.store.store import Store

NOW = 1_700_000_000.25


SECOND = 1_700_000_000


JOB, OTHER = "x:A", "y:A"


ONE_RUN_S = 10


State = dict[str, Any]


class Bench:
    """The scripts on one prefix, called with short arguments."""

    def __init__(
        self, client: redis.Redis, prefix: str, own: bool = True, index_running: bool = False, **more: Any
    ) -> None:
        self.client, self.prefix = client, prefix
        self.keys = Keys(prefix)
        self.store = Store(self.keys, ScriptConnection(client, own=own), index_running, **more)
        self.looks = Looks(client, self.keys, self.store.clock)
        self.queue = self.keys.queue("work-A")

    def state(self) -> State:
        return state(self.client, self.prefix)

    def records(self) -> State:
        return records(self.client, self.prefix)

    def state_by_the_server(self) -> State:
        """Return the state, with SECOND in place of the server's present time in statuses."""
        found = self.state()
        time: Any = self.client.time()
        for job, status in found.get("-statuses", {}).items():
            event, second = status.split(":")
            if abs(int(second) - time[0]) < 3:
                found["-statuses"][job] = f"{event}:{SECOND}"
        return found

    def clear(self) -> None:
        for key in self.client.scan_iter(count=1000):
            if key.startswith(self.prefix.encode()):
                self.client.delete(key)

    def given(self, before: State) -> None:
        bring_about(self.client, self.prefix, before)

    def places(self, order: str = "A") -> Places:
        names = list(dict.fromkeys(order))
        queues = [self.keys.queue(f"work-{name}") for name in names]
        triples = [(queue, self.keys.members(queue), self.keys.bell(queue)) for queue in queues]
        spec = bytes(49 + names.index(name) for name in order)
        return Places(spec, Queues(triples, [1000 * ONE_RUN_S] * len(names)), len(order))

    def place(self, step: str, due_at: float | None = None, text: str | None = "TEXT", **kwargs: Any) -> None:
        once = kwargs.pop("once", False)
        placement = Placement(JOB, self.queue, text, Action(step), due_at, payload=kwargs.pop("payload", None))
        self.store.place([placement], noted=once, now=NOW, **kwargs)

    def take(self, request_id: str = "tag", order: str = "A", **kwargs: Any) -> Turn:
        return self.store.turn(request_id, self.places(order), now=kwargs.pop("now", NOW), **kwargs)

    def end(self, step: str, due_at: float | None = None, known: str | None = "TEXT", **kwargs: Any) -> Turn:
        places, text = kwargs.pop("places", NO_PLACES), None if known is None else known.encode()
        tries, overdue = kwargs.pop("tries", None), kwargs.pop("overdue", False)
        ending = RunEnd(JOB, "tag", self.queue, self.queue, text, Action(step), due_at, tries, overdue)
        ending = ending._replace(**kwargs.pop("ending", {}))
        return self.store.turn(kwargs.pop("request_id", "next"), places, ending, now=NOW, **kwargs)


# place: before, what is asked for, after


def statuses(**events: str) -> dict[str, str]:
    return {f"{job}:A": f"{event}:{SECOND}" for job, event in events.items()}


REST: State = {"-schedules": {JOB: "OLD"}, "-statuses": {JOB: "STP:1"}}


QUEUED: State = {
    "-schedules": {JOB: "TEXT"},
    "-statuses": statuses(x="ENQ"),
    "-work-A": [JOB],
    "-work-A-members": {JOB},
    ":bell:work-A": ["1"],
}


TIMED: State = {"-schedules": {JOB: "TEXT"}, "-statuses": statuses(x="TML"), "-timeline": {JOB: 5.5}}


STOPPED: State = {"-schedules": {JOB: "TEXT"}, "-statuses": statuses(x="STP")}


BAD: State = {"-schedules": {JOB: "TEXT"}, "-statuses": statuses(x="BAD")}


RUNNING: State = {"-schedules": {JOB: "TEXT"}, "-statuses": statuses(x="WRK"), "-work-A-x:A": "tag"}


def queue_of(*jobs: str) -> State:
    """Return the state of a queue whose first job is the oldest."""
    return {"-work-A": list(reversed(jobs)), "-work-A-members": set(jobs)}


# promote


def promote(bench: Bench, *jobs: str, limit: int = 10) -> Any:
    return bench.store.promote({bench.queue: [job.encode() for job in jobs]} if jobs else {}, limit, NOW)


def wrong(bench: Bench, name: str) -> None:
    """Replace a key by a key of another type."""
    key = bench.prefix + name
    bench.client.delete(key)
    if name in ("-control", "-work-A-x:A"):
        bench.client.rpush(key, "wrong")
    else:
        bench.client.set(key, "wrong")
