"""E: starting and stopping loops. What signals do to processes is in test_acceptance."""

import re
import threading
import time

import pytest
from conftest import Fleet, Recorder
from nodes import eventually
from threads import Loops

from redbike import Redbike
from redbike.errors import RedbikeError, ServerError

WITHIN_A_SECOND_S = 2.0  # plus the delay of a busy machine


def ends_within(loops: list[threading.Thread], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    for thread in loops:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in loops)


# E1


@pytest.mark.parametrize("signal", ["HALT", "halt", "Halt", "hAlT"])
def test_halt_in_any_case_is_written_as_the_contract_has_it(bike: Redbike, signal: str) -> None:
    """E1: `HALT` in any case puts `HALT` into the control key."""
    assert bike.control(signal) is None  # type: ignore[func-returns-value]
    assert bike.redis.get(bike.control_key) == b"HALT"
    assert bike.redis.ttl(bike.control_key) == -1
    assert bike.is_halted() is True


@pytest.mark.parametrize("signal", ["STOP", "", " HALT", "HALT\n", "HALTS", "KILL -9", "ßtop"])
def test_any_other_signal_is_an_error_that_names_the_known_ones(bike: Redbike, signal: str) -> None:
    """E1: an unknown signal is an error that quotes it and names the known ones, and nothing is written."""
    with pytest.raises(RedbikeError, match="HALT") as raised:
        bike.control(signal)
    assert repr(signal) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert bike.redis.exists(bike.control_key) == 0


def test_an_unknown_signal_leaves_a_halt_alone(bike: Redbike) -> None:
    """E1: an unknown signal does not remove a `HALT`."""
    bike.control("HALT")
    with pytest.raises(RedbikeError):
        bike.control("GO")
    assert bike.is_halted()


def test_clear_control_takes_the_halt_back(bike: Redbike) -> None:
    """E1: after `clear_control()` the key is gone and nothing is halted; a second call does no harm."""
    bike.control("HALT")
    bike.clear_control()
    bike.clear_control()
    assert bike.redis.exists(bike.control_key) == 0
    assert bike.is_halted() is False


def test_is_halted_reads_what_others_wrote(fleet: Fleet) -> None:
    """E1: `is_halted()` of one object sees the `HALT` of another object or of another program."""
    one, other = fleet(), fleet()
    one.control("halt")
    assert other.is_halted()
    one.redis.delete(one.control_key)
    assert not other.is_halted()
    one.redis.set(one.control_key, "HALT")
    assert other.is_halted()


def test_is_halted_reads_the_stop_event(fleet: Fleet) -> None:
    """E1: `is_halted()` is true once the stop event is set, and then sends nothing to Redis."""
    stop = threading.Event()
    bike = fleet(stop_event=stop)
    assert bike.is_halted() is False
    stop.set()
    assert bike.is_halted() is True
    assert bike.redis.exists(bike.control_key) == 0


def test_prefixes_are_halted_one_by_one(fleet: Fleet) -> None:
    """E1: the `HALT` of one prefix does not halt another prefix that begins like it."""
    bike = fleet()
    neighbour = fleet(prefix=f"{bike.prefix}-x")
    neighbour.control("HALT")
    assert not bike.is_halted()
    neighbour.flush()


def test_halt_stops_idle_loops_within_a_second(fleet: Fleet) -> None:
    """E1: any number of idle dispatchers and workers of the prefix end within a second of `HALT`."""
    loops = [fleet().work, fleet().work, fleet().dispatch, fleet().dispatch]
    threads = [threading.Thread(target=loop, daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    assert not ends_within(threads, 0.3)
    fleet().control("HALT")
    assert ends_within(threads, WITHIN_A_SECOND_S)


def test_a_halt_of_another_program_stops_as_well(fleet: Fleet) -> None:
    """E1: a program in another language halts by writing the key."""
    threads = [threading.Thread(target=loop, daemon=True) for loop in (fleet().work, fleet().dispatch)]
    for thread in threads:
        thread.start()
    bike = fleet()
    bike.redis.set(bike.control_key, "HALT")
    assert ends_within(threads, WITHIN_A_SECOND_S)


def test_workers_stop_after_the_job_in_hand(fleet: Fleet, loops: Loops) -> None:
    """E1: a worker that is halted during a job finishes it, reschedules it, and takes no other job."""
    worker, begun, go_on = Recorder(), threading.Event(), threading.Event()

    def act() -> None:
        begun.set()
        go_on.wait(10)

    worker.acts["1:A"] = act
    bike = fleet(worker)
    bike.set("1:A", "CONTINUE")
    bike.set("2:A", "CONTINUE")
    loop = loops.work(worker)
    assert begun.wait(10)
    bike.control("HALT")
    go_on.set()
    loop.join(WITHIN_A_SECOND_S)
    assert worker.done == ["1:A"]
    assert [bike.tell(jobid)["status"][:3] for jobid in ("1:A", "2:A")] == ["ENQ", "ENQ"]  # type: ignore[index]
    assert not bike.is_working("1:A")


def test_a_busy_worker_heeds_the_halt(fleet: Fleet, loops: Loops) -> None:
    """E1: a worker that is never idle ends as quickly."""
    worker = Recorder()
    bike = fleet(worker)
    bike.set("1:A", "CONTINUE")
    loop = loops.work(worker)
    eventually(lambda: len(worker.done) > 20)
    bike.control("HALT")
    loop.join(WITHIN_A_SECOND_S)


def test_a_busy_dispatcher_heeds_the_halt(fleet: Fleet, loops: Loops) -> None:
    """E1: a dispatcher with thousands of due jobs ends within a second, and loses none of them."""
    bike = fleet()
    jobids = [f"{n}:A" for n in range(5000)]
    loop = loops.dispatch()
    bike.redis.zadd(bike.timeline_key, dict.fromkeys(jobids, 1))
    bike.control("HALT")
    loop.join(WITHIN_A_SECOND_S)
    left = {jobid.decode() for jobid in bike.redis.zrange(bike.timeline_key, 0, -1)}
    queued = {jobid.decode() for jobid in bike.redis.lrange(f"{bike.prefix}-work-A", 0, -1)}
    assert left | queued == set(jobids)
    assert not left & queued


@pytest.mark.parametrize("kind", ["work", "dispatch"])
def test_the_stop_event_ends_a_loop_within_a_second(fleet: Fleet, kind: str) -> None:
    """E1: the stop event of an object ends its idle loop within a second, and no other loop."""
    stop = threading.Event()
    mine, other = fleet(stop_event=stop), fleet()
    threads = [threading.Thread(target=getattr(bike, kind), daemon=True) for bike in (mine, other)]
    for thread in threads:
        thread.start()
    stop.set()
    assert ends_within(threads[:1], WITHIN_A_SECOND_S)
    assert threads[1].is_alive()
    assert not other.is_halted()
    other.control("HALT")
    assert ends_within(threads, WITHIN_A_SECOND_S)


def test_a_stop_event_set_before_lets_one_turn_and_one_pass_be_made(fleet: Fleet) -> None:
    """E1: if the stop event is set at the start, `dispatch()` is one pass and `work()` one turn, as under `HALT`."""
    worker, stop = Recorder(), threading.Event()
    stop.set()
    bike = fleet(worker, stop_event=stop)
    bike.set("1:A", "AT:1")
    bike.set("2:A", "AT:1")
    bike.dispatch()
    assert bike.redis.llen(f"{bike.prefix}-work-A") == 2
    bike.work()
    assert len(worker.done) == 1
    bike.work()
    assert len(worker.done) == 2


# E2


@pytest.mark.parametrize("kind", ["work", "dispatch"])
def test_the_library_does_not_clear_the_control_key(bike: Redbike, kind: str) -> None:
    """E2: the library's `dispatch()` and `work()` leave a `HALT` set."""
    bike.control("HALT")
    getattr(bike, kind)()
    assert bike.redis.get(bike.control_key) == b"HALT"


# E3, in the library: loops touch no signals


def test_loops_run_outside_the_main_thread(fleet: Fleet, loops: Loops) -> None:
    """E3: signal handlers belong to the command; the loops themselves run in any thread."""
    worker = Recorder()
    fleet(worker).set("1:A", "AT:1")
    loops.work(worker)
    loops.dispatch()
    eventually(lambda: worker.done == ["1:A"])


# keys of other programs


@pytest.mark.parametrize("part", ["schedules", "statuses", "timeline", "control"])
@pytest.mark.parametrize("call", ["work", "dispatch", "clear_control"])
def test_keys_of_another_program_are_refused_at_the_start(fleet: Fleet, part: str, call: str) -> None:
    """G4: a loop does not start if a key that all jobs share has another type, and it does not change that key."""
    bike = fleet()
    key = f"{bike.prefix}-{part}"
    bike.redis.lpush(key, "theirs")
    with pytest.raises(ServerError, match=f"{re.escape(repr(key))} holds a list.*choose another prefix"):
        getattr(bike, call)()
    assert bike.redis.lrange(key, 0, -1) == [b"theirs"]


def test_an_empty_initstring_is_no_secret(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """D10: a worker whose initstring names an empty queue says so at its start."""
    bike = fleet(Recorder(""))
    bike.control("HALT")
    bike.work()
    assert "initstring has an empty name" in caplog.text
