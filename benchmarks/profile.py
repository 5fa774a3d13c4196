"""Where the time of a job goes: `python -m benchmarks.profile` divides a turn of work, and a `set`, into parts.

Each part is measured alone, as the best of several rounds. The rest is the extra cost of the parts together, because
the caches are cold then, and the cost of reading the many words of a call.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from redis.utils import HIREDIS_AVAILABLE

from benchmarks.bikes import NoOp, Until, client, daily, fill_circle, make_bike
from benchmarks.server import PrivateServer
from redbike.server.client import Client
from redbike.server.connection import ScriptConnection, pack

_ROUNDS = 5
_CALLS = 5_000
_PAUSE_S = 20e-6  # about the time of the Python code of a turn
_INNER = 1_000  # jobs on CONTINUE
_ECHO = pack([b"ECHO", b"x" * 60])  # about as long as the reply of a turn
_TAKEN, _NOTHING = b"1790000000 0 ended 0 1 3 8\n1:ACONTINUE", b"1790000000 0 ended 0 0 0 -1\n"
_PLACED = b"1790000000 0"


class Part(NamedTuple):
    """One part of the time of a call, in microseconds."""

    what: str
    us: float


def main() -> None:
    """Print both profiles."""
    with PrivateServer() as server:
        empty = Part("an empty round trip: an ECHO, sent and read by redis-py", _best(lambda: _echo(server.socket)))
        reader = "hiredis" if HIREDIS_AVAILABLE else "no hiredis"
        print(f"{server.describe()}, {reader}, microseconds, best of {_ROUNDS} rounds\n")
        for title, python, whole in (("a turn of work", _work_alone, _work), ("set, recurring", _set_alone, _set)):
            python_us = _best(lambda python=python: python(server.socket))
            inside = _inside(server.client, lambda whole=whole: whole(server.socket))
            _tell(title, [Part("Redbike's own Python", python_us), empty, *inside.parts], inside.whole_us)


def _tell(title: str, parts: list[Part], whole_us: float) -> None:
    print(f"{whole_us:7.1f}  {title}")
    for part in [*parts, Part("left over", whole_us - sum(part.us for part in parts))]:
        print(f"{part.us:7.1f}    {part.what}")
    print()


class Inside(NamedTuple):
    """The time of one whole call, and the part of it that the server spends in the script."""

    whole_us: float
    parts: list[Part]


def _inside(server: Any, run: Callable[[], float]) -> Inside:
    found = []
    for _ in range(_ROUNDS):
        server.flushall()  # only new jobs are set
        server.config_resetstat()
        whole_us = run()
        stats: dict[str, Any] = server.info("commandstats")
        calls, script_us = stats["cmdstat_evalsha"]["calls"], stats["cmdstat_evalsha"]["usec_per_call"]
        # A few of these calls only connect and prepare: too few to matter among thousands.
        own = {name: one for name, one in stats.items() if name not in ("cmdstat_evalsha", "cmdstat_script|load")}
        commands_us = sum(one["usec"] for one in own.values()) / calls
        number = round(sum(one["calls"] for one in own.values()) / calls)
        parts = [
            Part(f"the {number} commands in the script", commands_us),
            Part("Lua around these", script_us - commands_us),
        ]
        found.append(Inside(whole_us, parts))
    return min(found)


def _best(run: Callable[[], float]) -> float:
    return min(run() for _ in range(_ROUNDS))


def _each(call: Callable[[], object]) -> float:
    """Return the time of one call, in microseconds."""
    started_at = time.perf_counter()
    for _ in range(_CALLS):
        call()
    return 1e6 * (time.perf_counter() - started_at) / _CALLS


def _echo(socket: str) -> float:
    """Measure an empty round trip after a pause as in a turn: a server that waits may fall asleep, and its core."""
    link = Client({"unix_socket_path": socket})
    connection = link.script_connection()
    opened = connection.claim()
    assert opened is not None
    paused_s = 0.0

    def pause_and_call() -> None:
        nonlocal paused_s
        began_at = now = time.perf_counter()
        while now - began_at < _PAUSE_S:
            now = time.perf_counter()
        paused_s += now - began_at
        connection.call(opened, _ECHO)

    took_us = _each(pause_and_call) - 1e6 * paused_s / _CALLS
    link.close()
    return took_us


def _work(socket: str) -> float:
    worker = Until(runs=_CALLS)
    with make_bike(socket, worker, worker.stop_event) as bike:
        fill_circle(bike, _INNER)
        client(socket).config_resetstat()
        bike.work()
    return 1e6 / worker.rate


def _work_alone(socket: str) -> float:
    """Measure the loop of a worker without sending and reading."""
    worker = Until(runs=_CALLS)
    stop = worker.stop_event
    with make_bike(socket, worker, stop) as bike, _Unsent(lambda: _NOTHING if stop.is_set() else _TAKEN):
        bike.work()
    return 1e6 / worker.rate


def _set(socket: str) -> float:
    with make_bike(socket, NoOp("A")) as bike:
        bike.set("first:A", daily(0))  # connects, and reads the time
        return _set_each(bike)


def _set_alone(socket: str) -> float:
    """Measure `set` without sending and reading."""
    with make_bike(socket, NoOp("A")) as bike:
        bike.set("first:A", daily(0))
        with _Unsent(lambda: _PLACED):
            return _set_each(bike)


def _set_each(bike: Any) -> float:
    numbers = iter(range(_CALLS))

    def one() -> None:
        number = next(numbers)
        bike.set(f"recur-{number}:A", daily(number))

    return _each(one)


class _Unsent:
    """Within the block, calls of scripts are not sent. Each call gets the given reply."""

    def __init__(self, reply: Callable[[], bytes]) -> None:
        self._reply = reply

    def __enter__(self) -> None:
        self._call = ScriptConnection.call
        setattr(ScriptConnection, "call", lambda _connection, _opened, _command: self._reply())  # noqa: B010 - a method is replaced on purpose

    def __exit__(self, *_: object) -> None:
        setattr(ScriptConnection, "call", self._call)  # noqa: B010


if __name__ == "__main__":
    main()
