"""The script turn: which job it takes, how it ends a run, and what a repeated call does."""

from typing import Any

import pytest
from bench import (
    BAD,
    JOB,
    NOW,
    ONE_RUN_S,
    OTHER,
    QUEUED,
    RUNNING,
    SECOND,
    STOPPED,
    TIMED,
    Bench,
    State,
    queue_of,
    statuses,
)
from state import memos

from redbike.store.messages import NO_PLACES, EndReply, RunEnd
from redbike.store.requests import CLIENT_ID_LENGTH

# turn: taking


@pytest.mark.parametrize(
    ("queues", "order", "taken", "place"),
    [
        ({"A": [JOB]}, "A", JOB, 0),
        ({"A": [JOB, OTHER]}, "A", JOB, 0),
        ({"B": ["z:B"]}, "A", None, None),
        ({"B": ["z:B"]}, "AB", "z:B", 1),
        ({"A": [JOB], "B": ["z:B"]}, "BAA", "z:B", 0),
        ({"A": [JOB]}, "BAA", JOB, 1),
        ({}, "AAB", None, None),
    ],
)
def test_take(bench: Bench, queues: dict[str, list[str]], order: str, taken: str | None, place: int | None) -> None:
    """turn takes the oldest job of the first place that has one: it leaves list and members, gets a run tag, and is
    WRK.
    """
    before: State = {}
    for name, jobs in queues.items():
        before |= {f"-work-{name}": list(reversed(jobs)), f"-work-{name}-members": set(jobs)}
    bench.given(before)
    turn = bench.take(order=order)
    assert (turn.jobid, turn.place) == (taken and taken.encode(), place)
    assert (turn.ended, turn.changed_text, turn.text, turn.halted, turn.now) == (
        EndReply.NOT_ASKED,
        None,
        None,
        False,
        NOW,
    )
    expected: State = {}
    for name, jobs in queues.items():
        rest = [job for job in jobs if job != taken]
        if rest:
            expected |= {f"-work-{name}": list(reversed(rest)), f"-work-{name}-members": set(rest)}
            if taken in jobs:
                expected[f":bell:work-{name}"] = ["1"]
    if taken is not None:
        expected |= {"-statuses": {taken: f"WRK:{SECOND}"}, f"-work-{taken[-1]}-{taken}": "tag"}
        ttl_ms: Any = bench.client.pttl(bench.keys.tag(bench.keys.queue("work-" + taken[-1]), taken))
        assert 1000 * ONE_RUN_S - 900 < ttl_ms <= 1000 * ONE_RUN_S
    assert bench.state() == expected


def test_take_gives_the_schedule(bench: Bench) -> None:
    """turn returns the schedule of the job that it took, byte for byte."""
    bench.given(queue_of(JOB))
    bench.client.hset(bench.keys.schedules, JOB, b"\xff")
    assert bench.take().text == b"\xff"


@pytest.mark.parametrize(("heed_halt", "taken"), [(True, None), (False, JOB.encode())])
def test_take_from_a_halted_prefix(bench: Bench, heed_halt: bool, taken: bytes | None) -> None:
    """turn takes nothing from a halted prefix, unless its caller ignores the halt."""
    bench.given(queue_of(JOB) | {"-control": "HALT"})
    turn = bench.take(heed_halt=heed_halt)
    assert (turn.jobid, turn.halted) == (taken, heed_halt)


def test_take_passes_over_a_running_job(bench: Bench) -> None:
    """turn does not start a queued job that is running: it is due right after that run, and the next job is taken."""
    bench.given(RUNNING | queue_of(JOB, OTHER))
    turn = bench.take("mine", order="AA")
    assert (turn.jobid, turn.place) == (OTHER.encode(), 1)
    assert bench.state() == RUNNING | {
        "-timeline": {JOB: SECOND},
        "-statuses": statuses(x="TML", y="WRK"),
        "-work-A-y:A": "mine",
    }


# turn: ending


@pytest.mark.parametrize(
    ("meanwhile", "step", "due_at", "after"),
    [
        ({}, "queue", None, QUEUED),
        ({}, "at", 5.5, TIMED),
        ({}, "stop", None, STOPPED),
        ({}, "bad", None, BAD),
        ({}, "die", None, STOPPED | {"-statuses": statuses(x="DIE")}),
        ({}, "quit", None, STOPPED | {"-schedules": {JOB: "STOP"}}),
        ({}, "unset", None, {}),
        ({"-timeline": {JOB: 9.0}}, "queue", None, QUEUED),
        ({"-timeline": {JOB: 9.0}}, "at", 5.5, TIMED),
        ({"-timeline": {JOB: 3.0}}, "at", 5.5, TIMED | {"-timeline": {JOB: 3.0}}),
        ({"-timeline": {JOB: 9.0}}, "stop", None, STOPPED),
        ({"-timeline": {JOB: 9.0}}, "bad", None, BAD),
        ({"-timeline": {JOB: 9.0}}, "quit", None, STOPPED | {"-schedules": {JOB: "STOP"}}),
        ({"-timeline": {JOB: 9.0}}, "unset", None, {}),
        (
            {"-timeline": {JOB: 9.0}},
            "die",
            None,
            STOPPED | {"-statuses": statuses(x="DIE"), "-timeline": {JOB: 9.0}},
        ),
        (queue_of(OTHER), "queue", None, QUEUED | queue_of(OTHER, JOB)),
        (queue_of(JOB), "queue", None, QUEUED),
        (queue_of(JOB), "unset", None, {}),
    ],
)
def test_end(bench: Bench, meanwhile: State, step: str, due_at: float | None, after: State) -> None:
    """turn ends a run as planned: the tag is removed, and the whole state is as the plan says."""
    bench.given(RUNNING | meanwhile)
    assert bench.end(step, due_at).ended is EndReply.DONE
    assert bench.state() == after


@pytest.mark.parametrize("step", ["stop", "quit"])
@pytest.mark.parametrize(
    ("due_at", "after"), [(9.0, QUEUED), (NOW + 100, TIMED | {"-timeline": {JOB: NOW + 100}})], ids=["due", "to come"]
)
def test_end_with_a_one_off_to_come(bench: Bench, step: str, due_at: float, after: State) -> None:
    """turn does not stop a job that was set to run once more during its run: that run comes next, or still waits."""
    bench.given(RUNNING | {"-schedules": {JOB: "STOP"}, "-timeline": {JOB: due_at}})
    bench.end(step, known="STOP")
    assert bench.state() == after | {"-schedules": {JOB: "STOP"}}


@pytest.mark.parametrize("step", ["queue", "at", "stop", "bad", "die", "quit", "unset"])
def test_end_of_an_unset_job(bench: Bench, step: str) -> None:
    """turn leaves nothing of a job that was unset during its run, however the run ended."""
    bench.given({"-work-A-x:A": "tag", "-statuses": statuses(x="WRK")})
    assert bench.end(step, 5.5, known="TEXT").ended is EndReply.DONE
    assert bench.state() == {}


@pytest.mark.parametrize("tag", [{}, {"-work-A-x:A": "another's"}])
@pytest.mark.parametrize("step", ["queue", "at", "stop", "bad", "die", "quit", "unset"])
def test_late_end(bench: Bench, step: str, tag: State) -> None:
    """turn changes nothing if the run tag is gone or belongs to another run."""
    before = STOPPED | tag | {"-timeline": {JOB: 7.0}}
    bench.given(before)
    assert bench.end(step, 5.5).ended is EndReply.LATE
    assert bench.state() == before


@pytest.mark.parametrize(("step", "changed"), [("queue", True), ("at", True), ("stop", True), ("bad", True)])
def test_end_with_another_schedule(bench: Bench, step: str, changed: bool) -> None:
    """turn changes nothing and takes nothing if the plan was made from an old schedule: it returns the new schedule."""
    before = RUNNING | queue_of(OTHER)
    bench.given(before)
    turn = bench.end(step, 5.5, known="OLD", places=bench.places())
    assert (turn.ended, turn.changed_text, turn.jobid) == (EndReply.CHANGED, b"TEXT", None)
    assert bench.state() == before
    assert changed


@pytest.mark.parametrize("step", ["die", "quit", "unset"])
def test_end_whatever_the_schedule(bench: Bench, step: str) -> None:
    """turn carries out an outcome that does not depend on the schedule, even if the schedule has changed."""
    bench.given(RUNNING)
    assert bench.end(step, known="OLD").ended is EndReply.DONE
    assert JOB not in bench.state().get("-timeline", {})


def test_end_and_take(bench: Bench) -> None:
    """turn ends one run and takes the next job in one call, and wakes another idle worker."""
    bench.given(RUNNING | queue_of(OTHER))
    turn = bench.end("queue", places=bench.places())
    assert (turn.ended, turn.jobid) == (EndReply.DONE, OTHER.encode())
    assert bench.state() == QUEUED | {"-statuses": statuses(x="ENQ", y="WRK"), "-work-A-y:A": "next"}


def test_end_moves_to_another_queue(bench: Bench) -> None:
    """turn puts a job into the queue that the worker names now, whichever queue it came from."""
    bench.given(RUNNING)
    ending = RunEnd(JOB, "tag", bench.queue, bench.keys.queue("work-B"), b"TEXT", "queue")
    bench.store.turn("next", NO_PLACES, ending, now=NOW)
    after = bench.state()
    assert (after["-work-B"], after["-work-B-members"], after[":bell:work-B"]) == ([JOB], {JOB}, ["1"])
    assert "-work-A" not in after


# turn: after a lost reply


def test_take_after_a_lost_reply(bench: Bench) -> None:
    """A turn that is repeated after a lost reply returns the same job again, and no second job."""
    bench.given(queue_of(JOB, OTHER) | {"-schedules": {JOB: "TEXT"}})
    first = bench.take(order="BA")
    after = bench.state()
    again = bench.take(order="BA", repeated=True)
    assert again == first
    assert bench.state() == after


@pytest.mark.parametrize("repeated", [False, True])
def test_take_after_a_lost_call(bench: Bench, repeated: bool) -> None:
    """A turn with another request id is another call; the repetition of a call that never arrived counts as the first
    call.
    """
    bench.given(queue_of(JOB, OTHER))
    assert bench.take("a").jobid == JOB.encode()
    assert bench.take("b", repeated=repeated).jobid == OTHER.encode()


@pytest.mark.parametrize("step", ["queue", "at", "stop", "die", "unset"])
def test_end_after_a_lost_call(bench: Bench, step: str) -> None:
    """A repeated turn ends a run even if the first call never arrived."""
    bench.given(RUNNING)
    assert bench.end(step, 5.5, repeated=True).ended is EndReply.DONE
    assert "-work-A-x:A" not in bench.state()


def test_end_after_a_lost_reply(bench: Bench) -> None:
    """A turn that is repeated after a lost reply does not end the run twice, and reports that it has ended."""
    bench.given(RUNNING)
    assert bench.end("queue").ended is EndReply.DONE
    after = bench.state()
    assert bench.end("queue", repeated=True).ended is EndReply.DONE
    assert bench.state() == after


def test_end_and_take_after_a_lost_reply(bench: Bench) -> None:
    """A turn that ended one run and began the next before its reply was lost returns the same reply again, even if it
    took the job that it had ended.
    """
    bench.given(RUNNING)
    first = bench.end("queue", places=bench.places())
    assert (first.ended, first.jobid) == (EndReply.DONE, JOB.encode())
    after = bench.state()
    assert bench.end("queue", places=bench.places(), repeated=True) == first
    assert bench.state() == after


@pytest.mark.parametrize("since", ["taken by another", "queued again"])
def test_lost_reply_and_a_timeout(bench: Bench, since: str) -> None:
    """A turn that is repeated after the job timed out and went elsewhere does not take the job away again."""
    bench.given(queue_of(JOB))
    bench.take()
    tag = bench.keys.tag(bench.queue, JOB)
    bench.client.delete(tag)
    if since == "taken by another":
        bench.client.set(tag, "another's")
        assert bench.take(repeated=True).jobid is None
        assert bench.client.get(tag) == b"another's"
    else:
        bench.client.lpush(bench.queue, JOB)
        bench.client.sadd(bench.keys.members(bench.queue), JOB)
        before = bench.state()
        assert bench.take(repeated=True).jobid is None, "the next turn may take it"
        assert bench.state() == before


def test_lost_reply_of_an_expired_run(bench: Bench) -> None:
    """A turn that is repeated after the tag has expired returns the job again, if it is nowhere else."""
    bench.given(queue_of(JOB))
    first = bench.take()
    after = bench.state()
    bench.client.delete(bench.keys.tag(bench.queue, JOB))
    assert bench.take(repeated=True) == first
    assert bench.state() == after


def test_memo_of_a_job_id_with_blanks(bench: Bench) -> None:
    """turn remembers a job id with blanks completely."""
    bench.given({"-work-A": ["a b  c :A"], "-work-A-members": {"a b  c :A"}})
    assert bench.take().jobid == bench.take(repeated=True).jobid == b"a b  c :A"


def test_memos_go(bench: Bench) -> None:
    """There is one memo per client id; it expires, and can be deleted."""
    bench.given(queue_of(JOB))
    caller = "c" * CLIENT_ID_LENGTH
    bench.take(request_id=f"{caller}1")
    bench.place("queue", once=True, request_id=f"{caller}2")
    assert len(memos(bench.client, bench.prefix)) == 1
    [key] = bench.client.scan_iter(match=f"{bench.prefix}:memo:*", count=1000)
    assert 0 < bench.client.ttl(key) <= 86_400
    bench.store.forget_memo(f"{caller}3")
    assert memos(bench.client, bench.prefix) == []
