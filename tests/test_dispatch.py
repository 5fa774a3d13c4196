"""Dispatching: what a pass does, by which time it goes, the time file, the file of schedules, and races and crashes."""

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import Fleet, Recorder, Server, dispatch_at, eventually
from loops import halt_at_once
from redis.connection import ConnectionPool, UnixDomainSocketConnection
from state import state

from redbike import Redbike
from redbike.cli import main
from redbike.errors import ScheduleFileError, ServerError, TimeFileError
from redbike.schedulefile import opened

PAST, FUTURE = 1_000_000_000, 4_000_000_000
DAILY = "RRULE:FREQ=DAILY"

Running = Callable[[Callable[[threading.Event], Callable[[], object]]], threading.Event]


@pytest.fixture
def running(running: Running, bike: Redbike) -> Iterator[Running]:
    yield running
    halt_at_once(bike)


@pytest.fixture
def step(bike: Redbike) -> Redbike:
    """A Redbike whose prefix is halted: each call of `work` is one turn, each call of `dispatch` is one pass."""
    bike.control("HALT")
    return bike


def server_now(bike: Redbike) -> int:
    moment: Any = bike.redis.time()
    return int(moment[0])


def in_queue(bike: Redbike) -> list[str]:
    """The jobs in the queue work-A, oldest first; checks that the members are the same."""
    now = state(bike.redis, bike.prefix)
    queue = now.get("-work-A", [])
    assert now.get("-work-A-members", set()) == set(queue)
    return list(reversed(queue))


def on_timeline(bike: Redbike) -> dict[str, float]:
    return dict(state(bike.redis, bike.prefix).get("-timeline", {}))


# C1: passes


def test_pass_moves_due_jobs(step: Redbike) -> None:
    """C1: a pass moves every job that is due from the timeline into its queue, and no other."""
    worker = Recorder("A:B")
    step.worker = worker
    step.set("a:A", f"AT:{PAST}")
    step.set("b:B", f"AT:{PAST + 1}")
    step.set("c:A", f"AT:{FUTURE}")
    step.set("d:A", f"AT:{PAST - 1}")
    step.dispatch()
    after = state(step.redis, step.prefix)
    assert after.pop("-schedules") == dict.fromkeys(["a:A", "b:B", "c:A", "d:A"], "STOP")
    events = {job: status[:3] for job, status in after.pop("-statuses").items()}
    assert events == {"a:A": "ENQ", "b:B": "ENQ", "c:A": "TML", "d:A": "ENQ"}
    assert after == {
        "-control": "HALT",
        "-timeline": {"c:A": FUTURE},
        "-work-A": ["a:A", "d:A"],  # the one that was due first leaves first, on the right
        "-work-A-members": {"a:A", "d:A"},
        ":bell:work-A": ["1"],
        "-work-B": ["b:B"],
        "-work-B-members": {"b:B"},
        ":bell:work-B": ["1"],
    }


def test_pass_is_whole(step: Redbike) -> None:
    """C1: one pass moves all that is due, however much it is, in the order in which it came due."""
    jobs = [f"{number:04}:A" for number in range(1_001)]
    step.redis.zadd(step.timeline_key, {job: PAST + number for number, job in enumerate(jobs)})
    step.dispatch()
    assert in_queue(step) == jobs
    assert on_timeline(step) == {}


@pytest.mark.parametrize("order", ["first the stop", "first the halt"])
def test_pass_of_a_stopped_dispatcher(step: Redbike, fleet: Fleet, order: str) -> None:
    """C1, C2: a dispatcher whose stop event was set before it began makes one pass and one note, like a halted one."""
    if order == "first the stop":
        step.clear_control()
    stop = threading.Event()
    stop.set()
    dispatcher = fleet(stop_event=stop)
    jobs = [f"{number:04}:A" for number in range(401)]
    step.redis.zadd(step.timeline_key, {job: PAST + number for number, job in enumerate(jobs)})
    dispatcher.dispatch()
    assert in_queue(step) == jobs
    assert abs(int(Path(dispatcher.timefile).read_text()) - server_now(step)) < 3


def test_first_pass_goes_by_after(step: Redbike) -> None:
    """C1: the first pass goes by `after`, up to and including that second, whatever the time file says."""
    Path(step.timefile).write_text(str(PAST + 9))
    for offset in (-1, 0, 1):
        step.set(f"{offset}:A", f"AT:{PAST + offset}")
    step.dispatch(after=PAST)
    assert in_queue(step) == ["-1:A", "0:A"]
    step.dispatch(after=0)
    assert list(on_timeline(step)) == ["1:A"]


def test_no_pass_goes_by_a_time_to_come(step: Redbike) -> None:
    """C1: an `after` that the server's clock has not reached counts as the server's time: nothing runs early."""
    step.set("now:A", f"AT:{PAST}")
    step.set("future:A", f"AT:{FUTURE}")
    step.dispatch(after=FUTURE)
    assert in_queue(step) == ["now:A"]
    assert on_timeline(step) == {"future:A": FUTURE}


def test_first_pass_goes_by_the_time_file(step: Redbike) -> None:
    """C1: without `after` the first pass goes by the time file, so that nothing that is due since then is early."""
    Path(step.timefile).write_text("1500000000")
    step.set("old:A", "AT:1500000000")
    step.set("new:A", "AT:1500000001")
    step.dispatch()
    assert in_queue(step) == ["old:A"]
    step.dispatch()
    assert in_queue(step) == ["old:A", "new:A"]


def test_first_pass_goes_by_now(step: Redbike) -> None:
    """C1: without `after` and without a time file the first pass goes by the present."""
    step.set("old:A", f"AT:{server_now(step)}")
    step.set("new:A", f"AT:{server_now(step) + 100}")
    step.dispatch()
    assert in_queue(step) == ["old:A"]


def test_later_passes_go_by_now(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """C1: every pass after the first goes by the present: what `after` left behind follows at once."""
    bike.set("old:A", f"AT:{PAST}")
    bike.set("newer:A", f"AT:{PAST + 2}")
    bike.set("future:A", f"AT:{FUTURE}")
    running(lambda stop: lambda: fleet(stop_event=stop).dispatch(after=PAST + 1))
    eventually(lambda: in_queue(bike) == ["old:A", "newer:A"])
    assert on_timeline(bike) == {"future:A": FUTURE}


def test_event_of_the_first_pass_is_now(step: Redbike) -> None:
    """C1, A3: whichever time the first pass goes by, the status of a queued job tells when it was queued: an event is
    neither in the future nor in the past."""
    step.set("future:A", f"AT:{FUTURE}")
    dispatch_at(step, FUTURE)
    step.set("past:A", f"AT:{PAST}")
    step.dispatch(after=PAST)
    assert sorted((job, event) for job, event, _ in step.get_statuses()) == [("future:A", "ENQ"), ("past:A", "ENQ")]
    for _, _, second in step.get_statuses():
        assert abs(second - server_now(step)) < 3


def test_csv_before_the_first_pass(step: Redbike, tmp_path: Path) -> None:
    """C1: the file of schedules is loaded before the first pass, which thus finds what is due by it."""
    path = tmp_path / "schedules.csv"
    path.write_text(f"at:A,AT:{PAST}\nnow:A,NOW\n")
    step.dispatch(csvfilename=path)
    assert in_queue(step) == ["now:A", "at:A"]


def test_future_job_of_a_running_dispatcher(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """C1: a running dispatcher queues a job when its time has come: not before, and hardly after."""
    running(lambda stop: fleet(stop_event=stop).dispatch)
    moment: Any = bike.redis.time()
    due_at = moment[0] + moment[1] / 1e6 + 0.3
    bike.set("x:A", f"AT:{due_at:.3f}")
    eventually(lambda: in_queue(bike) == ["x:A"])
    moment = bike.redis.time()
    assert 0 <= moment[0] + moment[1] / 1e6 - due_at < 0.25


def test_halted_dispatcher_stops(step: Redbike, fleet: Fleet) -> None:
    """C1: dispatching goes on until halted, and then returns."""
    step.clear_control()
    thread = threading.Thread(target=fleet().dispatch, daemon=True)
    thread.start()
    step.set("x:A", f"AT:{PAST}")
    eventually(lambda: in_queue(step) == ["x:A"])
    assert thread.is_alive()
    halt_at_once(step)
    thread.join(5)
    assert not thread.is_alive()


# C2: the time file


@pytest.mark.parametrize("after", [None, PAST, FUTURE])
def test_time_file_of_a_halted_dispatcher(step: Redbike, after: int | None) -> None:
    """C2: a dispatcher that was halted from the start writes the present into the time file, in digits alone,
    whatever time its pass went by."""
    step.dispatch(after=after)
    content = Path(step.timefile).read_bytes()
    assert content.isdigit()
    assert abs(int(content) - server_now(step)) < 3


def test_time_file_is_kept_up_to_date(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """C2: a running dispatcher keeps replacing the time file with the present, also with nothing to do, and who reads
    it never sees anything but a whole time."""
    path = fleet.folder / "kept"
    running(lambda stop: fleet(stop_event=stop, timefile=path).dispatch)
    eventually(path.exists)
    contents, files = set(), set()

    def grown() -> bool:
        contents.add(path.read_bytes())
        files.add(path.stat().st_ino)
        return len(contents) >= 3

    eventually(grown)
    assert all(content.isdigit() and abs(int(content) - server_now(bike)) < 5 for content in contents)
    assert len(files) > 1  # replaced, not rewritten


def test_time_file_comes_after_the_pass(step: Redbike, monkeypatch: pytest.MonkeyPatch) -> None:
    """C2, C7: a dispatcher that cannot do its pass writes no time, so that the next one catches up."""
    Path(step.timefile).write_text("1500000000")

    class Stop(threading.Event):
        """Asked for the first time when the start has gone well."""

        def is_set(self) -> bool:
            step.redis.set(step.timeline_key, "wrong")
            return True

    monkeypatch.setattr(step, "stop_event", Stop())
    step.dispatch()
    assert Path(step.timefile).read_text() == "1500000000"


def test_time_file_that_cannot_be_written(step: Redbike, fleet: Fleet) -> None:
    """C2: a time file that cannot be written is an error at the start, before anything is dispatched or set."""
    path = fleet.folder / "schedules.csv"
    path.write_text("y:A,NOW\n")
    step.set("x:A", f"AT:{PAST}")
    before = state(step.redis, step.prefix)
    dispatcher = fleet(timefile=fleet.folder / "missing" / "timefile")
    with pytest.raises(TimeFileError, match="missing/timefile"):
        dispatcher.dispatch(csvfilename=path)
    assert state(step.redis, step.prefix) == before


def test_a_time_file_ahead_of_the_server_is_not_believed(step: Redbike, caplog: pytest.LogCaptureFixture) -> None:
    """C1, B9: a time file ahead of the server's clock counts as now, for a pass and for a set; one warning says so."""
    Path(step.timefile).write_text(str(int(time.time()) + 60 * 86400))
    step.set("x:A", f"AT:{time.time() + 30 * 86400:.0f}")
    step.set("y:A", "EVERY:60")
    step.dispatch()
    assert (step.tell("x:A")["status"] or "").startswith("TML")
    assert step.tell("y:A")["next_run"] == pytest.approx(time.time() + 60, abs=5)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "s ahead of the server's clock" in caplog.text


# C3: the file of schedules


def test_csv(step: Redbike, tmp_path: Path) -> None:
    """C3: each row of the file sets one job; fields may be quoted and hold commas, quotes and line breaks, and blank
    lines, a byte order mark and the line ends of Windows do no harm."""
    path = tmp_path / "schedules.csv"
    path.write_bytes(
        b"\xef\xbb\xbfplain:A,NOW\r\n"
        b"\r\n"
        b'"comma, and ""quotes"":A",STOP\r\n'
        b'lines:A,"DTSTART:20200101T000000\r\nRRULE:FREQ=DAILY;BYHOUR=1,2"\r\n'
        b"typed:A,DTSTART:20200101T000000\\nRRULE:FREQ=DAILY\r\n" + "räder 🚲:A,CONTINUE".encode()
    )
    step.load_csv(path, after=datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    assert dict(step.get_schedules()) == {
        "plain:A": "STOP",
        'comma, and "quotes":A': "STOP",
        "lines:A": "DTSTART:20200101T000000\r\nRRULE:FREQ=DAILY;BYHOUR=1,2",
        "typed:A": "DTSTART:20200101T000000\nRRULE:FREQ=DAILY",
        "räder 🚲:A": "CONTINUE",
    }
    assert in_queue(step) == ["plain:A", "räder 🚲:A"]
    assert set(on_timeline(step)) == {"lines:A", "typed:A"}


def test_csv_with_a_bad_schedule(step: Redbike, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """C3: a row whose schedule cannot be read becomes BAD, with a warning, and the rest goes on."""
    path = tmp_path / "schedules.csv"
    path.write_text("a:A,NOW\nb:A,garbage\nc:A,\nd:A,CONTINUE\n")
    step.load_csv(path)
    assert in_queue(step) == ["a:A", "d:A"]
    assert {job: event for job, event, _ in step.get_statuses()} == {
        "a:A": "ENQ",
        "b:A": "BAD",
        "c:A": "BAD",
        "d:A": "ENQ",
    }
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a:A,NOW\nb:A\nc:A,NOW\n", 2),
        (b"a:A,NOW\n\n\nb:A,RRULE:FREQ=DAILY;BYHOUR=1,2\n", 4),
        (b"a:A,NOW\n# a comment\n", 2),
        (b"a:A,NOW\n  \n", 2),
        (b'a:A,NOW\nb:A,"NOW\n', 2),
        (b'a:A,"NOW" or never\n', 1),
        (b"a:A,NOW\nb:A,N\xffW\n", 2),
        (b"a:A,NOW\n" + b"b:A," + b"x" * 200_000 + b"\n", 2),
        (b"a:A,NOW\n,NOW\n", 2),
        (b"a:A,NOW\nmembers,NOW\n", 2),
        (b'a:A,NOW\n"x\ny:A",NOW\n', 3),
        (b"a:A,NOW\n" + b"\xc3\xa4" * 3_000 + b":A,NOW\n", 2),
    ],
)
def test_malformed_csv(step: Redbike, tmp_path: Path, content: bytes, line: int) -> None:
    """C3: a malformed row, or one whose job id cannot be, is an error of one line that names file and line, and nothing
    of the file is set."""
    path = tmp_path / "schedules.csv"
    path.write_bytes(content)
    step.set("old:A", DAILY)
    before = state(step.redis, step.prefix)
    with pytest.raises(ScheduleFileError) as error:
        step.dispatch(csvfilename=path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert "nothing of the file was set" in str(error.value)
    assert "\n" not in str(error.value)
    assert state(step.redis, step.prefix) == before


def test_missing_csv(step: Redbike, tmp_path: Path) -> None:
    """C3: a file that is not there is an error that names it."""
    with pytest.raises(ScheduleFileError, match=r"nowhere\.csv: .*No such file"):
        step.dispatch(csvfilename=tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    "schedule",
    [
        "CONTINUE",
        "STOP",
        DAILY,
        "DTSTART:20200101T000000\nRRULE:FREQ=DAILY;BYHOUR=1,2",
        "DTSTART:20200101T000000\r\nRRULE:FREQ=DAILY",
        r"DTSTART:20200101T000000\nRRULE:FREQ=DAILY",
        'garbage with "quotes", commas and a\nline break',
        "a carriage\rreturn",
        "",
        " ",
        "\x00\x1f",
    ],
)
def test_printed_schedules_can_be_loaded(
    step: Redbike,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    schedule: str,
) -> None:
    """C3: what `redbike schedules` prints can be loaded again, and sets the same schedules."""
    monkeypatch.chdir(tmp_path)
    connection = "".join(f"{name}: {value}\n" for name, value in server.config.items())
    Path(".redbike.conf").write_text(f"[redbike]\nprefix: {step.prefix}\n[redbike-redis]\n{connection}")
    step.set('x, "y":A', schedule)
    registered = dict(step.get_schedules())
    assert main(["schedules"]) == 0
    Path("schedules.csv").write_bytes(capsys.readouterr().out.encode())
    step.unset('x, "y":A')
    step.load_csv("schedules.csv")
    assert dict(step.get_schedules()) == registered


def test_large_csv(step: Redbike, tmp_path: Path) -> None:
    """C3: a file of some thousand rows is set in full; of two rows for one job, the later one counts."""
    path = tmp_path / "schedules.csv"
    rows = [f"{number}:A,AT:{FUTURE + number}" for number in range(2_500)]
    path.write_text("\n".join([*rows, "7:A,CONTINUE"]))
    with opened(path) as file:
        assert len(list(file.rows())) == 2_501
    step.load_csv(path)
    assert len(on_timeline(step)) == 2_499
    assert in_queue(step) == ["7:A"]


# C4


def test_a_spoiled_queue_keeps_no_other_job_out(step: Redbike, tmp_path: Path) -> None:
    """C3: where a queue takes no jobs, the other rows of a file are set all the same; then the error is told."""
    step.redis.set(f"{step.prefix}-work-B", "of a wrong type")
    path = tmp_path / "schedules.csv"
    path.write_text("first:A,CONTINUE\nspoiled:B,CONTINUE\nlast:A,CONTINUE\n")
    with pytest.raises(ServerError, match="WRONGTYPE"):
        step.load_csv(path)
    assert step.redis.lrange(f"{step.prefix}-work-A", 0, -1) == [b"last:A", b"first:A"]
    assert step.tell("spoiled:B")["schedule"] is None


def test_a_job_in_many_rows_is_set_by_each(step: Redbike, tmp_path: Path) -> None:
    """C3: rows are set in order, as by `set`: a NOW is not undone by a later row of the same job."""
    path = tmp_path / "schedules.csv"
    path.write_text("j:A,NOW\nother:A,STOP\nj:A,STOP\nj:A,CONTINUE\n")
    step.load_csv(path)
    assert step.redis.lrange(f"{step.prefix}-work-A", 0, -1) == [b"j:A"]
    assert step.tell("j:A")["schedule"] == "CONTINUE"


@pytest.mark.parametrize(
    ("content", "time"), [("1500000000", 1_500_000_000), ("1500000000\n", 1_500_000_000), ("0", 0)]
)
def test_point_in_time(bike: Redbike, content: str, time: int) -> None:
    """C4: point_in_time gives the integer in the time file."""
    Path(bike.timefile).write_text(content)
    assert bike.point_in_time() == time
    assert isinstance(bike.point_in_time(), int)


@pytest.mark.parametrize("content", [None, "garbage", "", "12.5"])
def test_point_in_time_without_a_time(bike: Redbike, caplog: pytest.LogCaptureFixture, content: str | None) -> None:
    """C4: point_in_time gives the present without a time file, and with one that cannot be read; that is a warning."""
    if content is not None:
        Path(bike.timefile).write_text(content)
    assert bike.point_in_time() == pytest.approx(server_now(bike), abs=3)
    assert [record.levelname for record in caplog.records] == ([] if content is None else ["WARNING"])


def test_dispatch_with_a_garbled_time_file(step: Redbike, caplog: pytest.LogCaptureFixture) -> None:
    """C4: a dispatcher that finds a garbled time file warns, goes by the present, and replaces it."""
    Path(step.timefile).write_text("garbage")
    step.set("x:A", f"AT:{PAST}")
    step.dispatch()
    assert in_queue(step) == ["x:A"]
    assert Path(step.timefile).read_text().isdigit()
    assert any("garbage" in record.getMessage() for record in caplog.records)


# C5


@pytest.mark.parametrize("schedule", [f"AT:{PAST}", DAILY])
def test_due_while_queued(step: Redbike, worker: Recorder, schedule: str) -> None:
    """C5: a job that is due while it sits in its queue is not queued twice."""
    step.set("x:A", "CONTINUE")
    step.set("x:A", schedule, after=PAST)
    step.dispatch()
    assert in_queue(step) == ["x:A"]
    assert on_timeline(step) == {}
    step.work()
    assert worker.done == ["x:A"]


def test_due_while_running(step: Redbike, worker: Recorder) -> None:
    """C5: a job that is due while it runs is not started a second time: it stays on the timeline, to be looked at again
    a second later."""
    step.set("x:A", DAILY)
    step.enqueue("x:A")
    assert next(step.consumer)[0] == "x:A"
    step.redis.zadd(step.timeline_key, {"x:A": PAST})
    step.dispatch()
    assert in_queue(step) == []
    assert on_timeline(step) == {"x:A": pytest.approx(server_now(step) + 1, abs=1)}
    assert step.is_working("x:A")
    step.redis.delete(f"{step.queue_for('x:A')}-x:A")
    dispatch_at(step, server_now(step) + 2)
    step.work()
    assert worker.done == ["x:A"]


def test_many_due_while_running(step: Redbike) -> None:
    """C5: running jobs, however many, do not keep a pass from queueing the others that are due."""
    running_jobs = [f"r{number}:A" for number in range(300)]
    for job in running_jobs:
        step.redis.set(f"{step.queue_for(job)}-{job}", "their tag", ex=10)
    step.redis.zadd(step.timeline_key, dict.fromkeys(running_jobs, PAST) | {"last:A": PAST + 1})
    step.dispatch()
    assert in_queue(step) == ["last:A"]
    assert len(on_timeline(step)) == 300


# C6


def test_racing_dispatchers(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """C6: eight dispatchers race over two thousand due jobs, and each of them is queued and run once."""
    jobs = [f"{number}:A" for number in range(2_000)]
    bike.redis.hset(bike.schedules_key, mapping=dict.fromkeys(jobs, "STOP"))
    worker = Recorder()
    running(lambda stop: fleet(worker, stop_event=stop).work)
    ready = threading.Barrier(9)

    def racing(stop: threading.Event) -> Callable[[], None]:
        dispatcher = fleet(stop_event=stop)

        def race() -> None:
            ready.wait(10)
            dispatcher.dispatch()

        return race

    for _ in range(8):
        running(racing)
    bike.redis.zadd(bike.timeline_key, dict.fromkeys(jobs, PAST))
    ready.wait(10)
    eventually(lambda: len(worker.done) >= len(jobs))
    eventually(lambda: all(event == "STP" for _, event, _ in bike.get_statuses()))
    assert Counter(worker.done) == Counter(jobs)
    assert on_timeline(bike) == {}
    assert in_queue(bike) == []


def test_two_dispatchers_share_a_time_file(fleet: Fleet, step: Redbike) -> None:
    """C6: dispatchers that share a time file do not get into each other's way."""
    path = fleet.folder / "shared"
    threads = [threading.Thread(target=fleet(timefile=path).dispatch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert abs(int(path.read_text()) - server_now(step)) < 3


# C7: crashes


class Crash(BaseException):
    """The process ends here."""


class Mortal(UnixDomainSocketConnection):
    """A connection whose process crashes before its n-th command is sent, or after it, before the reply is read."""

    countdown: Iterator[int] = itertools.count(1)
    fatal = 0.0  # n: before the n-th command; n + 0.5: after it

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        number = next(Mortal.countdown)
        if number == Mortal.fatal:
            raise Crash
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]
        if number + 0.5 == Mortal.fatal:
            with contextlib.suppress(redis.ResponseError):
                super().read_response()  # so that the command was carried out
            raise Crash


DYING_CONNECTION = pytest.mark.not_on_a_cluster("the client makes its connections by itself")


def mortal(fleet: Fleet, server: Server, worker: Recorder) -> Redbike:
    pool = ConnectionPool(connection_class=Mortal, path=server.socket, protocol=2)
    return fleet(worker, redis_config={"connection_pool": pool})


def crashes(act: Callable[[], object], at: float) -> bool:
    """Whether the act was ended by a crash at this point; False where it ended by itself before."""
    Mortal.countdown, Mortal.fatal = itertools.count(1), at
    try:
        act()
    except Crash:
        return True
    finally:
        Mortal.fatal = 0.0
    return False


CRASH_POINTS = [point / 2 for point in range(2, 60)]


def whereabouts(client: redis.Redis, prefix: str, job: str) -> list[str]:
    now = state(client, prefix)
    places = {"timeline": now.get("-timeline", ()), "queue": now.get("-work-A", ())}
    found = [place for place, jobs in places.items() if job in jobs]
    return found + (["running"] if f"-work-A-{job}" in now else [])


@DYING_CONNECTION
def test_dispatcher_that_crashes(step: Redbike, fleet: Fleet, server: Server) -> None:
    """C7: wherever between two commands a dispatcher crashes, each due job is on the timeline or in the queue, and the
    next dispatcher finishes the work."""
    jobs = ["a:A", "b:A", "c:A"]
    for point in CRASH_POINTS:
        for job in jobs:
            step.set(job, f"AT:{PAST}")
        crashed = crashes(mortal(fleet, server, Recorder()).dispatch, point)
        for job in jobs:
            assert len(whereabouts(step.redis, step.prefix, job)) == 1
        step.dispatch()
        assert in_queue(step) == jobs
        for job in jobs:
            step.unset(job)
        if not crashed:
            break
    assert not crashed
    assert point > 4


@DYING_CONNECTION
@pytest.mark.parametrize("schedule", ["CONTINUE", DAILY])
def test_worker_that_crashes(step: Redbike, fleet: Fleet, server: Server, schedule: str) -> None:
    """C7: wherever between two commands a worker crashes, the job is in exactly one place: on the timeline, in the
    queue, or marked as running."""
    for point in CRASH_POINTS:
        step.set("x:A", schedule)
        step.enqueue("x:A")
        if schedule == DAILY:
            step.redis.zrem(step.timeline_key, "x:A")
        worker = Recorder()
        crashed = crashes(mortal(fleet, server, worker).work, point)
        [place] = whereabouts(step.redis, step.prefix, "x:A")
        if not crashed:
            assert worker.done == ["x:A"]
            assert place == ("queue" if schedule == "CONTINUE" else "timeline")
            break
        step.flush()
        step.control("HALT")
    assert not crashed
    assert point > 3


@DYING_CONNECTION
@pytest.mark.parametrize("schedule", ["NOW", f"AT:{PAST}", "CONTINUE", DAILY])
@pytest.mark.parametrize("old", ["NOW", f"AT:{FUTURE}", DAILY])
def test_set_that_crashes(step: Redbike, fleet: Fleet, server: Server, old: str, schedule: str) -> None:
    """C7: wherever between two commands `set` crashes, the job has its old schedule in full or its new one in full."""

    def jobs() -> dict[str, Any]:
        now = state(step.redis, step.prefix)
        return {
            "schedule": now["-schedules"]["x:A"],
            "event": now["-statuses"]["x:A"][:3],
            "where": whereabouts(step.redis, step.prefix, "x:A"),
            "due": now.get("-timeline"),
        }

    step.set("x:A", old, after=PAST)
    before = jobs()
    step.set("x:A", schedule, after=PAST)
    afterwards = jobs()
    for point in CRASH_POINTS:
        step.unset("x:A")
        step.set("x:A", old, after=PAST)
        other = mortal(fleet, server, Recorder())
        crashed = crashes(lambda other=other: other.set("x:A", schedule, after=PAST), point)  # type: ignore[misc]
        assert jobs() in ((before, afterwards) if crashed else (afterwards,))
        if not crashed:
            break
    assert not crashed
