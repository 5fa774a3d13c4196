"""How often a client waits for the server, and how many commands the server processes, per job."""

from collections.abc import Callable
from typing import Any

from benchmarks.bikes import (
    NoOp,
    Until,
    client,
    commands_processed,
    daily,
    fill_circle,
    fill_timeline,
    make_bike,
)
from benchmarks.figures import Figure, Measurement
from benchmarks.proxy import CountingProxy

_TRIPS, _COMMANDS = "round trips", "commands"


def per_job(socket: str, jobs: int) -> dict[str, float]:
    """Count for `jobs` jobs and for twice as many. The difference does not include starting and stopping."""
    numbers = {}
    for name, count in (("work", _work), ("dispatch", _dispatch), ("set", _set)):
        count(socket, 1)  # loads the scripts, which the server keeps
        once, twice = count(socket, jobs), count(socket, 2 * jobs)
        numbers[f"{name}_trips"] = (twice[0] - once[0]) / jobs
        numbers[f"{name}_commands"] = (twice[1] - once[1]) / jobs
    return numbers


def _work(socket: str, jobs: int) -> tuple[int, int]:
    fill_circle(make_bike(socket, NoOp("A")), 10)
    worker = Until(runs=jobs)

    def work(through: str) -> None:
        make_bike(through, worker, worker.stop_event).work()

    return _counted(socket, work)


def _dispatch(socket: str, jobs: int) -> tuple[int, int]:
    fill_timeline(client(socket), jobs)
    make_bike(socket, NoOp("A")).control("HALT")

    def dispatch(through: str) -> None:
        make_bike(through, NoOp("A")).dispatch()

    return _counted(socket, dispatch)


def _set(socket: str, jobs: int) -> tuple[int, int]:
    def set_all(through: str) -> None:
        bike = make_bike(through, NoOp("A"))
        for number in range(jobs):
            bike.set(f"{number}:A", daily(number))

    return _counted(socket, set_all)


def _counted(socket: str, act: Callable[[str], Any]) -> tuple[int, int]:
    server = client(socket)
    with CountingProxy(socket) as proxy:
        before = commands_processed(server)
        act(proxy.socket)
        commands, trips = commands_processed(server) - before, proxy.round_trips
    server.flushall()
    return trips, commands


MEASUREMENTS = (
    Measurement(
        "benchmarks.round_trips:per_job",
        {
            "work_trips": Figure("work, one CONTINUE job", _TRIPS, "less", limit=1.01),
            "work_commands": Figure("work, one CONTINUE job", _COMMANDS, "less"),
            "dispatch_trips": Figure("dispatch, one due job of many", _TRIPS, "less"),
            "dispatch_commands": Figure("dispatch, one due job of many", _COMMANDS, "less"),
            "set_trips": Figure("set, one recurring job", _TRIPS, "less"),
            "set_commands": Figure("set, one recurring job", _COMMANDS, "less"),
        },
        rounds=1,
        full={"jobs": 1_000},
        quick={"jobs": 200},
    ),
)
