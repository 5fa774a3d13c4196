"""`Redbike.set_many`: many jobs in few calls."""

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Fleet
from helpers import DAILY, FUTURE, PAST, checked_queue, events, lines, state_of, timeline
from state import state

from redbike import JobIdError, PayloadError, Redbike, RoundRobin, ServerError

EVERY_FORM = [
    "NOW",
    f"AT:{FUTURE}",
    f"AT:{PAST}",
    "CONTINUE",
    "STOP",
    "EVERY:5m",
    "CRON:0 6 * * *",
    DAILY,
    "PAUSED:NOW",
]


def test_set_many_sets_as_set_does(fleet: Fleet, bike: Redbike) -> None:
    """H: `set_many` leaves the same state as a `set` of each row, and returns the number of rows."""
    rows: list[Any] = [(f"{number}:A", text) for number, text in enumerate(EVERY_FORM * 2)]
    rows += [("p:A", DAILY, "payload"), ("q:A", DAILY, None), ("f:A", DAILY, "", FUTURE), ("n:A", "NOW", None, FUTURE)]
    rows += [("bad:A", "garbage", "kept"), ("0:A", "CONTINUE")]
    other = fleet(prefix=f"{bike.prefix}x")
    for jobid, schedule, *rest in rows:
        payload, first = (*rest, None, None)[:2]
        other.set(jobid, schedule, 1_800_000_000, payload=payload, first=first)
    assert bike.set_many(iter(rows), after=1_800_000_000) == len(rows)
    expected = state(other.redis, other.prefix)
    found = state_of(bike)
    for name in (":due", "-statuses"):
        assert found.pop(name, {}).keys() == expected.pop(name, {}).keys()
    assert found == expected
    assert events(bike) == events(other)


def test_set_many_reads_its_rows_piece_by_piece(bike: Redbike) -> None:
    """H: `set_many` takes any iterable, and calls `progress` with growing numbers while it still reads."""
    seen: list[int] = []
    read = 0

    def rows() -> Iterator[tuple[str, str]]:
        nonlocal read
        for number in range(1_000):
            read = number
            yield f"{number}:A", f"AT:{FUTURE + number}"

    assert bike.set_many(rows(), progress=lambda count: seen.append(count) or seen.append(read)) == 1_000
    counts, reads = seen[::2], seen[1::2]
    assert counts == sorted(set(counts))
    assert counts[-1] == 1_000
    assert reads[0] < 500
    assert len(timeline(bike)) == 1_000
    assert bike.set_many([]) == 0


def test_set_many_of_a_job_twice(bike: Redbike) -> None:
    """H: rows are set in order: of two rows for one job, the later row counts."""
    assert bike.set_many([("j:A", "CONTINUE"), ("x:A", "STOP"), ("j:A", DAILY)]) == 3
    assert bike.get_schedule("j:A") == DAILY


def test_set_many_with_bad_schedules(bike: Redbike, caplog: pytest.LogCaptureFixture) -> None:
    """H: a schedule that cannot be read makes its job BAD, with a warning for each; other warnings appear once."""
    drifts = "RRULE:FREQ=DAILY"
    bike.set_many([("a:A", "garbage"), ("b:A", "garbage"), ("c:A", drifts), ("d:A", drifts), ("e:A", "CONTINUE")])
    assert {job for job, event in events(bike).items() if event == "BAD"} == {"a:A", "b:A"}
    assert len(lines(caplog, "is BAD")) == 2
    assert len(lines(caplog, "without DTSTART")) == 1
    assert checked_queue(bike) == ["e:A"]


@pytest.mark.parametrize(
    ("row", "error", "said"),
    [
        (("", "NOW"), JobIdError, "job id '' is empty"),
        (("members", "NOW"), JobIdError, "job id 'members' would share the key"),
        (("b\n:A", "NOW"), JobIdError, "has a line break"),
        ((5, "NOW"), JobIdError, "job id 5 is not text"),
        (("b:A", None), TypeError, "a schedule is text or None, not NoneType"),
        (("b:A", "NOW", 5), TypeError, "a payload is text, not int"),
        (("b:A", "NOW", "x" * 1_048_577), PayloadError, "at most 1048576 are allowed"),
        (("b:A", "NOW", None, float("nan")), ValueError, "first: nan is not a time"),
        (("b:A",), TypeError, "is not a tuple (jobid, schedule[, payload[, first]])"),
        ("ab", TypeError, "'ab' is not a tuple"),
    ],
)
def test_set_many_with_an_impossible_row(bike: Redbike, row: Any, error: type[Exception], said: str) -> None:
    """H: a row that cannot be set is the error of `set` with the number of the row; the rows before it are set."""
    with pytest.raises(error) as raised:
        bike.set_many([("a:A", "CONTINUE"), row, ("c:A", "CONTINUE")])
    assert str(raised.value).startswith("row 2: ")
    assert said in str(raised.value)
    assert str(raised.value).endswith("; the rows before it are set")
    assert checked_queue(bike) == ["a:A"]


def test_set_many_checks_each_queue(fleet: Fleet) -> None:
    """A4: `set_many` refuses a job whose queue or run tag would be the key of another use, as `set` does."""
    bike = fleet(RoundRobin("A:A-A"))
    with pytest.raises(JobIdError, match="row 2: job id 'A-A' would share the key"):
        bike.set_many([("x:A", "STOP"), ("A-A", "STOP")])
    with pytest.raises(JobIdError, match="would share the key"):
        bike.set("A-A", "STOP")


def test_set_many_with_large_payloads(bike: Redbike) -> None:
    """H: a call of Redis carries a few megabytes of payloads at most."""
    before: Any = bike.redis.info("commandstats")["cmdstat_evalsha"]["calls"] if bike.set("x:A", "STOP") else 0
    assert bike.set_many((f"{number}:A", "STOP", "x" * 1_000_000) for number in range(6)) == 6
    after: Any = bike.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before >= 3
    assert bike.details("5:A")["payload"] == "x" * 1_000_000


def test_a_spoiled_queue_keeps_no_other_row_out(bike: Redbike) -> None:
    """H: if a queue takes no jobs, the other rows are still set, and the error names the first job that is missing."""
    bike.redis.set(f"{bike.prefix}-work-B", "of a wrong type")
    with pytest.raises(ServerError, match=r"job 'b:B' is not set: .*WRONGTYPE"):
        bike.set_many([("a:A", "CONTINUE"), ("b:B", "CONTINUE"), ("c:A", "CONTINUE")])
    assert checked_queue(bike) == ["a:A", "c:A"]
