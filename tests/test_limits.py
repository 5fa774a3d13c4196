"""Where a promise of the documentation ends: the cases that the pages name as exceptions, each with the page."""

import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Recorder, Server
from helpers import FUTURE, raising
from nodes import eventually
from threads import Loops

from redbike import Redbike, StopWork, UnsetJob, next_runs
from redbike.cli import main
from redbike.csvfile import write_rows


def run_during_which(bike: Redbike, worker: Recorder, schedule: str, end: BaseException) -> None:
    """Run `j:A` on CONTINUE once: it gives itself another schedule and then ends like this."""

    def act() -> None:
        bike.set("j:A", schedule)
        raising(end)()

    worker.acts["j:A"] = act
    bike.set("j:A", "CONTINUE")
    bike.work()


def test_stop_work_after_a_new_schedule(halted: Redbike, worker: Recorder) -> None:
    """D5: StopWork also stops a recurrence that was set during the run, but not a NOW (docs/workers.md)."""
    run_during_which(halted, worker, "EVERY:60", StopWork())
    assert halted.tell("j:A")["schedule"] == "STOP"
    assert halted.tell("j:A")["next_run"] is None
    run_during_which(halted, worker, "NOW", StopWork())
    assert (halted.tell("j:A")["status"] or "").startswith("ENQ")


@pytest.mark.parametrize("schedule", ["EVERY:60", "NOW"])
def test_unset_job_after_a_new_schedule(halted: Redbike, worker: Recorder, schedule: str) -> None:
    """D5: UnsetJob also forgets what was set during the run (docs/workers.md)."""
    run_during_which(halted, worker, schedule, UnsetJob())
    assert set(halted.tell("j:A").values()) == {None, False}
    halted.work()
    assert worker.done == ["j:A"]


def test_a_schedule_set_during_a_run_that_fails(halted: Redbike, worker: Recorder) -> None:
    """D5: a recurrence that was set during a run that fails is planned, also with drop (docs/failures.md)."""
    run_during_which(halted, worker, "DTSTART:20960101T000000\nRRULE:FREQ=DAILY", ValueError())
    assert (halted.tell("j:A")["status"] or "").startswith("DIE")
    assert halted.tell("j:A")["next_run"] is not None
    assert list(halted.get_lost()) == []


@pytest.mark.parametrize("schedule", ["STOP", f"AT:{FUTURE}", "EVERY:1d", "FREQ=ODD"])
def test_a_new_schedule_leaves_a_queued_run(halted: Redbike, worker: Recorder, schedule: str) -> None:
    """B8: a new schedule, even a bad one, does not cancel a run that is already queued (docs/commands.md)."""
    halted.set("j:A", "NOW")
    halted.set("j:A", schedule)
    halted.work()
    assert worker.done == ["j:A"]


def test_loading_what_schedules_prints(bike: Redbike, tmp_path: Path) -> None:
    """C3: loading the output of `redbike schedules` cancels the run of an AT that still waits (docs/commands.md)."""
    bike.set("once:A", f"AT:{FUTURE}")
    rows = tmp_path / "rows.csv"
    with rows.open("w", newline="") as file:
        write_rows(file, bike.get_schedules())
    bike.load_csv(rows)
    assert bike.tell("once:A")["next_run"] is None


def test_enqueue_without_a_schedule(fleet: Fleet, worker: Recorder) -> None:
    """H: a job that was only enqueued runs once and leaves nothing, also where it fails (docs/applications.md)."""
    bike = fleet(worker, on_error="retry")
    bike.control("HALT")
    worker.acts["j:A"] = raising(ValueError())
    bike.enqueue("j:A")
    bike.work()
    assert worker.done == ["j:A"]
    assert set(bike.tell("j:A").values()) == {None, False}


def test_enqueue_of_a_dropped_job(halted: Redbike, worker: Recorder) -> None:
    """D5: a job that was dropped after a failed run goes on by its schedule once it is enqueued (docs/failures.md)."""
    worker.acts["j:A"] = raising(ValueError())
    halted.set("j:A", "CONTINUE")
    halted.work()
    worker.acts.clear()
    halted.enqueue("j:A")
    halted.work()
    assert (halted.tell("j:A")["status"] or "").startswith("ENQ")


@pytest.mark.parametrize(("zone", "is_known"), [("CET", True), ("EST", False), ("EDT", False), ("PST", False)])
def test_short_names_of_zones(zone: str, is_known: bool) -> None:
    """B5: a short name is a zone where the IANA database has it, and else BAD (docs/recurrence.md)."""
    reason = next_runs(f"DTSTART;TZID={zone}:20260101T080000\nRRULE:FREQ=DAILY").reason
    assert (reason is None) is is_known
    assert reason is None or zone in reason


def test_an_abbreviation_after_a_time() -> None:
    """B5: a time with an abbreviation after it is BAD (docs/recurrence.md)."""
    assert next_runs("RDATE:20960101T080000EST").reason is not None


def test_an_interval_that_ends_after_the_last_year(capsys: pytest.CaptureFixture[str]) -> None:
    """B5: an EVERY whose first run is after the year 9999 never runs (docs/schedules.md)."""
    assert main(["next", "EVERY:999999999d"]) == 0
    assert "never runs" in capsys.readouterr().err


def test_a_halt_that_is_cleared_during_a_job(fleet: Fleet, worker: Recorder) -> None:
    """E2: a worker in a job does not see a HALT that is cleared before the job ends (docs/production.md)."""
    bike = fleet()
    may_end = threading.Event()
    worker.acts["long:A"] = lambda: may_end.wait(10)
    with Loops(fleet) as loops:
        loops.work(worker)
        bike.set("long:A", "NOW")
        eventually(lambda: worker.done)
        bike.control("HALT")
        bike.clear_control()
        may_end.set()
        bike.set("next:A", "NOW")
        eventually(lambda: worker.done == ["long:A", "next:A"])


def test_what_flush_does_not_find(bike: Redbike, server: Server, prefix: str) -> None:
    """A5: flush leaves another worker's queue of unknown jobs, and the tag of a run whose job was unset meanwhile
    (docs/applications.md)."""
    bike = Redbike(bike.worker, prefix, server.config, history=0)
    bike.set("j:A", "NOW")
    next(bike.consumer)
    bike.unset("j:A")
    with server.client() as client:
        client.sadd(f"{prefix}-work-Z-members", "x:Z")
        client.lpush(f"{prefix}-work-Z", "x:Z")
        bike.flush()
        left = {key.decode() for key in client.scan_iter(match=f"{prefix.replace('[', '?')}[-:]*")}
        assert left == {f"{prefix}-work-A-j:A", f"{prefix}-work-Z", f"{prefix}-work-Z-members"}
        client.delete(*left)


@pytest.mark.parametrize(("schedule", "after"), [(5, None), ("EVERY:5", float("nan")), ("EVERY:5", "soon")])
def test_arguments_that_a_program_gets_wrong(bike: Redbike, schedule: Any, after: Any) -> None:
    """H: an argument of the wrong type or no finite time is a TypeError or ValueError (docs/applications.md)."""
    with pytest.raises((TypeError, ValueError)):
        bike.set("j:A", schedule, after=after)
