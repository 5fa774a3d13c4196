"""States of one job that the tests of schedules expect."""

from datetime import UTC, datetime
from typing import Any

from helpers import DAILY, DAY_S, PAST, server_now
from state import state

from redbike import Redbike

JOB = "x:A"


START = "DTSTART:20200101T000000\nRRULE:FREQ=DAILY"


OVER = "DTSTART:20200101T000000\nRRULE:FREQ=DAILY;COUNT=2"


def seen(bike: Redbike) -> dict[str, Any]:
    """Return the whole state without keys that may be missing at any time, with events in place of statuses.

    Each event must have happened just now.
    """
    found = {name: held for name, held in state(bike.redis, bike.prefix).items() if not name.startswith(":")}
    found.pop("-control", None)
    for job, status in found.get("-statuses", {}).items():
        event, second = status.split(":")
        assert abs(int(second) - server_now(bike)) < 3
        found["-statuses"][job] = event
    return found


def queued_job(schedule: str) -> dict[str, Any]:
    return {
        "-schedules": {JOB: schedule},
        "-statuses": {JOB: "ENQ"},
        "-work-A": [JOB],
        "-work-A-members": {JOB},
    }


def timed(schedule: str, due_at: float) -> dict[str, Any]:
    return {"-schedules": {JOB: schedule}, "-statuses": {JOB: "TML"}, "-timeline": {JOB: due_at}}


def resting(schedule: str, event: str) -> dict[str, Any]:
    return {"-schedules": {JOB: schedule}, "-statuses": {JOB: event}}


def set_alone(kind: str | None) -> dict[str, Any]:
    """Return the state after a schedule alone was set, with PAST as its reference time."""
    match kind:
        case None:
            return {}
        case "NOW":
            return queued_job("STOP")
        case "CONTINUE":
            return queued_job(kind)
        case "STOP":
            return resting(kind, "STP")
        case "garbage":
            return resting(kind, "BAD")
        case str() if kind.startswith("AT:"):
            return timed("STOP", int(kind[3:]))
        case str() if kind == DAILY:
            return timed(kind, PAST + DAY_S)
        case _:
            return timed(kind, datetime(2020, 1, 1, tzinfo=UTC).timestamp())
