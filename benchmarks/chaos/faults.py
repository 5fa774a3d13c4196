"""The faults, one function each: a round with a fleet, the fault, and the verdict. Chance comes from the seed alone."""

import contextlib
import itertools
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

from benchmarks.chaos.arena import SECONDLY, Arena, LeftOut, Round, Unsettled, wait_for
from benchmarks.chaos.clock import WrongClock
from benchmarks.chaos.failover import failover
from benchmarks.chaos.foreign import OldFleet
from benchmarks.chaos.garbage import garbage
from benchmarks.chaos.history import Verdict, missing_seconds
from benchmarks.chaos.hostile import HOSTILE
from benchmarks.chaos.losses import Losses
from benchmarks.chaos.outage import GONE, outage
from benchmarks.chaos.pauses import OPERATORS
from benchmarks.chaos.proxy import Fate, FaultProxy
from benchmarks.chaos.recorder import Recorder
from benchmarks.chaos.sizes import Size
from benchmarks.chaos.zygote import Actor, Zygote
from redbike import Redbike, RoundRobin
from redbike.errors import ServerError


@contextlib.contextmanager
def _proxy(arena: Arena) -> Iterator[FaultProxy]:
    with FaultProxy(arena.server.socket) as proxy:
        yield proxy


# Processes


def crash(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Each command of a `set`, a dispatcher and a worker: the process is killed before it, and after it."""
    game = Round(arena, "crash", timeout_s=2, nap_s=0.004)
    game.fleet(1, 1)
    game.set_often(4)
    game.set_ticks(2)
    for role in ("set", "dispatch", "work"):
        for number in range(size.boundaries):
            reached = [_kill_at(game, role, number, fate, rng) for fate in (Fate.LOSE_COMMAND, Fate.LOSE_REPLY)]
            if not all(reached):
                break
    return game.finish(40)


def _kill_at(game: Round, role: str, number: int, fate: Fate, rng: random.Random) -> bool:
    """Kill a new process of this role at its command with this number. Whether it came so far."""
    victim: list[Actor] = []
    forked, struck = threading.Event(), threading.Event()

    def strike() -> None:
        forked.wait(10)
        game.kill(victim[0])
        victim[0].wait(10)
        struck.set()

    game.set_now(3)
    game.set_at(3, rng, 0.3)
    with _proxy(game.arena) as proxy:
        proxy.judge = lambda n, _kind: fate if n == number else Fate.PASS
        proxy.before_cut = strike
        jobid = game.new_id("set")
        arguments = ("set", jobid, "NOW") if role == "set" else (role,)
        victim.append(game.run(game.conf(proxy.socket), *arguments))
        forked.set()

        def is_over() -> bool:
            return struck.is_set() or (victim[0].code() is not None and not proxy.faults)

        wait_for(is_over, 20, f"{role} up to command {number}")
        if not proxy.faults:
            game.once.append(jobid)  # it set the job, and ended before it could be killed
            if victim[0].code() != 0:
                game.complain(f"{role}: exit {victim[0].code()} before command {number}: {victim[0].lines('')[-1:]}")
            return False
        game.verdict.faults += 1
        if role == "set" and fate is Fate.LOSE_REPLY and proxy.commands[number] == "EVALSHA":
            game.once.append(jobid)
        return True


# Connections


def replies(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Commands are carried out and their replies lost, of every kind that is sent: one in six, of rare kinds more.

    Those who set jobs are under the same fault, and so are processes that come and go.
    """
    game, losses, over = Round(arena, "replies"), Losses(rng, 1 / 6), threading.Event()
    roles = ["dispatch"] * 2 + ["work"] * 3
    with contextlib.ExitStack() as stack:
        # One for each process, for it is one process that has to bear losses in a row.
        proxies = [stack.enter_context(_proxy(arena)) for _ in range(len(roles) + _SETTERS)]
        for number, proxy in enumerate(proxies):
            proxy.judge = losses.judge(_REST if number < len(roles) else _REST_OF_A_SETTER)
        confs = [game.conf(proxy.socket) for proxy in proxies]
        game.actors += map(game.run, confs, roles)
        game.set_often(12)
        game.set_ticks(3)
        game.circulates(20)
        losses.are_on = True
        pool = stack.enter_context(ThreadPoolExecutor(_SETTERS))
        stack.callback(over.set)
        give_up_at = time.monotonic() + 20 + size.losses / 20

        def is_over() -> bool:
            return over.is_set() or losses.are_enough(size.losses) or time.monotonic() > give_up_at

        setters = [
            pool.submit(_set_all_sorts, game, proxy, random.Random(rng.random()), is_over)
            for proxy in proxies[len(roles) :]
        ]
        for number in itertools.cycle(range(len(roles))):
            game.retire(game.actors[0])
            game.actors.append(game.run(confs[number], roles[number]))
            if not wait(setters, timeout=_RESTART_EVERY_S).not_done:
                break
        unset = [jobid for setter in setters for jobid in setter.result()]
        losses.are_on = False
        game.verdict.faults, game.verdict.kinds = losses.lost.total(), dict(losses.lost)
        game.verdict.complaints += losses.faults()
        left = [jobid for jobid in unset if set(game.bike.tell(jobid).values()) != {None, False}]
        game.verdict.complaints += [f"{jobid} was unset, and left something" for jobid in left]
        verdict = game.finish()
        verdict.doubled += [f"{jobid}, which was unset" for jobid in unset if jobid in game.history.runs]
        return verdict


_SETTERS = 4
_RESTART_EVERY_S = 0.3
_REST = 6  # commands: two that open a connection, and those that are repeated on it: a start sends four in one piece
_REST_OF_A_SETTER = 12  # a verb gives up after four tries, of so many commands at the most


def _set_all_sorts(game: Round, proxy: FaultProxy, rng: random.Random, is_over: Callable[[], bool]) -> list[str]:
    """Every verb that changes a job, again and again. Jobs that were unset before they were due, and must not run."""
    unset = []
    rows = game.folder / game.new_id("rows")
    with _bike(game, proxy) as bike:
        while not is_over():
            game.set_now(3, bike)
            game.set_at(3, rng, 0.5, bike)
            unset.append(jobid := game.new_id("unset"))
            bike.set(jobid, "AT:4000000000")
            bike.unset(jobid)
            jobid, *jobids = [game.new_id("once") for _ in range(5)]
            bike.set(jobid, "STOP")
            bike.enqueue(jobid)
            rows.write_text("".join(f"{one},{rng.choice(['NOW', 'AT:1'])}\n" for one in jobids))
            bike.load_csv(rows)
            game.once += (jobid, *jobids)
            bike.tell(jobid)
    return unset


def torn(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Replies are torn, and commands lost: one in six for the loops, one in seven for whoever sets jobs."""
    game = Round(arena, "torn")
    fates = [Fate.TEAR_REPLY, Fate.LOSE_COMMAND]
    with _proxy(arena) as proxy, _proxy(arena) as setters:
        game.fleet(2, 3, game.conf(proxy.socket))
        game.set_often(6)
        game.set_ticks(3)
        _wait_until_at_work(game, proxy)
        proxy.judge = lambda _n, _kind: rng.choice(fates) if rng.random() < 1 / 6 else Fate.PASS
        # A verb gives up after four tries, of three commands each: not all of them may fail.
        setters.judge = lambda n, _kind: rng.choice(fates) if n % 7 == 6 else Fate.PASS
        with _bike(game, setters) as bike:
            while proxy.faults + setters.faults < size.losses // 5:
                game.set_now(4, bike)
                game.set_at(2, rng, 0.5, bike)
        game.verdict.faults = proxy.faults + setters.faults
        proxy.judge = lambda _n, _kind: Fate.PASS
        return game.finish()


def late(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Connections are cut, and what was sent on them arrives after what is sent on the next connection."""
    game = Round(arena, "late")
    with _proxy(arena) as proxy, _proxy(arena) as setters:
        game.fleet(2, 3, game.conf(proxy.socket))
        game.set_often(6)
        _wait_until_at_work(game, proxy)
        proxy.judge = lambda _n, kind: Fate.DELAY if kind != "SUBSCRIBE" and rng.random() < 1 / 12 else Fate.PASS
        setters.judge = lambda n, _kind: Fate.DELAY if n % 7 == 6 else Fate.PASS
        with _bike(game, setters) as bike:
            while proxy.faults + setters.faults < size.losses // 5:
                game.set_now(4, bike)
                game.set_at(2, rng, 0.5, bike)
        game.verdict.faults = proxy.faults + setters.faults
        proxy.judge = lambda _n, _kind: Fate.PASS
        return game.finish()


def _wait_until_at_work(game: Round, proxy: FaultProxy) -> None:
    """Until each worker had a job and each dispatcher listens: a command that cannot start gives up, and may."""

    def are_at_work() -> bool:
        game.history.refresh()
        working = {actor.pid for actor in game.actors} & set(game.history.latest_of)
        return len(working) + proxy.commands.count("SUBSCRIBE") >= len(game.actors)

    wait_for(are_at_work, 20, "start of the fleet")


@contextlib.contextmanager
def _bike(game: Round, proxy: FaultProxy) -> Iterator[Redbike]:
    """What sets jobs from behind the proxy."""
    bike = Redbike(
        RoundRobin("A:B"), game.prefix, {"unix_socket_path": proxy.socket}, timefile=game.folder / "timefile"
    )
    with bike:
        yield bike


def flush(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """The scripts are flushed and all connections killed, again and again: nobody says a word."""
    game = Round(arena, "flush")
    actors = game.fleet(2, 3)
    game.set_often(6)
    game.set_ticks(3)
    game.circulates(20)
    for _ in range(size.flushes):
        game.set_now(3)
        game.set_at(3, rng, 0.3)
        arena.client.script_flush()
        if rng.random() < 0.3:
            for kind in ("normal", "pubsub"):
                arena.client.client_kill_filter(_type=kind, skipme=True)
            game.verdict.faults += 1
        game.verdict.faults += 1
        time.sleep(rng.uniform(0, 0.04))
    verdict = game.finish()
    said = [line for actor in actors for line in actor.lines(GONE)]
    verdict.complaints += said[:1]
    return verdict


# The server


def restart(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """The server is killed with SIGKILL and started again at once on its append-only file."""
    game = Round(arena, "restart")
    game.fleet(2, 3)
    game.set_often(6)
    game.set_ticks(3)
    for _ in range(size.restarts):
        game.set_now(5)
        game.set_at(30, rng, 1.0)
        time.sleep(rng.uniform(0.1, 0.5))
        outage(game, arena.server.kill, arena.server.start, 0.0, must_speak=False)
    return game.finish()


def down(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """The server is away for a while: one line when it goes, one when it is back, from each process."""
    game = Round(arena, "down")
    game.fleet(2, 3)
    game.set_often(6)
    game.set_ticks(3)
    game.circulates(20)
    game.set_now(10)
    game.set_at(30, rng, size.down_s + 1)
    outage(game, arena.server.kill, arena.server.start, size.down_s)
    return game.finish()


def frozen(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """The server stops answering (SIGSTOP) and goes on later; some processes have a time limit for replies."""
    game = Round(arena, "frozen")
    limited = game.fleet(1, 2, game.conf(extra="socket_timeout: 0.4\n"))
    game.fleet(1, 1)
    game.set_often(6)
    game.set_ticks(3)
    game.circulates(20)
    game.set_now(10)
    game.set_at(30, rng, size.frozen_s + 1)
    outage(game, arena.server.freeze, arena.server.thaw, size.frozen_s, limited)
    return game.finish()


def refused(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """The server answers every command with an error for a while: LOADING, READONLY, OOM, NOAUTH, and worse."""
    game = Round(arena, "refused")
    answers = [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-MASTERDOWN Client with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        b"-ERR max number of clients reached\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
    ]
    rng.shuffle(answers)
    with _proxy(arena) as proxy:
        conf = game.conf(proxy.socket)
        game.fleet(1, 2, conf)
        game.set_often(4)
        game.set_ticks(2)
        game.circulates(20)
        for answer in answers[: size.answers]:
            game.set_now(3)
            game.set_at(10, rng, size.refused_s + 0.5)

            def refuse(answer: bytes = answer) -> None:
                proxy.answer = answer

            def relent() -> None:
                proxy.answer = None

            outage(game, refuse, relent, size.refused_s)
        verdict = game.finish()
        proxy.answer = b"-NOAUTH Authentication required.\r\n"
        for role in ("dispatch", "work"):
            actor = game.run(conf, role)
            if actor.wait(10) != 1 or len(actor.lines("")) != 1:
                verdict.complaints.append(f"{role} at a server that refuses it: exit {actor.code()}, {actor.lines('')}")
        return verdict


# Clocks and crowds


def clock(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """A dispatcher a day ahead, a worker a day behind, and clocks that jump by an hour in the middle."""
    game = Round(arena, "clock")
    clocks = [WrongClock(game.folder, off_s) for off_s in (86_400, -86_400)]
    zygotes = [Zygote(one.environment()) for one in clocks]
    try:
        conf = game.conf()
        for zygote in zygotes:
            for role in ("dispatch", "work"):
                log = game.folder / game.new_id("log")
                game.actors.append(zygote.start(game.folder, log, "--config", conf, role))
        game.set_ticks(4)
        game.circulates(20)
        for jump_s in (0, rng.choice([3_600, -3_600])):
            for one, off_s in zip(clocks, (86_400, -86_400), strict=True):
                one.set(off_s + jump_s)
            game.verdict.faults += 1
            game.set_at(25, rng, size.clock_s)
            _set_by_a_wrong_clock(game, zygotes[0], conf)
            time.sleep(size.clock_s)
        verdict = game.finish()
        verdict.lost += missing_seconds(game.history, game.ticks)
        early = [late_s for late_s in verdict.lateness_s if late_s < -0.002]
        verdict.complaints += [f"{len(early)} runs began before their time, by {-min(early):.3f} s"] if early else []
        return verdict
    finally:
        for zygote in zygotes:
            zygote.close()


def _set_by_a_wrong_clock(game: Round, zygote: Zygote, conf: str) -> None:
    """A recurring job, set on the machine whose clock is wrong."""
    jobid = game.new_id("tick")
    setter = zygote.start(game.folder, game.folder / "setter", "--config", conf, "set", jobid, SECONDLY)
    if setter.wait(20) != 0:
        game.complain(f"set with a wrong clock: exit {setter.code()}")
    game.ticks.append(jobid)


DISPATCHERS, WORKERS = 5, 8


def many(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Five dispatchers and eight workers on one prefix; both queues full of work, then a stream of due times."""
    game = Round(arena, "many")
    total = size.occurrences
    jobids = [f"many{n}:{'AAB'[n % 3]}" for n in range(total)]
    rng.shuffle(jobids)
    base = arena.now() - 10
    rows = game.folder / "rows.csv"
    rows.write_text("".join(f'{jobid},"AT:{base + rng.random():.4f}"\n' for jobid in jobids))
    game.bike.load_csv(rows)
    game.once += jobids
    game.bike.control("HALT")
    game.bike.dispatch()
    game.bike.clear_control()
    game.fleet(DISPATCHERS, WORKERS)
    game.verdict.faults = 0
    # Lateness is told for jobs that come due while the fleet is idle otherwise.
    game.all_begun(30 + total / 300)
    _check_shares(game)
    game.set_ticks(5)
    game.set_at(min(400, total // 10), rng, min(20, 2 + total / 1000))
    return game.finish(60)


def _check_shares(game: Round) -> None:
    """Among the first half of the runs, when there was work in both queues, A has to be served twice for each B."""
    runs = sorted((r for runs in game.history.runs.values() for r in runs), key=lambda run: run.began_at)
    half = [run.jobid[-1] for run in runs[: len(runs) // 2]]
    served_a, served_b = half.count("A"), half.count("B")
    # Each worker may be in the middle of its order.
    if abs(served_a - 2 * served_b) > 0.04 * served_b + 2 * WORKERS:
        game.complain(f"A:A:B was served {served_a} to {served_b}")


# What others write


def foreign(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """Loops of 0.13.1 and programs that write by hand work on the same prefix: all jobs keep circulating."""
    game = Round(arena, "foreign")
    game.fleet(1, 2)
    recorder = Recorder("A:A:B", arena.notary_socket, game.prefix)
    old = OldFleet(arena.client, game.prefix, ["A", "A", "B"], 60, recorder.work)
    try:
        game.set_often(6)
        game.set_ticks(3)
        give_up_at = time.monotonic() + size.foreign_s
        while time.monotonic() < give_up_at:
            _write_by_hand(game, rng)
            time.sleep(0.03)
        game.circulates(20)
    finally:
        old.stop()
    for _ in range(10):
        # A job that others left in the set alone is kept out of its queue by 0.13.1, and by nobody else.
        jobid = game.new_id("hand")
        arena.client.sadd(f"{game.bike.queue_for(jobid)}-members", jobid)
        game.bike.set(jobid, rng.choice(["NOW", "AT:1"]))
        game.once.append(jobid)
    game.verdict.faults = old.ran
    verdict = game.finish()
    # What 0.13.1 reads and moves in two steps it can move a second time: that was so, and is not ours to mend.
    verdict.doubled.clear()
    return verdict


def _write_by_hand(game: Round, rng: random.Random) -> None:
    client, bike, jobid = game.arena.client, game.bike, game.new_id("hand")
    way = rng.randrange(3)
    client.hset(bike.schedules_key, jobid, "STOP")
    if way == 0:
        client.zadd(bike.timeline_key, {jobid: int(game.arena.now())})
    elif way == 1:
        client.lpush(bike.queue_for(jobid), jobid)
    else:
        client.sadd(f"{bike.queue_for(jobid)}-members", jobid)
        client.lpush(bike.queue_for(jobid), jobid)
    game.once.append(jobid)


# All of it, in any order


def model(arena: Arena, rng: random.Random, size: Size) -> Verdict:
    """A state machine drives the scripts and a model of them side by side; a fault is a step of it."""
    try:
        from benchmarks.chaos.model import Tally, play
    except ModuleNotFoundError as error:
        raise LeftOut(f"{error.name} is not installed: pip install redbike[test]") from error
    verdict, tally, began_at = Verdict("model"), Tally(), time.monotonic()
    while tally.steps < size.steps and verdict.is_sound:
        runs = min(_MOST_RUNS, 1 + (size.steps - tally.steps) // _STEPS_WITH_NESTED)
        seed = rng.randrange(10**9)
        try:
            play(arena.server.socket, arena.folder, tally, runs, _STEPS_OF_A_RUN, seed, is_long=True)
        except Exception as error:  # whatever a step may raise
            verdict.complaints.append(f"seed {seed}: {''.join(traceback.format_exception(error))}")
        if size.steps > _TOLD_FROM:
            print(f"model: {tally.steps:,} of {size.steps:,} steps", file=sys.stderr, flush=True)
    verdict.faults, verdict.occurrences, verdict.took_s = tally.steps, tally.runs, time.monotonic() - began_at
    return verdict


_STEPS_OF_A_RUN = 50
_STEPS_WITH_NESTED = 150  # about so many are those, with what is done while jobs run
_MOST_RUNS = 100
_TOLD_FROM = 10_000

Fault = Callable[[Arena, random.Random, Size], Verdict]

_IN_ORDER: list[Fault] = [crash, replies, torn, late, flush]
_IN_ORDER += [restart, down, frozen, refused, failover, clock, many, foreign, garbage, *HOSTILE, *OPERATORS, model]

FAULTS = {one.__name__: one for one in _IN_ORDER}
"""By name, in the order in which a soak begins."""


def play(arena: Arena, name: str, seed: int, number: int, size: Size) -> Verdict:
    """The round of this fault with this number, from 0: the same chance each time."""
    try:
        return FAULTS[name](arena, random.Random(f"{seed}/{name}/{number}"), size)
    except LeftOut as error:
        return Verdict(name, left_out=f"{name} was left out: {error}")
    except (Unsettled, ServerError, AssertionError) as error:
        return Verdict(name, complaints=[f"round {number} broke off: {error}", *arena.clear_up()])
