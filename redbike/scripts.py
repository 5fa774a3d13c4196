"""The atomic steps: one typed method for each file in lua/, and nothing else changes the state of a job.

Replies become words and tuples here and go no further. Every call may be repeated after its reply was lost.
"""

import os
import random
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import redis

from redbike.keys import Keys
from redbike.script import NOTHING, Part, Script, Text
from redbike.steps import ENDED, NO_PLACES, Ending, Look, Overdue, Placement, Places, Turn, decode, encode
from redbike.wire import Wires

_CLOCK_GOOD_FOR_S = 20.0
_SAME_KEPT = 1024
_QUEUES_TO_WATCH = 16  # the one look at both takes keys in the square of this


class _Same(NamedTuple):
    """What is the same in every turn that looks at these places."""

    places: Places
    keys: Part
    args: Part


class Scripts:
    """The transitions of one prefix. Methods may be called from several threads."""

    def __init__(self, client: redis.Redis, keys: Keys, wires: Wires, index_running: bool = False) -> None:
        """`index_running`: keep the index by which a dispatcher finds runs that outlive their timeout."""
        self._client = client
        self._wires = wires
        self._same: dict[tuple[int, bool, int], _Same] = {}
        self._same_places: dict[tuple[str, str], Part] = {}
        self._index_running = index_running
        self._keys = keys
        self._name = secrets.token_hex(8)
        self._place, self._promote = Script("place"), Script("promote")
        self._now, self._wake = Script("now"), Script("wake")
        self._turn, self._unset, self._lost = Script("turn"), Script("unset"), Script("lost")
        self._clock: tuple[float, float] | None = None

    @property
    def is_unanswered(self) -> bool:
        """Whether the latest call of a turn or the like was sent, and its reply did not come."""
        wire = self._wires.get_if_made()
        return wire is not None and wire.is_unanswered

    def now(self) -> float:
        """The server's time, Unix seconds; asked for only where no reply has told it lately."""
        clock = self._clock
        if clock is not None:
            elapsed = time.monotonic() - clock[1]
            if elapsed < _CLOCK_GOOD_FOR_S:
                return clock[0] + elapsed
        # A script and not the command TIME, because its key tells a Cluster which node is meant.
        return self._told(float(self._now.run(self._client, _encoded([self._keys.timeline]), ())))

    def place(self, placement: Placement, now: float | None = None, nonce: str = "", only_lost: bool = False) -> bool:
        """Register a schedule and carry out its plan; `only_lost`: if the job is in no place. Whether it was done."""
        keys, tag, args = self._place_call(placement, now, nonce, only_lost)
        reply = self._place.run_prepared(self._client, self._wires, keys, [tag], NOTHING, args)
        if reply is not None:
            self._told(float(reply))
        return reply is not None

    def place_many(self, placements: Sequence[Placement], nonce: str, resume: bool = False) -> None:
        """Carry out many placements in order, in one round trip.

        Where an earlier call with the same nonce may have been cut short, `resume` goes on behind the last one that
        was carried out: each leaves the nonce and its index in the memo.
        """
        done = self._placed(nonce) if resume else 0
        while done < len(placements):
            calls = []
            for index in range(done, len(placements)):
                placement = placements[index]._replace(once=True)
                keys, tag, args = self._place_call(placement, None, f"{nonce}:{index:08d}")
                calls.append((keys, [tag], args))
            try:
                self._place.run_many(self._client, self._wires, calls)
                return
            except redis.exceptions.NoScriptError:
                done = self._placed(nonce)

    def _placed(self, nonce: str) -> int:
        memo: Any = self._client.get(self._keys.memo(self._client_name()))
        whose, _, index = decode(memo or b"").rpartition(":")
        return int(index) + 1 if whose == nonce else 0

    def promote(
        self, due: Mapping[str, Sequence[bytes]], limit: int, now: float | None = None, bad: Sequence[bytes] = ()
    ) -> Look:
        """Queue jobs, given by queue key, where they are due; then see what is due next.

        Those in `bad`, for which no queue is known, become `BAD`. `limit` bounds how many due ids the reply tells.
        """
        keys = self._keys
        call_keys = [encode(keys.timeline), encode(keys.statuses), encode(keys.control)]
        for queue_key in due:
            call_keys += _encoded(self.queue_triple(queue_key))
        for queue_key, jobids in due.items():
            prefix = encode(keys.tag(queue_key, ""))
            call_keys += [prefix + jobid for jobid in jobids]
        args = [_optional(now).encode(), b"%d" % limit, b"%d" % len(due)]
        args += [b"%d" % len(jobids) for jobids in due.values()]
        args += bad
        reply = self._promote.run_prepared(self._client, self._wires, NOTHING, call_keys, NOTHING, args)
        return self._read_look(reply, now, list(due))

    def _read_look(self, reply: bytes, now: float | None, queue_keys: list[str]) -> Look:
        head, lengths, first_due, rest = reply.split(b"\n", 3)
        clock, halted, queued, trouble_count = head.split()
        *trouble_lines, rest = rest.split(b"\n", int(trouble_count))
        ids, at = [], 0
        for length in map(int, lengths.split()):
            ids.append(rest[at : at + length])
            at += length
        return Look(
            now=self._told(float(clock)) if now is None else now,
            halted=halted == b"1",
            due=[] if first_due else ids,
            first=(ids[0], float(first_due)) if first_due else None,
            queued=int(queued),
            troubles=_troubles(trouble_lines, queue_keys),
        )

    def peek(self, queue_keys: Sequence[str]) -> tuple[Look, bool]:
        """What promote would see with nothing to do, for the price of two plain commands: for an idle dispatcher.

        Also whether there is something in these queues, or a signal: then `wake` has to look closer.
        """
        pipeline: Any = self._client.pipeline(transaction=False)
        pipeline.zrange(self._keys.timeline, 0, 0, withscores=True)
        pipeline.exists(self._keys.control, *queue_keys)
        first, stirring = pipeline.execute()
        id_and_due = (first[0][0], float(first[0][1])) if first else None
        return Look(self.now(), False, [], id_and_due), stirring != 0

    def wake(self, queue_keys: Sequence[str]) -> bool:
        """Wake idle workers for jobs that lie in these queues unannounced, or for a halt, which it returns."""
        call_keys = [self._keys.control]
        for queue_key in queue_keys:
            call_keys += (queue_key, self._keys.bell(queue_key))
        return bool(self._wake.run(self._client, _encoded(call_keys), ()))

    def idle_clients(self) -> int:
        """How many clients of the server wait in a blocking call, as idle workers do; 0 where we may not know."""
        try:
            clients: Any = self._client.info("clients")
        except redis.exceptions.NoPermissionError:
            return 0
        return int(clients.get("blocked_clients", 0))

    def offer_watch(self, queue_keys: Sequence[str], for_s: int) -> None:
        """For so many seconds, workers of these queues may rely on it that `wake` is called once a second."""
        pipeline: Any = self._client.pipeline(transaction=False)
        for queue_key in queue_keys:
            pipeline.set(self._keys.watch(queue_key), "1", ex=for_s)
        pipeline.execute()

    def withdraw_watch(self, queue_keys: Sequence[str]) -> None:
        """Have workers look after these queues themselves from now on."""
        with suppress(redis.RedisError):  # it is no loss: they do so before long
            self._client.delete(*(self._keys.watch(queue_key) for queue_key in queue_keys))

    def signal(self, name: str) -> None:
        """Set the control key, and have idle dispatchers notice at once."""
        self._client.set(self._keys.control, name)
        self._client.publish(self._keys.wake, "")

    def anything(self, places: Places) -> tuple[bool, bool]:
        """Whether a turn could find something in these places, or a halt; and whether a dispatcher watches them all.

        One plain command: for an idle worker.
        """
        queue_keys = places.keys[::3]
        if len(queue_keys) > _QUEUES_TO_WATCH:
            return bool(self._client.exists(self._keys.control, *queue_keys)), False
        watches = [self._keys.watch(queue_key) for queue_key in queue_keys]
        # EXISTS counts a key as often as it is named: so one number tells of both kinds of keys.
        weight = len(queue_keys) + 2
        count: Any = self._client.exists(self._keys.control, *queue_keys, *(watches * weight))
        return bool(count % weight), count // weight == len(watches)

    def turn(
        self,
        nonce: str,
        places: Places = NO_PLACES,
        ending: Ending | None = None,
        *,
        heed_halt: bool = True,
        now: float | None = None,
        repeated: bool = False,
    ) -> Turn:
        """End a run, begin the next: one round trip. `nonce` becomes the run tag of the job that is taken.

        `repeated`: an earlier call with this nonce may have been carried out without its reply being seen.
        """
        changing = [_optional(now).encode(), nonce.encode(), _yes(repeated)]
        end_keys: list[bytes] = []
        if ending is not None:
            tag = encode(self._keys.tag(ending.taken_from, ending.jobid))
            end_keys = [tag, *_encoded(self.queue_triple(ending.goes_to))]
            changing += (encode(ending.jobid), encode(ending.tag), encode(ending.taken_from))
            changing += (ending.known_text or b"", ending.step.encode(), _optional(ending.due_at).encode())
            tries = b"" if ending.tries is None else b"%d" % ending.tries
            changing += (tries, b"%.3f" % random.uniform(0.5, 1.5) if tries else b"", _yes(ending.overdue))
        same = self._same_in_every_turn(places, heed_halt)
        reply = self._turn.run_prepared(self._client, self._wires, same.keys, end_keys, same.args, changing)
        return self._read_turn(reply, now, places)

    def _same_in_every_turn(self, places: Places, heed_halt: bool) -> "_Same":
        known = self._same.get((id(places), heed_halt, os.getpid()))
        if known is not None and known.places is places:
            return known
        keys = self._keys
        first = [keys.schedules, keys.statuses, keys.timeline, keys.control, keys.memo(self._client_name())]
        args: list[Text] = [_yes(self._index_running), _yes(heed_halt), keys.wake, places.spec]
        args += (len(places.timeouts_ms), *places.timeouts_ms)
        same = _Same(
            places,
            Part.of(_encoded([*first, keys.running, keys.retries, *places.keys])),
            Part.of([argument if isinstance(argument, bytes) else str(argument).encode() for argument in args]),
        )
        if len(self._same) >= _SAME_KEPT:
            self._same.clear()
        self._same[id(places), heed_halt, os.getpid()] = same
        return same

    def _read_turn(self, reply: bytes, now: float | None, places: Places) -> Turn:
        head, _, rest = reply.partition(b"\n")
        clock, ended, halted, place, job_length, text_length = head.split()
        job_end = int(job_length)
        text_end = job_end + max(0, int(text_length))
        text = None if text_length == b"-1" else rest[job_end:text_end]
        changed = ended == b"changed"
        return Turn(
            now=self._told(float(clock)) if now is None else now,
            ended=ENDED[ended],
            changed_text=text if changed else None,
            halted=halted == b"1",
            place=int(place) - 1 if place != b"0" else None,
            jobid=rest[:job_end] if place != b"0" else None,
            text=None if changed else text,
            troubles=_troubles(rest[text_end:].split(b"\n"), places.keys[::3]) if len(rest) > text_end else (),
        )

    def overdue(self, limit: int) -> list[Overdue]:
        """Runs whose timeout has passed and which nobody has ended, the longest overdue first."""
        found: Any = self._client.zrangebyscore(self._keys.running, "-inf", self.now(), start=0, num=limit)
        if not found:
            return []
        ours = encode(self._keys.queue(""))
        split = [entry.split(b"\n", 2) for entry in found]
        parts = [words for words in split if len(words) == 3 and words[1].startswith(ours)]
        if len(parts) < len(found):
            # Another's key, or none: on a Cluster such an entry would fail every look.
            self._client.zrem(self._keys.running, *(b"\n".join(words) for words in split if words not in parts))
        if not parts:
            return []
        texts: Any = self._client.hmget(self._keys.schedules, [jobid for _, _, jobid in parts])
        return [
            Overdue(decode(jobid), decode(tag), decode(queue_key), text)
            for (tag, queue_key, jobid), text in zip(parts, texts, strict=True)
        ]

    def lost(self, jobs: Sequence[tuple[str, str]]) -> list[tuple[str, bytes]]:
        """Job id and status of each of these (job id, queue key) pairs that is registered, and in no place."""
        keys = self._keys
        queue_keys = list(dict.fromkeys(queue_key for _, queue_key in jobs))
        number_of = {queue_key: number for number, queue_key in enumerate(queue_keys, 1)}
        call_keys = [keys.timeline, keys.schedules, keys.statuses]
        for queue_key in queue_keys:
            call_keys += (queue_key, keys.members(queue_key))
        args: list[Text] = [len(queue_keys)]
        for jobid, queue_key in jobs:
            call_keys.append(keys.tag(queue_key, jobid))
            args += (encode(jobid), number_of[queue_key])
        flat = _list(self._lost.run(self._client, _encoded(call_keys), args))
        return [(decode(flat[i]), flat[i + 1]) for i in range(0, len(flat), 2)]

    def unset(self, jobid: str, queue_key: str, nonce: str = "", repeated: bool = False) -> bool:
        """Forget a job; a run under way keeps its tag. True where the job was known. `repeated`: as for turn."""
        keys = self._keys
        call_keys = [keys.schedules, keys.statuses, keys.timeline, queue_key, keys.members(queue_key), keys.retries]
        call_keys.append(keys.memo(self._client_name()))
        args: list[Text] = [encode(jobid), nonce, _yes(repeated)]
        known: Any = self._unset.run(self._client, _encoded(call_keys), [*args, ""])
        while known < 0:  # a long queue is looked through piece by piece
            known = self._unset.run(self._client, _encoded(call_keys), [*args, -known])
        return bool(known)

    def forget_memo(self) -> None:
        """Remove what this client left in Redis against lost replies: it asks no more."""
        with suppress(redis.RedisError):  # it is no loss: the memo goes by itself
            self._client.delete(self._keys.memo(self._client_name()))

    def queue_triple(self, queue_key: str) -> tuple[str, str, str]:
        """List, members and bell of a queue, as the scripts want them."""
        return queue_key, self._keys.members(queue_key), self._keys.bell(queue_key)

    def _place_call(
        self, placement: Placement, now: float | None, nonce: str, only_lost: bool = False
    ) -> tuple[Part, bytes, list[bytes]]:
        """The keys that are the same for every job of the queue, the run tag, and the arguments."""
        keys, queue_key, client_name = self._keys, placement.queue_key, self._client_name()
        same = self._same_places.get((queue_key, client_name))
        if same is None:
            first = (keys.schedules, keys.statuses, keys.timeline, keys.retries, keys.memo(client_name))
            same = Part.of(_encoded([*first, *self.queue_triple(queue_key)]))
            if len(self._same_places) >= _SAME_KEPT:
                self._same_places.clear()
            self._same_places[queue_key, client_name] = same
        args = [encode(placement.jobid), encode(placement.text or ""), _yes(placement.text is not None)]
        args += (placement.step.encode(), _optional(placement.due_at).encode(), _optional(now).encode())
        args += (encode(keys.wake), nonce.encode(), _yes(only_lost), _yes(placement.once))
        return same, encode(keys.tag(queue_key, placement.jobid)), args

    def _client_name(self) -> str:
        # A memo belongs to one thread of one process: others would overwrite it before it is read.
        return f"{self._name}.{os.getpid()}.{threading.get_ident()}"

    def _told(self, server_time: float) -> float:
        self._clock = (server_time, time.monotonic())
        return server_time


def _encoded(keys: Iterable[str]) -> list[bytes]:
    return [encode(key) for key in keys]


def _yes(flag: bool) -> bytes:
    return b"yes" if flag else b"no"


def _optional(number: float | None) -> str:
    return "" if number is None else repr(float(number))


def _list(reply: object) -> list[Any]:
    assert isinstance(reply, list), reply
    return reply


def _troubles(lines: Iterable[bytes], queue_keys: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Queue keys and errors, from lines of queue number and error."""
    numbers_and_errors = (line.partition(b" ") for line in lines)
    return tuple((queue_keys[int(number) - 1], decode(error)) for number, _, error in numbers_and_errors)
