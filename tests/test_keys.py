"""A4 to A6: job ids that would make two keys collide, `flush`, and prefixes with a hash tag."""

from collections.abc import Callable
from typing import Any

import pytest
from conftest import Fleet, Recorder, Running
from helpers import PAST, halt_at_once, server_now
from nodes import eventually
from servers import Cluster
from state import state, whole_server

from redbike import Redbike, RoundRobin
from redbike.errors import JobIdError

# A4: collisions


class Fixed(RoundRobin):
    """A worker that reads the queue of a job before the colon."""

    def __init__(self, *names: str) -> None:
        super().__init__("")
        self._names = list(names)

    def queue_names(self) -> list[str]:
        return self._names

    def queue_for(self, jobid: str) -> str:
        return jobid.partition(":")[0]


class OneQueue(Fixed):
    """A worker that puts every job into its first queue."""

    def queue_for(self, jobid: str) -> str:  # noqa: ARG002 - the protocol
        return self._names[0]


@pytest.mark.parametrize(
    ("worker", "job"),
    [
        (RoundRobin("A"), "members"),  # the run tag is the member set of work-members
        (RoundRobin("members"), "members"),
        (OneQueue("jobs"), "members"),
        (OneQueue("jobs", "jobs-x"), "x"),  # the run tag is the other list
        (OneQueue("jobs", "jobs-x"), "x-members"),  # ... or its member set
        (RoundRobin("A:A-A"), "A-A"),  # the list is the run tag of job A
    ],
)
def test_colliding_job_id(fleet: Fleet, worker: RoundRobin, job: str) -> None:
    """A4: a job id that would make two keys collide is refused by every method with an error that names it, and nothing
    is written.
    """
    bike = fleet(worker)
    ways_in: list[Callable[[], object]] = [lambda: bike.set(job, "CONTINUE"), lambda: bike.enqueue(job)]
    for way_in in ways_in:
        with pytest.raises(JobIdError, match=repr(job)) as error:
            way_in()
        assert "\n" not in str(error.value)
    assert state(bike.redis, bike.prefix) == {}


@pytest.mark.parametrize("job", ["members:A", "A", "schedules", "control:A", "x-members:A", "memo", "bell:A"])
def test_harmless_job_id(bike: Redbike, job: str) -> None:
    """A4: a job id that only looks like a key, and collides with none, is accepted and runs like others."""
    bike = Redbike(
        Recorder("A:memo:schedules"),
        bike.prefix,
        {"unix_socket_path": bike._parts.client.where},
        timefile=bike.timefile,
    )
    with bike:
        bike.control("HALT")
        for jobid in (job, "other:A"):
            bike.set(jobid, "NOW")
        for _ in range(6):
            bike.work()
        assert sorted(bike.worker.done) == sorted([job, "other:A"])  # type: ignore[attr-defined]


# A5: flush


def busy(bike: Redbike) -> None:
    """Create every kind of key."""
    for job, schedule in (("n:A", "NOW"), ("c:A", "CONTINUE"), ("r:A", "RRULE:FREQ=DAILY"), ("b:A", "garbage")):
        bike.set(job, schedule)
    assert next(bike.consumer)[0] == "n:A"
    bike.control("HALT")


@pytest.mark.parametrize("other", ["{}-benchmark", "{}-work-A-x", "{}x", "{}-", "x{}", "{}-schedules", "{}:bell"])
def test_flush_leaves_other_prefixes(fleet: Fleet, bike: Redbike, other: str) -> None:
    """A5: `flush` leaves alone a prefix that begins like its own, with its queues and run tags."""
    neighbour = fleet(prefix=other.format(bike.prefix))
    busy(neighbour)
    before = {key: held for key, held in whole_server(bike.redis).items() if bike.prefix in key}
    busy(bike)
    assert bike.flush() > 0
    assert {key: held for key, held in whole_server(bike.redis).items() if bike.prefix in key} == before


def test_flush_deletes_everything(bike: Redbike) -> None:
    """A5: `flush` deletes every key of the prefix, and returns their number."""
    busy(bike)
    keys = [key for key in whole_server(bike.redis) if key.startswith((f"{bike.prefix}-", f"{bike.prefix}:"))]
    assert len(keys) >= 7
    assert bike.flush() == len(keys)
    assert not [key for key in whole_server(bike.redis) if key.startswith(bike.prefix)]
    assert bike.flush() == 0


@pytest.mark.parametrize("prefix_form", ["{}*", "{}[a]", "{}?", "{}\\"])
def test_flush_takes_a_prefix_literally(fleet: Fleet, bike: Redbike, prefix_form: str) -> None:
    """A5: characters in a prefix that have a meaning in a pattern have none for `flush`."""
    odd = fleet(prefix=prefix_form.format(bike.prefix))
    busy(odd)
    neighbour = fleet(prefix=f"{bike.prefix}a")
    busy(neighbour)
    before = state(neighbour.redis, neighbour.prefix)
    odd.flush()
    assert state(neighbour.redis, neighbour.prefix) == before
    assert state(odd.redis, odd.prefix) == {}


@pytest.mark.parametrize("key", ["-schedules", "-statuses", "-timeline", "-work-A"])
def test_flush_gets_rid_of_wrong_types(bike: Redbike, key: str) -> None:
    """A5: `flush` also deletes a key of a wrong type."""
    busy(bike)
    bike.redis.delete(bike.prefix + key)
    bike.redis.set(bike.prefix + key, "wrong")
    bike.flush()
    assert state(bike.redis, bike.prefix) == {}


# A6: hash tags


def test_everything_in_one_slot(bike: Redbike, fleet: Fleet) -> None:
    """A6: with a hash tag as prefix, every key is in the slot of that tag, whatever braces a job id holds."""
    tagged = fleet(prefix=f"{{{bike.prefix}}}")
    busy(tagged)
    tagged.clear_control()
    tagged.set("{other}:A", "NOW")
    tagged.set("}{:A", "NOW")
    while next(tagged.consumer)[0] is not None:
        pass
    keys = [key for key in whole_server(bike.redis) if bike.prefix in key]
    assert any("-work-A-{other}:A" in key for key in keys)
    assert {key[: key.index("}") + 1] for key in keys} == {f"{{{bike.prefix}}}"}


@pytest.mark.parametrize("tag", ["{myapp}", "{other}-shop"])
def test_works_on_a_cluster(cluster: Cluster, fleet: Fleet, running: Running, tag: str) -> None:
    """A6: on a Redis Cluster of three nodes, everything works with a hash tag in the prefix, whichever node has it."""
    worker = Recorder("A:B")
    at: dict[str, Any] = {
        "prefix": tag,
        "redis_config": cluster.config,
    }
    bike = fleet(worker, **at)
    path = fleet.folder / "schedules.csv"
    path.write_text("csv:A,NOW\ncsv:B,CONTINUE\nbad:A,garbage\n")
    worker.acts["csv:B"] = lambda: 3600
    bike.set("due:B", f"AT:{PAST}")
    bike.set("rule:B", "RRULE:FREQ=DAILY")
    bike.set("gone:A", "CONTINUE")
    bike.unset("gone:A")
    bike.control("HALT")
    bike.dispatch(csvfilename=path)
    for _ in range(6):
        bike.work()
    assert sorted(worker.done) == ["csv:A", "csv:B", "due:B"]
    assert sorted(event for _, event, _ in bike.get_statuses()) == ["BAD", "STP", "STP", "TML", "TML"]
    assert len(dict(bike.get_schedules())) == 5
    assert bike.tell("csv:A")["schedule"] == "STOP"

    bike.clear_control()
    running(lambda stop: fleet(worker, stop_event=stop, **at).work)
    running(lambda stop: fleet(stop_event=stop, **at).dispatch)
    bike.set("later:B", f"AT:{server_now(bike) + 0.2:.3f}")
    eventually(lambda: "later:B" in worker.done)
    halt_at_once(bike)
    assert bike.flush() > 4
    assert dict(bike.get_schedules()) == {}
