"""The scripts lost, wake and unset, and the part of place that puts lost jobs back."""

import pytest
from bench import JOB, NOW, OTHER, QUEUED, RUNNING, SECOND, STOPPED, TIMED, Bench, State, queue_of, statuses

from redbike.schedule.plan import Action
from redbike.store.messages import Placement
from redbike.store.text import encode

# lost


@pytest.mark.parametrize(
    ("before", "lost"),
    [
        ({}, []),
        (QUEUED, []),
        (TIMED, []),
        (RUNNING, []),
        (STOPPED, [(JOB, encode(f"STP:{SECOND}"))]),
        ({"-schedules": {JOB: "TEXT"}}, [(JOB, b"")]),
        (STOPPED | {"-work-A-members": {JOB}}, [(JOB, encode(f"STP:{SECOND}"))]),
        ({"-statuses": statuses(x="WRK")}, []),
    ],
)
def test_lost(bench: Bench, before: State, lost: list[tuple[str, bytes]]) -> None:
    """lost returns the registered jobs that are in no place, with their status, and changes nothing."""
    bench.given(before)
    assert bench.store.lost([(JOB, bench.queue), ("z:B", bench.keys.queue("work-B"))]) == lost
    assert bench.state() == before


@pytest.mark.parametrize("before", [QUEUED, TIMED, RUNNING, STOPPED | {"-schedules": {JOB: "OTHER TEXT"}}, {}])
def test_place_only_where_lost(bench: Bench, before: State) -> None:
    """place of a lost job changes nothing if the job is in a place by now, or has another schedule."""
    bench.given(before)
    placement = Placement(JOB, bench.queue, "TEXT", Action.QUEUE)
    assert bench.store.place([placement], only_lost=True, now=NOW) is False
    assert bench.state() == before


def test_place_where_lost(bench: Bench) -> None:
    """place of a lost job puts it where its schedule says."""
    bench.given(RUNNING)
    bench.client.delete(bench.keys.tag(bench.queue, JOB))
    assert bench.store.place([Placement(JOB, bench.queue, "TEXT", Action.QUEUE)], only_lost=True, now=NOW) is True
    assert bench.state() == QUEUED


# wake


@pytest.mark.parametrize(
    ("before", "after", "halted"),
    [
        ({}, {}, False),
        (queue_of(JOB), queue_of(JOB) | {":bell:work-A": ["1"]}, False),
        (QUEUED, QUEUED, False),
        ({"-control": "other"}, {"-control": "other"}, False),
        ({"-control": "HALT"}, {"-control": "HALT", ":bell:work-A": ["1"]}, True),
        ({"-work-A": "wrong"}, {"-work-A": "wrong", ":bell:work-A": ["1"]}, False),
    ],
)
def test_wake(bench: Bench, before: State, after: State, halted: bool) -> None:
    """wake rings the bells of queues whose jobs were not announced, and all bells for a halt."""
    bench.given(before)
    for _ in range(2):
        assert bench.store.wake([bench.queue]) is halted
        assert bench.state() == after


# unset


@pytest.mark.parametrize(
    ("before", "after", "known"),
    [
        ({}, {}, False),
        (QUEUED, {":bell:work-A": ["1"]}, True),
        (TIMED, {}, True),
        (STOPPED, {}, True),
        (RUNNING, {"-work-A-x:A": "tag"}, True),
        (QUEUED | TIMED, {":bell:work-A": ["1"]}, True),
        ({"-work-A": [JOB, OTHER, JOB]}, {"-work-A": [OTHER]}, True),
        ({"-work-A-members": {JOB}}, {}, True),
        (queue_of(OTHER), queue_of(OTHER), False),
    ],
)
def test_unset(bench: Bench, before: State, after: State, known: bool) -> None:
    """unset leaves nothing of a job except the tag of a current run, and does not touch other jobs; a second call
    changes nothing.
    """
    bench.given(before)
    assert bench.store.unset(JOB, bench.queue) is known
    assert bench.state() == after
    assert bench.store.unset(JOB, bench.queue) is False
    assert bench.state() == after


@pytest.mark.parametrize("position", [0, 1, 1_999, 2_000, 2_001, 3_000, 5_998, 5_999])
def test_unset_in_a_long_queue(bench: Bench, position: int) -> None:
    """F5: unset removes a job from any place of a long queue, and no other job; the order stays."""
    jobs = [f"{number}:A" for number in range(6_000)]
    bench.given({"-schedules": {jobs[position]: "CONTINUE"}, "-work-A": jobs, "-work-A-members": set(jobs)})
    assert bench.store.unset(jobs[position], bench.queue) is True
    rest = [job for job in jobs if job != jobs[position]]
    left = bench.state()
    assert left.pop("-work-A-members") == set(rest)
    assert [job for job in left.pop("-work-A") if f"{bench.queue}\n{job}" not in left.get(":holes", {})] == rest
    taken = [bench.take(f"tag{number}").jobid for number in range(6_000 - max(position - 2, 0))]
    oldest_first = [job.encode() for job in reversed(rest)]
    assert taken == [*oldest_first, None][: len(taken)]
    assert ":holes" not in bench.state() or position == 1


def test_unset_of_a_job_that_is_in_no_long_queue(bench: Bench) -> None:
    """unset forgets a job that is in the set of a long queue but not in its list; the queue does not change."""
    jobs = [f"{number}:A" for number in range(6_000)]
    bench.given({"-work-A": jobs, "-work-A-members": {*jobs, JOB}})
    assert bench.store.unset(JOB, bench.queue) is True
    assert bench.state() == {"-work-A": jobs, "-work-A-members": set(jobs)}
