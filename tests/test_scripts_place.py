"""The scripts place and promote: the whole state of a prefix before and after each call."""

import pytest
import redis
from bench import (
    BAD,
    JOB,
    NOW,
    OTHER,
    QUEUED,
    REST,
    RUNNING,
    SECOND,
    STOPPED,
    TIMED,
    Bench,
    State,
    promote,
    queue_of,
    statuses,
)
from conftest import Server
from proxy import Loss, Proxy
from redis.backoff import NoBackoff
from redis.retry import Retry

from redbike.schedule.plan import Action
from redbike.store.messages import Placement
from redbike.store.store import Outdated


@pytest.mark.parametrize(
    ("before", "step", "due_at", "after"),
    [
        ({}, "queue", None, QUEUED),
        ({}, "at", 5.5, TIMED),
        ({}, "stop", None, STOPPED),
        ({}, "bad", None, BAD),
        (REST, "queue", None, QUEUED),
        (REST | {"-timeline": {JOB: 9.0}}, "queue", None, QUEUED),
        (REST | {"-timeline": {JOB: 9.0}}, "at", 5.5, TIMED),
        (REST | {"-timeline": {JOB: 9.0}}, "stop", None, STOPPED),
        (REST | {"-timeline": {JOB: 9.0}}, "bad", None, BAD),
        (QUEUED, "queue", None, QUEUED),
        (QUEUED | {":bell:work-A": ["1"]}, "stop", None, QUEUED | STOPPED),
        (QUEUED, "at", 5.5, QUEUED | TIMED),
        (REST | {"-work-A-members": {JOB}}, "queue", None, QUEUED),
        (REST | queue_of(OTHER), "queue", None, QUEUED | queue_of(OTHER, JOB)),
        (RUNNING, "queue", None, TIMED | {"-timeline": {JOB: SECOND}, "-work-A-x:A": "tag"}),
        (RUNNING, "at", 5.5, TIMED | {"-work-A-x:A": "tag"}),
        (RUNNING, "stop", None, STOPPED | {"-work-A-x:A": "tag"}),
    ],
)
def test_place(bench: Bench, before: State, step: str, due_at: float | None, after: State) -> None:
    """place registers the schedule and carries out its plan: the whole state is as expected; a second call changes
    nothing.
    """
    bench.given(before)
    bench.place(step, due_at)
    assert bench.state() == after
    bench.place(step, due_at)
    assert bench.state() == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (REST, REST | queue_of(JOB) | {"-statuses": statuses(x="ENQ"), ":bell:work-A": ["1"]}),
        (
            REST | {"-timeline": {JOB: 9.0}},
            REST | queue_of(JOB) | {"-timeline": {JOB: 9.0}, "-statuses": statuses(x="ENQ"), ":bell:work-A": ["1"]},
        ),
        (RUNNING, RUNNING | {"-timeline": {JOB: SECOND}, "-statuses": statuses(x="TML")}),
    ],
)
def test_place_without_a_schedule(bench: Bench, before: State, after: State) -> None:
    """place without a schedule leaves the schedule and the timeline entry as they are."""
    bench.given(before)
    bench.place("queue", text=None)
    assert bench.state() == after


def test_place_after_a_lost_reply(bench: Bench) -> None:
    """A repeated place of a one-off whose reply was lost does not queue the job again if it has run meanwhile; a call
    with another request id does.
    """
    bench.place("queue", once=True, request_id="a")
    other = Bench(bench.client, bench.prefix)
    assert other.take().jobid == JOB.encode()
    other.end("stop")
    rest = bench.state()
    bench.place("queue", once=True, request_id="a", repeated=True)
    assert bench.state() == rest
    with pytest.raises(Outdated):  # not a repetition: another process with the same client id
        bench.place("queue", once=True, request_id="a")
    assert bench.state() == rest
    bench.place("queue", once=True, request_id="b")
    assert bench.state() == QUEUED


def rows(bench: Bench) -> list[Placement]:
    """Return one placement of each kind, in two queues."""
    other_queue = bench.keys.queue("work-B")
    return [
        Placement("0:A", bench.queue, "CONTINUE", Action.QUEUE),
        Placement("1:A", bench.queue, "HOURLY", Action.AT, NOW + 9),
        Placement("2:B", other_queue, "CONTINUE", Action.QUEUE),
        Placement("3:A", bench.queue, "STOP", Action.STOP),
        Placement("4:A", bench.queue, "?", Action.BAD),
        Placement("5:A", bench.queue, "CONTINUE", Action.QUEUE),
        Placement("6:A", bench.queue, "DAILY", Action.AT, NOW - 9),
    ]


def test_place_many_is_place_for_each(bench: Bench) -> None:
    """Many jobs in one call are placed like one after the other, also known and running jobs."""
    running: State = {"-work-A-5:A": "tag"}
    before: State = running | {"-timeline": {"0:A": 1.0, "3:A": 2.0, "6:A": NOW + 99}, ":retries": {"1:A": "2"}}
    bench.given(before)
    for row in rows(bench):
        bench.store.place([row], now=NOW)
    one_by_one = bench.state()
    bench.clear()
    bench.given(before)
    bench.store.place(rows(bench), "a", noted=True, now=NOW)
    assert bench.state() == one_by_one
    assert one_by_one["-work-A"] == ["0:A"]
    assert one_by_one["-timeline"] == {"1:A": NOW + 9, "5:A": SECOND, "6:A": NOW - 9}


@pytest.mark.parametrize("spoiled", ["-work-B", "-work-B-members", "-timeline", "-schedules"])
def test_place_many_places_all_or_none(bench: Bench, spoiled: str) -> None:
    """A key of a wrong type makes the whole call fail before anything is changed."""
    bench.given({spoiled: "of a wrong type"})
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        bench.store.place(rows(bench), "a", noted=True)
    assert bench.state() == {spoiled: "of a wrong type"}


@pytest.mark.parametrize("spoiled", ["-work-A", "-work-A-members"])
def test_place_into_a_spoiled_queue(bench: Bench, spoiled: str) -> None:
    """A queue of a wrong type takes no job, and place reports it; nothing of the job is left."""
    bench.given({spoiled: "of a wrong type"})
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        bench.place("queue")
    assert bench.state() == {spoiled: "of a wrong type"}


def test_place_many_is_not_repeated(bench: Bench) -> None:
    """A repetition of a completed call for many jobs changes nothing, whatever happened to them since."""
    bench.store.place(rows(bench), "a", noted=True)
    bench.store.unset("0:A", bench.queue)
    bench.take()
    later = bench.state()
    bench.store.place(rows(bench), "a", True, noted=True)
    assert bench.state() == later


@pytest.mark.parametrize(
    ("due_at", "others_due_at", "called"),
    [(NOW + 0.5, None, True), (NOW - 9, NOW + 9, True), (NOW + 0.5, NOW, False), (NOW + 9, None, False)],
)
def test_place_wakes_the_dispatcher(bench: Bench, due_at: float, others_due_at: float | None, called: bool) -> None:
    """place wakes a dispatcher if the job is due earlier than the dispatcher can know, and only then."""
    if others_due_at is not None:
        bench.given({"-timeline": {OTHER: others_due_at}})
    with bench.client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(bench.keys.wake)
        pubsub.get_message(timeout=1)
        bench.place("at", due_at)
        message = pubsub.get_message(timeout=1 if called else 0)
    assert (message is not None) == called


@pytest.mark.parametrize("own", [True, False])
def test_a_call_without_an_answer_is_remembered(server: Server, prefix: str, own: bool) -> None:
    """A turn whose reply was lost counts as unanswered until a later turn is answered, with our connection or
    redis-py's, so that a worker that stops does not leave behind a job that it may have taken.
    """
    with Proxy(server.socket) as proxy:
        client = redis.Redis(unix_socket_path=proxy.socket, retry=Retry(NoBackoff(), 0))
        bench = Bench(client, prefix, own)
        bench.take()
        assert not bench.store.is_unanswered
        proxy.cut_once(0, Loss.REPLY)
        with pytest.raises(redis.ConnectionError):
            bench.take()
        assert bench.store.is_unanswered
        bench.take()
        assert not bench.store.is_unanswered
        client.close()


@pytest.mark.parametrize("order", ["A", "BA"])
def test_a_spoiled_timeline_keeps_jobs_in_their_queue(bench: Bench, order: str) -> None:
    """A turn that would have to put a job on a timeline of a wrong type takes no job from its queue."""
    before = queue_of(JOB) | {"-work-A-x:A": "tag", "-timeline": "of a wrong type"}
    bench.given(before)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        bench.take(order=order)
    assert bench.state() == before


@pytest.mark.parametrize("forbidden", ["lpush", "sadd"])
def test_promote_puts_back_what_no_queue_takes(server: Server, bench: Bench, forbidden: str) -> None:
    """If a user may not put jobs into a queue, promote leaves them on the timeline, and reports it."""
    user = f"user-{bench.prefix}"
    bench.client.acl_setuser(user, enabled=True, nopass=True, keys=["*"], commands=["+@all", f"-{forbidden}"])
    try:
        bench.given(TIMED | {"-timeline": {JOB: 1.0}})
        with redis.Redis(unix_socket_path=server.socket, username=user, password="any") as client:
            look = Bench(client, bench.prefix, own=False).store.promote({bench.queue: [JOB.encode()]}, 10, NOW)
        assert [queue for queue, _ in look.troubles] == [bench.queue]
        assert bench.state() == TIMED | {"-timeline": {JOB: NOW + 1}}
    finally:
        bench.client.acl_deluser(user)


@pytest.mark.parametrize("due", [True, False])
@pytest.mark.parametrize("ids", [[], [b""], [b"a"], [b"a", b"b"], [b"", b"b"], [b"a\nb"], [b"a\n", b"\nb", b""]])
def test_promote_tells_any_ids(bench: Bench, ids: list[bytes], due: bool) -> None:
    """promote returns the due jobs, or the first future job, also if ids are empty or hold line breaks."""
    for number, one in enumerate(ids):
        bench.client.zadd(bench.keys.timeline, {one: NOW + number - (len(ids) if due else -1)})
    look = bench.store.promote({}, 10, NOW)
    assert look.due == (ids if due else [])
    assert look.first == (None if due or not ids else (ids[0], NOW + 1))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TIMED, QUEUED),
        (TIMED | {"-timeline": {JOB: NOW}}, QUEUED),
        (TIMED | {"-timeline": {JOB: -7.0}}, QUEUED),
        (TIMED | {"-timeline": {JOB: NOW + 0.5}}, TIMED | {"-timeline": {JOB: NOW + 0.5}}),
        (STOPPED, STOPPED),
        (QUEUED | {"-timeline": {JOB: 1.0}}, QUEUED),
        (QUEUED | TIMED, QUEUED | {"-statuses": statuses(x="TML")}),
        (TIMED | {"-work-A-members": {JOB}}, QUEUED),
        (TIMED | {"-work-A-x:A": "tag"}, TIMED | {"-work-A-x:A": "tag", "-timeline": {JOB: SECOND + 1}}),
        (TIMED | queue_of(OTHER) | {":bell:work-A": ["1"]}, QUEUED | queue_of(OTHER, JOB)),
        ({"-timeline": {JOB: 1.0}}, queue_of(JOB) | {"-statuses": statuses(x="ENQ"), ":bell:work-A": ["1"]}),
    ],
)
def test_promote(bench: Bench, before: State, after: State) -> None:
    """promote queues a job that is still due once, whatever the dispatcher had seen; a second call changes nothing."""
    bench.given(before)
    promote(bench, JOB)
    assert bench.state_by_the_server() == after
    promote(bench, JOB)
    assert bench.state_by_the_server() == after


def test_promote_without_a_queue(bench: Bench) -> None:
    """promote makes a due job BAD if its queue is not known."""
    bench.given(TIMED)
    bench.store.promote({}, 10, NOW, [JOB.encode()])
    assert bench.state_by_the_server() == BAD


def test_promote_tells_what_is_next(bench: Bench) -> None:
    """promote returns up to the wanted number of due ids, or else the first future job; and how many jobs it queued."""
    bench.given({"-timeline": {"a:A": 1.0, "b:A": 2.0, "c:A": 3.0, "d:A": NOW + 7}})
    look = promote(bench, limit=2)
    assert (look.due, look.first, look.queued, look.halted, look.now) == ([b"a:A", b"b:A"], None, 0, False, NOW)
    look = promote(bench, "a:A", "b:A", limit=2)
    assert (look.due, look.first, look.queued) == ([b"c:A"], None, 2)
    bench.client.set(bench.keys.control, "HALT")
    look = promote(bench, "c:A", "gone:A")
    assert (look.due, look.first, look.halted) == ([], (b"d:A", NOW + 7), True)
    assert bench.state()["-work-A"] == ["c:A", "b:A", "a:A"]


def test_promote_sets_an_expiry_on_a_tag_without_one(bench: Bench) -> None:
    """promote sets an expiry on a run tag without one, so that the tag does not block the job forever."""
    bench.given(TIMED | {"-work-A-x:A": "tag"})
    promote(bench, JOB)
    assert 0 < bench.client.pttl(bench.keys.tag(bench.queue, JOB)) <= 10_000
