"""Read from Redis whether an idle loop has anything to do. These reads change nothing, and cost one or two commands."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis

from redbike.store.clock import ServerClock
from redbike.store.keys import Keys
from redbike.store.messages import Look, Overdue, Places
from redbike.store.text import decode, encode

_MOST_IN_ONE_LOOK = 16  # queues; the keys of one EXISTS grow with their square


class Looks:
    """The reads that the loops of one prefix repeat while they are idle."""

    def __init__(self, client: redis.Redis, keys: Keys, clock: ServerClock) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock

    def peek(self, queue_keys: Sequence[str]) -> tuple[Look, bool, bool]:
        """Return three things for an idle dispatcher.

        1. The look at the timeline that `promote` would return if no job is due.
        2. Whether there is a job in these queues, or a signal. Then the script `wake` looks again.
        3. Whether there are extra runs, runs in progress, or jobs that resume by themselves.
        """
        keys = self._keys
        has_timeline, has_extra, has_reason = self._count_existing(
            [keys.timeline], [keys.extra, keys.running, keys.resume], [keys.control, *queue_keys]
        )
        first: Any = self._client.zrange(keys.timeline, 0, 0, withscores=True) if has_timeline else []
        id_and_due = (first[0][0], float(first[0][1])) if first else None
        self._clock.is_awaited = bool(first)
        return Look(self._clock.now(), False, [], id_and_due), has_reason > 0, has_extra > 0

    def anything(self, places: Places) -> tuple[bool, bool]:
        """Return two things for an idle worker, by one command.

        1. Whether a turn could find a job in these places, or a halt.
        2. Whether a dispatcher monitors all these places.
        """
        queue_keys = places.queues.keys
        if len(queue_keys) > _MOST_IN_ONE_LOOK:
            (found,) = self._count_existing([self._keys.control, *queue_keys])
            return found > 0, False
        signs = [self._keys.watch(queue_key) for queue_key in queue_keys]
        monitored, found = self._count_existing(signs, [self._keys.control, *queue_keys])
        return found > 0, monitored == len(signs)

    def extra_due(self, limit: int) -> list[bytes]:
        """Return the ids of jobs whose extra runs are due."""
        found: Any = self._client.zrangebyscore(self._keys.extra, "-inf", self._clock.now(), start=0, num=limit)
        return list(found)

    def resuming(self, limit: int) -> list[str]:
        """Return paused jobs whose time to resume has come."""
        found: Any = self._client.zrangebyscore(self._keys.resume, "-inf", self._clock.now(), start=0, num=limit)
        return [decode(jobid) for jobid in found]

    def resume_later(self, jobid: str, delay_s: float) -> None:
        """Let a job that could not be resumed wait so many seconds, so that it does not delay other jobs."""
        self._client.zadd(self._keys.resume, {encode(jobid): self._clock.now() + delay_s}, xx=True)

    def forget_resume(self, jobid: str) -> None:
        """Forget when a job resumes, because it is not paused."""
        self._client.zrem(self._keys.resume, encode(jobid))

    def silent_since(self, server_time: float) -> dict[str, float]:
        """Return the processes without a heartbeat after this Unix time, and the times of their last heartbeats."""
        alive = self._keys.alive
        found: Any = self._client.zrangebyscore(alive, "-inf", server_time, start=0, num=1000, withscores=True)
        return {decode(process): float(at) for process, at in found}

    def runs_of(self, processes: Sequence[str]) -> list[Overdue]:
        """Return the runs in progress of workers with these client ids."""
        starts = tuple(encode(process) for process in processes)
        entries = [entry for entry, _ in self._client.zscan_iter(self._keys.running, count=1000)]
        return self._read([entry for entry in entries if entry.startswith(starts)])

    def process(self, client_id: str) -> str:
        """Return what a process noted about itself: JSON, or an empty text."""
        try:
            found: Any = self._client.hget(self._keys.processes, client_id)
        except redis.ResponseError:  # a key of another type
            return ""
        return decode(found or b"")

    def forget_process(self, client_id: str) -> None:
        """Forget a process that is dead."""
        self._client.zrem(self._keys.alive, client_id)
        with suppress(redis.ResponseError):  # a key of another type
            self._client.hdel(self._keys.processes, client_id)

    def overdue(self, limit: int) -> list[Overdue]:
        """Return runs that have exceeded their timeout without an end. The longest overdue run comes first."""
        found: Any = self._client.zrangebyscore(self._keys.running, "-inf", self._clock.now(), start=0, num=limit)
        return self._read(list(found))

    def _read(self, found: list[bytes]) -> list[Overdue]:
        """Return the runs of entries of P:running."""
        keys = self._keys
        ours = encode(keys.queue(""))
        split = [entry.split(b"\n", 2) for entry in found]
        runs = [words for words in split if len(words) == 3 and words[1].startswith(ours)]
        if len(runs) < len(split):
            # Another program wrote the other entries. On a Cluster, such an entry would make every look fail.
            self._client.zrem(keys.running, *(b"\n".join(words) for words in split if words not in runs))
        if not runs:
            return []
        texts: Any = self._client.hmget(keys.schedules, [jobid for _, _, jobid in runs])
        return [
            Overdue(decode(jobid), decode(tag), decode(queue_key), text)
            for (tag, queue_key, jobid), text in zip(runs, texts, strict=True)
        ]

    def _count_existing(self, *groups: Sequence[str]) -> list[int]:
        """Return the number of existing keys for each group of keys, by one command.

        EXISTS counts a key as often as the command names it. So we name the keys of each group more often than the keys
        of all earlier groups can count together. Then EXISTS returns one number whose digits are the counts of the
        groups.
        """
        named: list[str] = []
        weight = 1
        for group in groups:
            named += list(group) * weight
            weight *= len(group) + 1
        # Do not use the client's method: on a Cluster, it asks a frozen node twice.
        number: int = self._client.execute_command("EXISTS", *named)
        counts = []
        for group in groups:
            number, count = divmod(number, len(group) + 1)
            counts.append(count)
        return counts
