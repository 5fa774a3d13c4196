"""The atomic steps: one typed method for each file in lua/, and nothing else changes the state of a job.

Replies become words and tuples here and go no further. Every call may be repeated after its reply was lost.
"""

import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from importlib import resources
from typing import Any, NamedTuple

import redis

from redbike.keys import Keys
from redbike.wire import Packed, Wires

Text = str | bytes | float
_CLOCK_GOOD_FOR_S = 20.0
_SAME_KEPT = 256


def encode(text: str) -> bytes:
    """Text as it stands in Redis; what was not UTF-8 there comes back as the bytes that it was."""
    return text.encode("utf-8", "surrogateescape")


def decode(raw: bytes) -> str:
    """The inverse of `encode`: never fails; odd bytes become lone surrogates (PEP 383)."""
    return raw.decode("utf-8", "surrogateescape")


class Ended(StrEnum):
    """How ending a run went."""

    NOT_ASKED = "-"
    DONE = "ended"
    LATE = "late"  # the tag is gone or another's: nothing was changed
    CHANGED = "changed"  # another schedule by now: plan again


class Placement(NamedTuple):
    """What `place` is to do for one job."""

    jobid: str
    queue_key: str
    text: str | None  # schedule to register; None: leave schedule and timeline as they are
    step: str  # 'queue', 'at', 'stop' or 'bad'
    due_at: float | None = None
    once: bool = False  # doing it twice would run the job twice, or it may be under way already: its nonce is noted


class Look(NamedTuple):
    """What there is to see of the timeline."""

    now: float
    halted: bool
    due: list[bytes]  # ids of jobs that are due
    first: tuple[bytes, float] | None  # where none is due: id and due time of the first to come
    queued: int = 0
    troubles: tuple[tuple[str, str], ...] = ()  # queue key, error text


class Places(NamedTuple):
    """The queues that a turn may look at; made once and used for many turns."""

    spec: str  # numbers of the queues in the order to look, parted by blanks
    keys: tuple[str, ...]  # list, members, bell of each queue
    timeouts_ms: tuple[int, ...]  # of each queue
    places: int  # how many, repetitions included


NO_PLACES = Places("", (), (), 0)


class Ending(NamedTuple):
    """How a run ends: the plan, and the schedule text that it was made from."""

    jobid: str
    tag: str
    taken_from: str  # queue key
    goes_to: str  # queue key
    known_text: bytes | None
    step: str  # as in Placement, or 'die', 'quit', 'unset'
    due_at: float | None = None
    tries: int | None = None  # how often to try again before the step is taken; 0: it went well; None: not counted
    overdue: bool = False  # the run has outlived its timeout


class Overdue(NamedTuple):
    """A run that has outlived its timeout without being ended."""

    jobid: str
    tag: str
    queue_key: str
    text: bytes | None


class Turn(NamedTuple):
    """What `turn` did."""

    now: float
    ended: Ended
    changed_text: bytes | None
    halted: bool
    place: int | None  # index of the place that gave the job
    jobid: bytes | None
    text: bytes | None
    troubles: tuple[tuple[str, str], ...]  # queue key, error text


_ENDED = {ended.encode(): ended for ended in Ended}


class _Part(NamedTuple):
    """Arguments of a command, as they are and packed."""

    arguments: list[bytes]
    packed: Packed

    @classmethod
    def of(cls, arguments: list[bytes]) -> "_Part":
        return cls(arguments, Packed.of(arguments))


_NOTHING = _Part.of([])


class _Same(NamedTuple):
    """What is the same in every turn that looks at these places."""

    places: Places
    keys: _Part
    args: _Part


class _Script:
    """One file of lua/, and what a server calls it."""

    def __init__(self, name: str) -> None:
        self.source = resources.files("redbike").joinpath("lua", f"{name}.lua").read_text("utf-8")
        self.sha = ""

    def run(self, client: redis.Redis, keys: Sequence[bytes], args: Sequence[Text]) -> Any:
        """The script's reply, as redis-py gives it."""
        return self._loaded(client, lambda: client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args))

    def run_prepared(
        self,
        client: redis.Redis,
        wires: Wires,
        keys: _Part,
        more_keys: list[bytes],
        args: _Part,
        more_args: list[bytes],
    ) -> Any:
        """The same, with what is packed already left as it is."""
        wire = wires.get()
        if wire is None or not wire.claim():
            return self.run(client, [*keys.arguments, *more_keys], [*args.arguments, *more_args])
        count = keys.packed.arguments + len(more_keys)

        def call() -> object:
            head = Packed.of([b"EVALSHA", self.sha.encode(), b"%d" % count])
            return wire.call(head, keys.packed, Packed.of(more_keys), args.packed, Packed.of(more_args))

        try:
            return self._loaded(client, call)
        finally:
            wire.free()

    def _loaded(self, client: redis.Redis, call: Callable[[], object]) -> object:
        for _ in range(3):
            if self.sha:
                try:
                    return call()
                except redis.exceptions.NoScriptError:
                    pass
            # A restarted or flushed server has forgotten it.
            self.sha = self.load(client)
        return call()

    def load(self, client: redis.Redis) -> str:
        """Make the server know the script; its SHA-1, by which to call it."""
        sha: bytes | str = client.script_load(self.source)
        return sha if isinstance(sha, str) else sha.decode()


class Scripts:
    """The transitions of one prefix. Methods may be called from several threads."""

    def __init__(self, client: redis.Redis, keys: Keys, wires: Wires, index_running: bool = False) -> None:
        """`index_running`: keep the index by which a dispatcher finds runs that outlive their timeout."""
        self._client = client
        self._wires = wires
        self._same: dict[tuple[int, bool, int], _Same] = {}
        self._same_places: dict[tuple[str, str], _Part] = {}
        self._index_running = index_running
        self._keys = keys
        self._name = secrets.token_hex(8)
        self._place, self._promote = _Script("place"), _Script("promote")
        self._now, self._wake = _Script("now"), _Script("wake")
        self._turn, self._unset, self._lost = _Script("turn"), _Script("unset"), _Script("lost")
        self._clock: tuple[float, float] | None = None

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
        reply = self._place.run_prepared(self._client, self._wires, keys, [tag], _NOTHING, args)
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
            self._place.sha = self._place.load(self._client)
            pipeline = self._client.pipeline(transaction=False)
            for index in range(done, len(placements)):
                placement = placements[index]._replace(once=True)
                keys, tag, args = self._place_call(placement, None, f"{nonce}:{index:08d}")
                call = ("EVALSHA", self._place.sha, len(keys.arguments) + 1, *keys.arguments, tag, *args)
                pipeline.execute_command(*call)
            try:
                pipeline.execute()
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
        reply = self._promote.run_prepared(self._client, self._wires, _NOTHING, call_keys, _NOTHING, args)
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
            _Part.of(_encoded([*first, keys.running, keys.retries, *places.keys])),
            _Part.of([argument if isinstance(argument, bytes) else str(argument).encode() for argument in args]),
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
            ended=_ENDED[ended],
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
        parts = [parts for entry in found if len(parts := entry.split(b"\n", 2)) == 3]
        if len(parts) < len(found):
            self._client.zrem(self._keys.running, *(entry for entry in found if entry.count(b"\n") < 2))
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
    ) -> tuple[_Part, bytes, list[bytes]]:
        """The keys that are the same for every job of the queue, the run tag, and the arguments."""
        keys, queue_key, client_name = self._keys, placement.queue_key, self._client_name()
        same = self._same_places.get((queue_key, client_name))
        if same is None:
            first = (keys.schedules, keys.statuses, keys.timeline, keys.retries, keys.memo(client_name))
            same = _Part.of(_encoded([*first, *self.queue_triple(queue_key)]))
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
