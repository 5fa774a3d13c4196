"""Read the store of RedBeat, a beat of Celery that keeps its entries in Redis. Needs neither Celery nor RedBeat.

Under a prefix P, which is `redbeat:` by default, RedBeat keeps the sorted set `P:schedule` (the keys of the entries,
scored by the Unix time of their next runs; below zero without a further run), the set `P:statics` (the names of entries
from the configuration of Celery) and for each entry the hash P and its name, with the JSON texts `definition` and
`meta`. An object with `__type__` in them stands for an object of Python.
"""

import json
from collections.abc import Iterator
from typing import Any

from redbike.bridges.celery.payload import members
from redbike.importers.moving import Complaint, Entry
from redbike.importers.redbeat_schedules import Times, read_schedule
from redbike.importers.redbeat_values import moment_of, plain
from redbike.importers.stores import (
    TOO_DEEP,
    NoStore,
    OldStore,
    Unreadable,
    checked,
    checked_jobid,
    read_json,
    shown_name,
    shown_value,
    whole_time,
)
from redbike.schedule.forms import read
from redbike.store.moved import PastRuns

PREFIX = "redbeat:"
_MOST_NAMES = 10
_KNOWN = ("name", "task", "args", "kwargs", "options", "schedule", "enabled")


def read_redbeat(
    store: OldStore, *, prefix: str = PREFIX, zone: str = "UTC", now: float
) -> Iterator[Entry | Complaint]:
    """Yield the entries of a store, and a complaint for each entry that cannot be moved.

    `prefix`: Celery's setting `redbeat_key_prefix`. `zone`: the IANA zone of crontabs, Celery's setting `timezone`.
    `now`: Unix seconds. Raise NoStore if there is no store.
    """
    index, statics_key = f"{prefix}:schedule", f"{prefix}:statics"
    scores, statics = store.scores(index), store.members(statics_key)
    if not scores and not statics:
        raise NoStore(
            f"Redis at {store.where} holds no entries of RedBeat: there is no key {index!r}; name the server with --url"
            " (redbeat_redis_url), and the prefix with --prefix (redbeat_key_prefix)"
        )
    first = prefix.encode()
    yield from _outside(store, first, {index.encode(), statics_key.encode()}, scores)
    inside = sorted(key for key in scores if key.startswith(first))
    for key, found in store.hashes(inside, ("definition", "meta")):
        name = key.removeprefix(first)
        try:
            if isinstance(found, str):
                raise Unreadable(f"its key holds a {found}, not a hash")
            yield from _entry(checked_jobid(name), found[0], found[1], scores[key], zone, now)
        except Unreadable as error:
            yield Complaint(shown_name(name), str(error))
        except RecursionError:
            yield Complaint(shown_name(name), TOO_DEEP)
    if names := sorted(shown_name(name) for name in statics if first + name in scores):
        yield Complaint(
            f"{len(names)} static",
            f"{', '.join(names[:_MOST_NAMES])}{', …' if len(names) > _MOST_NAMES else ''}: imported with their next"
            " runs; when a beat of Redbike starts, it sets them as beat_schedule says, as RedBeat did",
            is_left_out=False,
        )


def _outside(store: OldStore, prefix: bytes, own: set[bytes], scores: dict[bytes, float]) -> Iterator[Complaint]:
    """Yield complaints about members of the sorted set that are no entries, and entries that are not in it."""
    for key in sorted(scores):
        if not key.startswith(prefix):
            yield Complaint(shown_name(key), f"is in the schedule, but its key does not begin with {prefix.decode()!r}")
    others = sorted(set(store.names(prefix.decode())) - own - scores.keys())
    for key, found in store.hashes(others, ("definition",)):
        if not isinstance(found, str) and found[0] is not None:
            yield Complaint(
                shown_name(key.removeprefix(prefix)),
                "is not in the schedule, so RedBeat never runs it; save the entry in RedBeat again if it should run",
            )


def _entry(
    jobid: str, definition: bytes | None, meta: bytes | None, score: float, zone: str, now: float
) -> Iterator[Entry | Complaint]:
    if not definition:
        raise Unreadable("is in the schedule, but has no definition")
    found = checked("its definition", read_json("its definition", definition), dict, "an object")
    if unknown := sorted(found.keys() - set(_KNOWN)):
        raise Unreadable(f"its definition has {shown_value(unknown[0])}, which RedBeat does not know")
    task = checked("its task", found.get("task"), str, "the name of a task")
    if not task:
        raise Unreadable("its task is '', not the name of a task")
    fault, count, last = "", 0, None
    try:
        count, last = _past(meta)
    except Unreadable as error:
        fault = f"{error}; it is imported without its count and its last run, so it runs at {score:.0f} (Unix seconds)"
    times = Times(None if score < 0 else whole_time(score), last, now)
    schedule = read_schedule(found.get("schedule"), times, zone)
    call: dict[str, Any] = {
        "task": task,
        "args": plain("its args", checked("its args", found.get("args") or [], list, "a list")),
        "kwargs": plain("its kwargs", checked("its kwargs", found.get("kwargs") or {}, dict, "an object")),
        "options": _options(found.get("options") or {}),
    }
    if schedule.needs:
        call["schedule"] = schedule.needs
    is_enabled = checked("enabled", found.get("enabled", True), bool, "true or false")
    if fault:
        yield Complaint(jobid, fault, is_left_out=False)
    if is_enabled and score < 0 and read(schedule.text).first(now).leads_on:
        is_enabled = False
        yield Complaint(
            jobid, f"its score {score:g} is below 0, so RedBeat never runs it: it is paused here", is_left_out=False
        )
    # Without a count, the last run is the time at which the entry was saved or rescheduled.
    past = PastRuns(count, int(last)) if last is not None and count > 0 else None
    yield Entry(jobid, schedule.text, json.dumps(members(call)), schedule.first, is_enabled, past)


def _options(found: object) -> dict[str, Any]:
    options: dict[str, Any] = plain("its options", checked("its options", found, dict, "an object"))
    if isinstance(options.get("expires"), dict):
        raise Unreadable("its option expires is a fixed time; write seconds, which count from each run")
    return options


def _past(meta: bytes | None) -> tuple[int, float | None]:
    """Return how often the entry ran, and when it ran last, in Unix seconds; None if that is not known."""
    if not meta:
        return 0, None
    found = checked("its meta", read_json("its meta", meta), dict, "an object")
    count = checked("its total_run_count", found.get("total_run_count") or 0, int, "a whole number")
    last = found.get("last_run_at")
    return count, None if last is None else moment_of("its last_run_at", last).timestamp()
