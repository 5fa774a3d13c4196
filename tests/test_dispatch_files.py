"""The files of a dispatcher: the time file, and the CSV of schedules."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import Fleet, Running, Server
from helpers import DAILY, FUTURE, PAST, checked_queue, server_now, timeline
from nodes import eventually
from state import state

from redbike import Redbike
from redbike.cli import main
from redbike.errors import ScheduleFileError, ServerError, TimeFileError
from redbike.jobfile import opened

# C2: the time file


@pytest.mark.parametrize("after", [None, PAST, FUTURE])
def test_time_file_of_a_halted_dispatcher(halted: Redbike, after: int | None) -> None:
    """C2: a dispatcher that was halted at its start writes the present into the time file, in digits only, whatever
    time its pass used.
    """
    halted.dispatch(after=after)
    content = Path(halted.timefile).read_bytes()
    assert content.isdigit()
    assert abs(int(content) - server_now(halted)) < 3


def test_time_file_is_kept_up_to_date(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """C2: a running dispatcher keeps replacing the time file with the present, also when idle; a reader always sees a
    whole time.
    """
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


def test_time_file_comes_after_the_pass(halted: Redbike, monkeypatch: pytest.MonkeyPatch) -> None:
    """C2, C7: a dispatcher that cannot do its pass writes no time, so that the next dispatcher catches up."""
    Path(halted.timefile).write_text("1500000000")

    class Stop(threading.Event):
        """A stop event that is first read after a successful start."""

        def is_set(self) -> bool:
            halted.redis.set(halted.timeline_key, "wrong")
            return True

    monkeypatch.setattr(halted, "stop_event", Stop())
    halted.dispatch()
    assert Path(halted.timefile).read_text() == "1500000000"


def test_time_file_that_cannot_be_written(halted: Redbike, fleet: Fleet) -> None:
    """C2: a time file that cannot be written is an error at the start, before any job is dispatched or set."""
    path = fleet.folder / "schedules.csv"
    path.write_text("y:A,NOW\n")
    halted.set("x:A", f"AT:{PAST}")
    before = state(halted.redis, halted.prefix)
    dispatcher = fleet(timefile=fleet.folder / "missing" / "timefile")
    with pytest.raises(TimeFileError, match="missing/timefile"):
        dispatcher.dispatch(csvfilename=path)
    assert state(halted.redis, halted.prefix) == before


def test_a_time_file_ahead_of_the_server_is_not_believed(halted: Redbike, caplog: pytest.LogCaptureFixture) -> None:
    """C1, B9: a time file ahead of the server's clock counts as now, for a pass and for a set; one warning says so."""
    Path(halted.timefile).write_text(str(int(time.time()) + 60 * 86400))
    halted.set("x:A", f"AT:{time.time() + 30 * 86400:.0f}")
    halted.set("y:A", "EVERY:60")
    halted.dispatch()
    assert (halted.tell("x:A")["status"] or "").startswith("TML")
    assert halted.tell("y:A")["next_run"] == pytest.approx(time.time() + 60, abs=5)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "s ahead of the server's clock" in caplog.text


# C3: the file of schedules


def test_csv(halted: Redbike, tmp_path: Path) -> None:
    """C3: each row of the file sets one job. Fields may be quoted and hold commas, quotes and line breaks. Blank lines,
    a byte order mark and the line ends of Windows do no harm.
    """
    path = tmp_path / "schedules.csv"
    path.write_bytes(
        b"\xef\xbb\xbfplain:A,NOW\r\n"
        b"\r\n"
        b'"comma, and ""quotes"":A",STOP\r\n'
        b'lines:A,"DTSTART:20200101T000000\r\nRRULE:FREQ=DAILY;BYHOUR=1,2"\r\n'
        b"typed:A,DTSTART:20200101T000000\\nRRULE:FREQ=DAILY\r\n" + "räder 🚲:A,CONTINUE".encode()
    )
    halted.load_csv(path, after=datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    assert dict(halted.get_schedules()) == {
        "plain:A": "STOP",
        'comma, and "quotes":A': "STOP",
        "lines:A": "DTSTART:20200101T000000\r\nRRULE:FREQ=DAILY;BYHOUR=1,2",
        "typed:A": "DTSTART:20200101T000000\nRRULE:FREQ=DAILY",
        "räder 🚲:A": "CONTINUE",
    }
    assert checked_queue(halted) == ["plain:A", "räder 🚲:A"]
    assert set(timeline(halted)) == {"lines:A", "typed:A"}


def test_csv_with_a_bad_schedule(halted: Redbike, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """C3: a job whose schedule cannot be read becomes BAD, with a warning, and the other rows are set."""
    path = tmp_path / "schedules.csv"
    path.write_text("a:A,NOW\nb:A,garbage\nc:A,\nd:A,CONTINUE\n")
    halted.load_csv(path)
    assert checked_queue(halted) == ["a:A", "d:A"]
    assert {job: event for job, event, _ in halted.get_statuses()} == {
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
        (b"a:A,NOW\n# a comment\nb:A\n", 3),
        (b"a:A,NOW\njob,schedule,payload\nb:A\n", 3),
        (b"a:A,NOW,payload,more\n", 1),
        (b"a:A,NOW,\nb:A,CRON:0 6 * * 1,3\n", 2),
        (b"a:A,NOW\nb:A,NOW," + b"x" * 1_048_577 + b"\n", 2),
        (b"a:A,NOW\n  \n", 2),
        (b'a:A,NOW\nb:A,"NOW\n', 2),
        (b'a:A,"NOW" or never\n', 1),
        (b"a:A,NOW\nb:A,N\xffW\n", 2),
        (b"a:A,NOW\n" + b"b:A," + b"x" * 3_000_000 + b"\n", 2),
        (b"a:A,NOW\n,NOW\n", 2),
        (b"a:A,NOW\nmembers,NOW\n", 2),
        (b'a:A,NOW\n"x\ny:A",NOW\n', 3),
        (b"a:A,NOW\n" + b"\xc3\xa4" * 3_000 + b":A,NOW\n", 2),
    ],
)
def test_malformed_csv(halted: Redbike, tmp_path: Path, content: bytes, line: int) -> None:
    """C3: a malformed row or an impossible job id gives an error of one line with file and line, and no job of the file
    is set.
    """
    path = tmp_path / "schedules.csv"
    path.write_bytes(content)
    halted.set("old:A", DAILY)
    before = state(halted.redis, halted.prefix)
    with pytest.raises(ScheduleFileError) as error:
        halted.dispatch(csvfilename=path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert "nothing of the file was set" in str(error.value)
    assert "\n" not in str(error.value)
    assert state(halted.redis, halted.prefix) == before


def test_missing_csv(halted: Redbike, tmp_path: Path) -> None:
    """C3: a missing file is an error that names it."""
    with pytest.raises(ScheduleFileError, match=r"nowhere\.csv: .*No such file"):
        halted.dispatch(csvfilename=tmp_path / "nowhere.csv")


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
    halted: Redbike,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    schedule: str,
) -> None:
    """C3: the output of `redbike schedules` can be loaded, and sets the same schedules."""
    monkeypatch.chdir(tmp_path)
    connection = "".join(f"{name}: {value}\n" for name, value in server.config.items())
    Path(".redbike.conf").write_text(f"[redbike]\nprefix: {halted.prefix}\n[redbike-redis]\n{connection}")
    halted.set('x, "y":A', schedule)
    registered = dict(halted.get_schedules())
    assert main(["schedules"]) == 0
    Path("schedules.csv").write_bytes(capsys.readouterr().out.encode())
    halted.unset('x, "y":A')
    halted.load_csv("schedules.csv")
    assert dict(halted.get_schedules()) == registered


def test_large_csv(halted: Redbike, tmp_path: Path) -> None:
    """C3: a file of some thousand rows is set completely; of two rows for one job, the later row counts."""
    path = tmp_path / "schedules.csv"
    rows = [f"{number}:A,AT:{FUTURE + number}" for number in range(2_500)]
    path.write_text("\n".join([*rows, "7:A,CONTINUE"]))
    with opened(path) as file:
        assert len(list(file.rows())) == 2_501
    halted.load_csv(path)
    assert len(timeline(halted)) == 2_499
    assert checked_queue(halted) == ["7:A"]


# C4


def test_a_spoiled_queue_keeps_no_other_job_out(halted: Redbike, tmp_path: Path) -> None:
    """C3: if a queue takes no jobs, the other rows of a file are still set, and then the error is raised."""
    halted.redis.set(f"{halted.prefix}-work-B", "of a wrong type")
    path = tmp_path / "schedules.csv"
    path.write_text("first:A,CONTINUE\nspoiled:B,CONTINUE\nlast:A,CONTINUE\n")
    with pytest.raises(ServerError, match="WRONGTYPE"):
        halted.load_csv(path)
    assert halted.redis.lrange(f"{halted.prefix}-work-A", 0, -1) == [b"last:A", b"first:A"]
    assert halted.tell("spoiled:B")["schedule"] is None


def test_a_job_in_many_rows_is_set_by_each(halted: Redbike, tmp_path: Path) -> None:
    """C3: rows are set in order, as by `set`: a NOW is not undone by a later row of the same job."""
    path = tmp_path / "schedules.csv"
    path.write_text("j:A,NOW\nother:A,STOP\nj:A,STOP\nj:A,CONTINUE\n")
    halted.load_csv(path)
    assert halted.redis.lrange(f"{halted.prefix}-work-A", 0, -1) == [b"j:A"]
    assert halted.tell("j:A")["schedule"] == "CONTINUE"


@pytest.mark.parametrize(
    ("content", "time"), [("1500000000", 1_500_000_000), ("1500000000\n", 1_500_000_000), ("0", 0)]
)
def test_point_in_time(bike: Redbike, content: str, time: int) -> None:
    """C4: `point_in_time` returns the integer in the time file."""
    Path(bike.timefile).write_text(content)
    assert bike.point_in_time() == time
    assert isinstance(bike.point_in_time(), int)


@pytest.mark.parametrize("content", [None, "garbage", "", "12.5"])
def test_point_in_time_without_a_time(bike: Redbike, caplog: pytest.LogCaptureFixture, content: str | None) -> None:
    """C4: `point_in_time` returns the present without a time file, and with a warning if the file cannot be read."""
    if content is not None:
        Path(bike.timefile).write_text(content)
    assert bike.point_in_time() == pytest.approx(server_now(bike), abs=3)
    assert [record.levelname for record in caplog.records] == ([] if content is None else ["WARNING"])


def test_dispatch_with_a_garbled_time_file(halted: Redbike, caplog: pytest.LogCaptureFixture) -> None:
    """C4: a dispatcher that finds a garbled time file warns, uses the present, and replaces the file."""
    Path(halted.timefile).write_text("garbage")
    halted.set("x:A", f"AT:{PAST}")
    halted.dispatch()
    assert checked_queue(halted) == ["x:A"]
    assert Path(halted.timefile).read_text().isdigit()
    assert any("garbage" in record.getMessage() for record in caplog.records)
