"""Faults on purpose: a short round of each that the soak (`python -m benchmarks.chaos`) has, with a fixed seed."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import Fleet, Recorder
from helpers import HOURLY
from nodes import eventually
from threads import Loops

from benchmarks.chaos.arena import Arena
from benchmarks.chaos.faults import FAULTS, play
from benchmarks.chaos.history import History, Verdict, lost_and_doubled, touched
from benchmarks.chaos.losses import EXPECTED, Losses
from benchmarks.chaos.proxy import Fate, FaultProxy
from benchmarks.chaos.sizes import SUITE
from redbike import Redbike
from redbike.errors import ServerError

SEED = 1
Call = Callable[[Redbike], object]


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena() as arena:
        yield arena


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fleet_outlives(arena: Arena, fault: str) -> None:
    """C7: under each fault, every one-off runs once, recurring jobs go on, and every process ends well."""
    verdict = play(arena, fault, SEED, 0, SUITE)
    if verdict.left_out:
        pytest.skip(verdict.left_out)
    assert verdict.is_sound, verdict
    assert verdict.occurrences > (3 if fault == "dead" else 50)


@pytest.mark.parametrize(
    ("held_up", "later", "schedule", "queued"),
    [
        (lambda bike: bike.set("j:A", HOURLY), lambda bike: bike.set("j:A", "NOW"), "STOP", 1),
        (lambda bike: bike.unset("j:A"), lambda bike: bike.set("j:A", "CONTINUE"), "CONTINUE", 1),
        (lambda bike: bike.set("j:A", "NOW"), lambda bike: bike.unset("j:A"), None, 0),
    ],
    ids=["set", "unset", "now"],
)
def test_a_call_that_was_held_up_undoes_no_later_one(
    fault_proxy: FaultProxy, fleet: Fleet, held_up: Call, later: Call, schedule: str | None, queued: int
) -> None:
    """C7: a call that arrives behind its own repetition, and behind the next call, changes nothing."""
    bike = fleet(redis_config={"unix_socket_path": fault_proxy.socket})
    bike.set("j:A", "STOP")
    bike.unset("other:A")  # now the server knows the scripts
    with first_command_held_up(fault_proxy):
        held_up(bike)
        later(bike)
    aside = fleet()
    told = aside.tell("j:A")
    assert (told["schedule"], told["next_run"]) == (schedule, None)
    assert aside.redis.llen(aside.queue_for("j:A")) == queued


def test_a_turn_that_was_held_up_hands_out_no_job(fault_proxy: FaultProxy, fleet: Fleet) -> None:
    """C7: a turn that arrives after later turns takes no job, because no worker would run it."""
    bike = fleet(redis_config={"unix_socket_path": fault_proxy.socket})
    for jobid in ("1:A", "2:A", "3:A", "4:A"):
        bike.set(jobid, "CONTINUE")
    assert next(bike.consumer)[0] == "1:A"
    with first_command_held_up(fault_proxy):
        assert [next(bike.consumer)[0], next(bike.consumer)[0]] == ["2:A", "3:A"]
    assert bike.redis.lrange(bike.queue_for("4:A"), 0, -1) == [b"4:A"]
    assert next(bike.consumer)[0] == "4:A"


def test_a_set_that_was_given_up_undoes_no_later_one(fault_proxy: FaultProxy, fleet: Fleet) -> None:
    """C7: if every try of a `set` was held up and `set` failed, the tries change nothing when they arrive."""
    bike = fleet(redis_config={"unix_socket_path": fault_proxy.socket})
    bike.set("j:A", "STOP")
    arrived, go_on = threading.Semaphore(0), threading.Event()
    fault_proxy.judge = lambda _n, kind: Fate.DELAY if kind == "EVALSHA place" and not go_on.is_set() else Fate.PASS
    fault_proxy.hold_up, fault_proxy.before_cut = lambda: go_on.wait(10), arrived.release
    with pytest.raises(ServerError):
        bike.set("j:A", HOURLY)
    fault_proxy.judge = lambda _n, _kind: Fate.PASS
    bike.set("j:A", "CONTINUE")
    go_on.set()
    for _ in range(4):
        assert arrived.acquire(timeout=10)
    assert fleet().tell("j:A")["schedule"] == "CONTINUE"


def test_repetitions_that_were_held_up_hand_out_no_job(fault_proxy: FaultProxy, fleet: Fleet) -> None:
    """C7: a repeated turn that was held up takes no job when it arrives."""
    bike = fleet(redis_config={"unix_socket_path": fault_proxy.socket})
    assert next(bike.consumer)[0] is None  # now the server knows the script
    arrived, go_on, sent = threading.Semaphore(0), threading.Event(), itertools.count()
    fault_proxy.judge = lambda _n, kind: Fate.DELAY if kind == "EVALSHA turn" and next(sent) < 2 else Fate.PASS
    fault_proxy.hold_up, fault_proxy.before_cut = lambda: go_on.wait(10), arrived.release
    assert next(bike.consumer)[0] is None, "the third of three calls is answered"
    aside = fleet()
    aside.set("j:A", "NOW")
    go_on.set()
    for _ in range(2):
        assert arrived.acquire(timeout=10)
    assert aside.redis.lrange(aside.queue_for("j:A"), 0, -1) == [b"j:A"]
    assert next(bike.consumer)[0] == "j:A"


@pytest.mark.parametrize("refusal", [b"-NOPERM no\r\n", b"-READONLY no\r\n", b"-LOADING no\r\n"])
def test_a_stopped_worker_takes_its_job_along(fault_proxy: FaultProxy, fleet: Fleet, refusal: bytes) -> None:
    """C7, E3: a worker that lost the reply with its job, and is refused since, runs that job before it stops."""
    worker, refused = Recorder(), threading.Event()

    def refuse() -> None:
        fault_proxy.answer = refusal
        refused.set()

    with Loops(fleet) as loops:
        loop = loops.work(worker, redis_config={"unix_socket_path": fault_proxy.socket})
        aside = fleet()
        eventually(lambda: any(client["cmd"] == "blpop" for client in aside.redis.client_list()))
        fault_proxy.before_cut = refuse
        fault_proxy.judge = lambda _n, kind: (
            Fate.LOSE_REPLY if kind == "EVALSHA turn" and not refused.is_set() else Fate.PASS
        )
        aside.set("j:A", "NOW")
        assert refused.wait(10)
        eventually(lambda: aside.is_working("j:A"))
        loop.tell()
        time.sleep(0.5)  # it must not end, for which there is no event to wait
        assert loop.is_running(), "it knows of a job that it may have"
        fault_proxy.answer = None
        loop.join()
    assert worker.done == ["j:A"]
    assert str(aside.tell("j:A")["status"]).startswith("STP")


@contextmanager
def first_command_held_up(fault_proxy: FaultProxy) -> Iterator[None]:
    """Delay the first command of the block until all others have been carried out."""
    arrived, go_on = threading.Event(), threading.Event()
    fault_proxy.commands.clear()
    fault_proxy.judge = lambda number, _name: Fate.DELAY if number == 0 else Fate.PASS
    fault_proxy.hold_up, fault_proxy.before_cut = lambda: go_on.wait(10), arrived.set
    yield
    go_on.set()
    assert arrived.wait(10)
    assert fault_proxy.commands[0] == "EVALSHA"
    fault_proxy.judge = lambda _number, _name: Fate.PASS


def test_the_judge_finds_what_was_lost_and_doubled(arena: Arena) -> None:
    """A job without a run is lost, and a job with two runs is doubled, unless a killed process had it."""
    notes = [
        "begin twice 1 7",
        "end twice 1 7",
        "begin twice 2 8",
        "end twice 2 8",
        "begin torn 3 9",
        "begin again 4 8",
    ]
    notes += ["end again 4 8", "begin whole 5 6", "end whole 5 6"]
    arena.notary.rpush("notes", *notes)
    history = History(arena.notary, "notes")
    history.refresh()
    jobids = ["twice", "torn", "never", "whole", "again"]
    assert lost_and_doubled(history, jobids, {9}) == (["torn", "never"], ["twice"])
    assert lost_and_doubled(history, jobids, {9}, dropped_is_lost=False) == (["never"], ["twice"])
    assert not Verdict("x", lost=["never"]).is_sound
    assert [jobid for jobid in jobids if touched(history, jobid, 3.5, 4)] == ["again"]


def test_every_kind_of_command_has_its_reply_lost() -> None:
    """Losses hit each kind of command, at most two in a row, and report the kinds that they left out."""
    losses = Losses(random.Random(SEED), 1 / 6)
    judge = losses.judge(rest=3)
    fates = "".join("PL"[judge(0, kind) is Fate.LOSE_REPLY] for _ in range(200) for kind in ("SET", "BLPOP", "EXISTS"))
    assert "L" not in fates, "nothing is lost before it is time"
    losses.are_on = True
    kinds = [*sorted(EXPECTED - {"BLPOP"}), *["EVALSHA turn"] * 200, "SET"]
    fates = "".join("PL"[judge(0, kind) is Fate.LOSE_REPLY] for _ in range(20) for kind in kinds)
    assert "LL" in fates
    assert "LLL" not in fates
    assert 0.1 < fates.count("L") / len(fates) < 0.2
    assert losses.faults() == ["BLPOP: seen 0 times, no reply lost"]
    assert not losses.are_enough(1)
