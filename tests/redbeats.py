"""A store that the real RedBeat writes, for the tests of `redbike import redbeat`."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from celery import Celery
from celery.schedules import schedule
from conftest import Server
from redbeat import RedBeatSchedulerEntry


def batched(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield lists of up to a thousand keys."""
    rest = iter(keys)
    while batch := list(islice(rest, 1000)):
        yield batch


class Beat:
    """A RedBeat with a separate store."""

    def __init__(self, server: Server, prefix: str) -> None:
        self.prefix = f"{prefix}rb:"
        self._server = server
        self.app = Celery("proj", broker="memory://", set_as_current=False)
        self.app.conf.update(
            redbeat_redis_url=f"unix://{server.socket}", redbeat_redis_options={}, redbeat_key_prefix=self.prefix
        )
        self.redis = server.client(decode_responses=True)

    def save(
        self,
        name: str,
        when: object = None,
        *,
        last: datetime | None = None,
        count: int = 0,
        at: float | None = None,
        **given: Any,
    ) -> None:
        """Save an entry as a program of the user does.

        `last` and `count`: what the beat noted meanwhile. `at`: the next run, Unix seconds.
        """
        entry = RedBeatSchedulerEntry(name, given.pop("task", "proj.add"), when or schedule(60), app=self.app, **given)
        entry.save()
        if last is not None:
            entry.total_run_count = count - 1
            entry._next_instance(last_run_at=last)
        if at is not None:
            self.plan(name, at)

    def score(self, name: str) -> float:
        found = self.redis.zscore(f"{self.prefix}:schedule", self.prefix + name)
        assert isinstance(found, float)
        return found

    def plan(self, name: str, at: float) -> None:
        self.redis.zadd(f"{self.prefix}:schedule", {self.prefix + name: at})

    def write(self, name: str, definition: object, meta: object = None, score: float = 4_000_000_000) -> None:
        """Write an entry as another program does."""
        fields = {"definition": definition if isinstance(definition, str) else json.dumps(definition)}
        if meta is not None:
            fields["meta"] = meta if isinstance(meta, str) else json.dumps(meta)
        self.redis.hset(self.prefix + name, mapping=fields)
        self.plan(name, score)

    def close(self) -> None:
        """Remove the store."""
        with self._server.client() as client:
            for keys in batched(client.scan_iter(match=f"{self.prefix}*", count=1000)):
                client.delete(*keys)
        self.redis.close()
        if hasattr(self.app, "redbeat_redis"):
            self.app.redbeat_redis.close()
        self.app.close()
