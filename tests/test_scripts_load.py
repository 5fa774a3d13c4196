"""The parts of place and unset for jobs from a file: their notes say which load owns a job."""

import pytest
import redis
from bench import JOB, NOW, OTHER, QUEUED, REST, TIMED, Bench, State, wrong

from redbike.schedule.plan import Action
from redbike.store.messages import Placement
from redbike.store.store import Outdated

NOTED: State = {":loaded": {JOB: "shop\n01"}}


def load(
    bench: Bench, action: str = "queue", former: str | None = None, note: str = "shop\n01", **kwargs: object
) -> bool:
    due_at = 5.5 if action == "at" else None
    placement = Placement(JOB, bench.queue, "TEXT", Action(action), due_at, note=note, former=former)
    return bench.store.place([placement], now=NOW, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "former", "is_placed"),
    [
        (REST, None, True),
        (REST, "", True),
        (REST, "shop\n01", False),
        (REST | {":loaded": {JOB: "shop\n00"}}, None, True),
        (REST | {":loaded": {JOB: "shop\n00"}}, "shop\n00", True),
        (REST | {":loaded": {JOB: "shop\n00"}}, "", False),
        (REST | NOTED, "shop\n00", False),
    ],
)
def test_place_compares_the_note(bench: Bench, before: State, former: str | None, is_placed: bool) -> None:
    """place sets a job from a file and its note in one step, unless the job has another note than expected."""
    bench.given(before)
    assert load(bench, former=former) is is_placed
    assert bench.state() == (QUEUED | NOTED if is_placed else before)


def test_place_of_many_with_notes(bench: Bench) -> None:
    """Of the jobs of one call, place skips only those with another note."""
    bench.given({":loaded": {OTHER: "another\n02"}})
    jobs = [
        Placement(job, bench.queue, "TEXT", action, due_at, payload=payload, note="shop\n01", former="")
        for job, action, due_at, payload in (
            (OTHER, Action.QUEUE, None, "x"),
            (JOB, Action.QUEUE, None, None),
            ("z:A", Action.AT, 5.5, "text"),
        )
    ]
    assert bench.store.place(jobs, now=NOW)
    after = bench.state()
    assert after[":loaded"] == {OTHER: "another\n02", JOB: "shop\n01", "z:A": "shop\n01"}
    assert (after["-work-A"], after["-timeline"], after[":payloads"]) == ([JOB], {"z:A": 5.5}, {"z:A": "text"})
    assert after["-schedules"] == {JOB: "TEXT", "z:A": "TEXT"}


def test_a_repeated_place_with_a_note(bench: Bench) -> None:
    """A repeated call changes nothing, also if the job has run in between; a delayed call is outdated."""
    load(bench, former="", request_id="c" * 16 + "000000000002", noted=True)
    taken = bench.take()
    assert taken.jobid == JOB.encode()
    before = bench.state()
    assert load(bench, former="", request_id="c" * 16 + "000000000002", repeated=True, noted=True)
    with pytest.raises(Outdated):
        load(bench, former="shop\n01", request_id="c" * 16 + "000000000001")
    assert bench.state() == before


@pytest.mark.parametrize("note", ["shop\n01", "shop\n02", ""])
def test_unset_compares_the_note(bench: Bench, note: str) -> None:
    """unset of a job from a file forgets the job and its note in one step, unless the job has another note."""
    bench.given(QUEUED | TIMED | NOTED)
    before = bench.state()
    assert bench.store.unset(JOB, bench.queue, note=note) is (note == "shop\n01")
    assert bench.state() == ({":bell:work-A": ["1"]} if note == "shop\n01" else before)
    assert not bench.store.unset(JOB, bench.queue, note=note)


def test_unset_and_set_leave_the_note(bench: Bench) -> None:
    """A set or an unset by hand leaves the note: a job for one run has had its run, and a file resets its jobs."""
    bench.given(QUEUED | NOTED)
    bench.place("at", 5.5)
    assert bench.state()[":loaded"] == NOTED[":loaded"]
    bench.store.unset(JOB, bench.queue)
    assert bench.state() == NOTED | {":bell:work-A": ["1"]}


@pytest.mark.parametrize("name", [":loaded", "-schedules", "-timeline", "-work-A"])
@pytest.mark.parametrize("call", ["place", "unset"])
def test_wrong_types_with_notes(bench: Bench, name: str, call: str) -> None:
    """A key of a wrong type makes the call fail before its first write."""
    bench.given(REST | NOTED)
    wrong(bench, name)
    before = bench.state()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        load(bench) if call == "place" else bench.store.unset(JOB, bench.queue, note="shop\n01")
    assert bench.state() == before
