"""Read all that is known of one job, in one round trip."""

import math
from typing import Any

import redis

from redbike.schedule.forms import PAUSED
from redbike.store.keys import Keys
from redbike.store.query import Query, read_json
from redbike.store.text import decode, encode

_FURTHEST = 1000  # entries of the queue in which to look for the job


class LastRun(dict[str, object]):
    """The last run of a job."""

    @classmethod
    def of(cls, text: bytes | None) -> "LastRun | None":
        """Read an entry of P:runs. Return None without an entry, or for a text that cannot be read."""
        words = (text or b"").split(b" ", 5)
        try:
            count, outcome, began, ended, failures = words[:5]
            if not (math.isfinite(float(began)) and math.isfinite(float(ended))):
                return None
            return cls(
                count=int(count),
                outcome=decode(outcome),
                began=float(began),
                ended=float(ended),
                failures=int(failures),
                error=decode(words[5]) if len(words) > 5 else "",
            )
        except ValueError:
            return None


def details(client: redis.Redis, keys: Keys, query: Query, jobid: str, queue_key: str) -> dict[str, object]:
    """Return a dict as `Redbike.details` describes it."""
    field = encode(jobid)
    pipeline: Any = client.pipeline(transaction=False)
    query.ask_about(pipeline, jobid, queue_key)
    pipeline.hget(keys.payloads, field).hget(keys.runs, field).hget(keys.pauses, field).zscore(keys.resume, field)
    pipeline.get(keys.held).llen(queue_key)
    pipeline.execute_command("LPOS", queue_key, field, "RANK", -1, "MAXLEN", _FURTHEST)
    *told, payload, last_run, pause, until, held, length, index = pipeline.execute(raise_on_error=False)
    for reply in told:
        if isinstance(reply, redis.RedisError):
            raise reply
    payload, last_run, pause, until, held, length, index = (
        None if isinstance(reply, redis.RedisError) else reply
        for reply in (payload, last_run, pause, until, held, length, index)
    )
    name = keys.queue_name(queue_key)
    is_paused = told[2] is not None and decode(told[2]).strip().startswith(PAUSED)
    until = until if until is not None and math.isfinite(until) else None
    return {
        **query.told(jobid, *told),
        "payload": None if payload is None else decode(payload),
        "last_run": LastRun.of(last_run),
        "pause": {**read_json(pause or b"{}"), "until": until} if is_paused else None,
        "queue": name,
        "position": None if index is None or not length else length - 1 - index,
        "queue_held": held is not None and not {"", name}.isdisjoint(read_json(held)),
    }
