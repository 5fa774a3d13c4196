"""Read the store of rq-rediscron, a scheduler for RQ that keeps its jobs in Redis. Needs neither RQ nor rq-rediscron.

Under a prefix P, which is `rq:`, it keeps for each cron job the hash `Pcron_job:ID`, and in the sorted set `Pcron_jobs`
the ids of the enabled jobs, scored by the Unix times of their next runs.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from redbike.bridges.celery.intervals import interval_text
from redbike.bridges.rq.crons import cron_text
from redbike.bridges.rq.payload import written
from redbike.importers.moving import Complaint, Entry
from redbike.importers.stores import (
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
from redbike.store.moved import PastRuns
from redbike.store.text import decode

PREFIX = "rq:"
_FIELDS = (
    *("id", "func_name", "queue_name", "args", "kwargs", "interval", "cron", "job_timeout", "result_ttl", "ttl"),
    *("failure_ttl", "meta", "enabled", "latest_enqueue_time", "next_enqueue_time"),
)
_OPTIONS = {"job_timeout": "timeout", "result_ttl": "result_ttl", "ttl": "ttl", "failure_ttl": "failure_ttl"}
"""Fields of the hash -> members of the payload."""
_HISTORY = b":jobs"
"""The end of the keys in which RQ itself keeps the history of a cron job."""
_NUMBER = re.compile(r"-?[0-9]{1,12}")


def read_rediscron(
    store: OldStore, *, prefix: str = PREFIX, zone: str = "UTC", now: float
) -> Iterator[Entry | Complaint]:
    """Yield the cron jobs of a store, and a complaint for each job that cannot be moved.

    `prefix`: the beginning of the keys. `zone`: the IANA zone of cron expressions: that of the machine on which the
    scheduler ran. `now`: Unix seconds. Raise NoStore if there is no store.
    """
    index, first = f"{prefix}cron_jobs", f"{prefix}cron_job:".encode()
    scores = store.scores(index)
    keys = {first + jobid for jobid in scores} | set(store.names(first.decode()))
    if not keys:
        raise NoStore(
            f"Redis at {store.where} holds no jobs of rq-rediscron: there is neither a key {index!r} nor a key that"
            f" begins with {first.decode()!r}; name the server with --url"
        )
    for key, found in store.hashes(sorted(keys), _FIELDS):
        jobid = key.removeprefix(first)
        try:
            if isinstance(found, str):
                if found == "zset" and key.endswith(_HISTORY) and jobid not in scores:
                    continue
                raise Unreadable(f"its key holds a {found}, not a hash")
            if not any(value is not None for value in found):
                raise Unreadable("is in the schedule, but has no hash")
            texts = {name: decode(value) for name, value in zip(_FIELDS, found, strict=True) if value}
            yield _entry(checked_jobid(jobid), texts, scores.get(jobid), zone, now)
        except Unreadable as error:
            yield Complaint(shown_name(jobid), str(error))


def _entry(jobid: str, found: Mapping[str, str], score: float | None, zone: str, now: float) -> Entry:
    if found.get("id") != jobid:
        raise Unreadable(f"its field id is {shown_value(found.get('id'))}, not the id in its key")
    enabled = found.get("enabled")
    if enabled not in ("0", "1"):
        raise Unreadable(f"its field enabled is {shown_value(enabled)}, not 0 or 1")
    is_enabled = enabled == "1"
    if is_enabled and score is None:
        raise Unreadable("is enabled, but is not in the schedule, so rq-rediscron never runs it; register it again")
    if score is None:
        planned = _time(found, "next_enqueue_time")
        first = None if planned is None else int(planned)
    else:
        first = whole_time(score)
    last = _time(found, "latest_enqueue_time")
    return Entry(
        jobid,
        _schedule(found, first or int(now), zone),
        _payload(found),
        first,
        is_enabled,
        None if last is None else PastRuns(0, int(last)),
    )


def _schedule(found: Mapping[str, str], start: float, zone: str) -> str:
    cron, interval = found.get("cron"), _number(found, "interval")
    if bool(cron) == bool(interval):
        raise Unreadable(
            "has both an interval and a cron expression" if cron else "has neither an interval nor a cron expression"
        )
    try:
        text = cron_text(cron, zone) if cron else interval_text(interval or 0, start)
    except ValueError as error:
        raise Unreadable(f"its schedule: {error}") from None
    if text is None:
        raise Unreadable(f"its interval is {interval}, not a number of seconds, at least 1")
    return text


def _payload(found: Mapping[str, str]) -> str:
    call: dict[str, Any] = {"func": found.get("func_name", ""), "queue": found.get("queue_name", "")}
    for name, kind, what in (("args", list, "a list"), ("kwargs", dict, "an object")):
        if name in found:
            call[name] = checked(f"its {name}", read_json(f"its {name}", found[name].encode()), kind, what)
    for field, name in _OPTIONS.items():
        if text := found.get(field):
            call[name] = int(text) if _NUMBER.fullmatch(text) else text
    if "meta" in found:
        call["meta"] = checked("its meta", read_json("its meta", found["meta"].encode()), dict, "an object")
    try:
        return written(call)
    except ValueError as error:
        raise Unreadable(f"its call: {error}") from None


def _number(found: Mapping[str, str], name: str) -> int | None:
    text = found.get(name, "")
    if text and not _NUMBER.fullmatch(text):
        raise Unreadable(f"its {name} is {shown_value(text)}, not a whole number of seconds")
    return int(text) if text else None


def _time(found: Mapping[str, str], name: str) -> float | None:
    text = found.get(name, "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unreadable(f"its {name} is {shown_value(text)}, not a time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
