"""The atomic steps: one typed method for each file in lua/, and nothing else changes the state of a job.

Replies become words and tuples (steps) and go no further. Every call may be repeated after its reply was lost.
"""

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import redis

from redbike.keys import Keys, tags_may_spell_queues
from redbike.nonces import CALLER_LENGTH
from redbike.script import PreparedCall, Script
from redbike.steps import NO_PLACES, Ending, Look, Overdue, Placement, Places, Queues, Turn, decode, encode
from redbike.wire import Wires

_CLOCK_GOOD_FOR_S = 2.0  # the server's clock may step
_CLOCK_GOOD_WHEN_IDLE_FOR_S = 20.0  # nothing waits for its time
_CLOCKS_PART_S = 0.5  # this machine slept, or its own clock was set
_MOST_REMEMBERED = 1024
_MOST_PLACED = 1000
_QUEUES_TO_WATCH = 16  # the one look at both takes keys in the square of this

K = TypeVar("K")
V = TypeVar("V")


class Outdated(Exception):
    """A call changed nothing: under the name of its caller, a later one was made.

    The reply to a call that was held up is read by nobody, so it means that the name is in use twice: somebody runs a
    copy of a process, such as that of a virtual machine's snapshot. A new name helps.
    """


class Scripts:
    """The transitions of one prefix. Methods may be called from several threads."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        wires: Wires,
        index_running: bool = False,
        *,
        memo_s: int = 60,
        is_cluster: bool = False,
    ) -> None:
        """`index_running`: keep the index by which a dispatcher finds runs that outlive their timeout.

        `memo_s`: for how long a call may be repeated, or be on its way, seconds.
        """
        self._client = client
        self._wires = wires
        self._keys = keys
        self._index_running = index_running
        self._memo_s = b"%d" % memo_s
        self._is_cluster = is_cluster
        self._common: list[bytes | None] = [*_encoded(keys.common())]
        self._place, self._promote, self._turn = Script("place"), Script("promote"), Script("turn")
        self._unset, self._lost = Script("unset"), Script("lost")
        self._now, self._wake, self._signal = Script("now"), Script("wake"), Script("signal")
        self._places_prepared: dict[str, PreparedCall] = {}
        self._turns_prepared: dict[tuple[Queues, bool, bool], PreparedCall] = {}
        self._triples: dict[str, list[bytes]] = {}
        self._clock: tuple[float, float, float] | None = None
        self._awaits_a_time = True  # as far as is known

    @property
    def is_unanswered(self) -> bool:
        """Whether the latest call of a turn or the like was sent, and its reply did not come."""
        return self._wires.is_unanswered

    def now(self) -> float:
        """The server's time, Unix seconds; asked for only where no reply has told it lately."""
        clock = self._clock
        if clock is not None:
            elapsed = time.monotonic() - clock[1]
            parted = abs(time.time() - clock[2] - elapsed)
            good_for_s = _CLOCK_GOOD_FOR_S if self._awaits_a_time else _CLOCK_GOOD_WHEN_IDLE_FOR_S
            if elapsed < good_for_s and parted < _CLOCKS_PART_S:
                return clock[0] + elapsed
        # A script and not the command TIME, because its key tells a Cluster which node is meant.
        return self._told(float(self._run(self._now, (), ())))

    def place(
        self,
        placement: Placement,
        now: float | None = None,
        nonce: str = "",
        only_lost: bool = False,
        repeated: bool = False,
    ) -> bool:
        """Register a schedule and carry out its plan; `only_lost`: if the job is in no place. Whether it was done.

        `repeated`: as for turn. Raises Outdated.
        """
        purpose = b"run" if placement.text is None else b"reset" if only_lost else b"register"
        queue_key = placement.queue_key if placement.step == "queue" or only_lost else ""
        prepared = self._places_prepared.get(queue_key) or self._prepare_place(queue_key)
        changing = [self._memo(nonce)]
        if queue_key:
            changing.append(encode(self._keys.tag(queue_key, placement.jobid)))
        keep_s = self._memo_s if placement.once or repeated else b""
        changing += (_optional(now), nonce.encode(), keep_s, _yes(repeated), purpose, *_of_a_job(placement))
        reply = prepared.run(self._client, self._wires, changing)
        return self._is_placed(reply, now)

    def _prepare_place(self, queue_key: str) -> PreparedCall:
        """A call of `place` for one job that may enter this queue; '' for one that does not."""
        triple = self.queue_triple(queue_key) if queue_key else ()
        call_keys = [*self._common, None, *_encoded(triple), *([None] if queue_key else [])]
        number = b"1" if queue_key else b""
        args = [None, encode(self._keys.wake), *[None] * 4, number or b"0", *[None] * 4, number]
        prepared = self._place.prepare([*call_keys, *args], len(call_keys))
        return _remember(self._places_prepared, queue_key, prepared)

    def place_many(
        self, placements: Sequence[Placement], nonce: str, now: float | None = None, repeated: bool = False
    ) -> None:
        """Register schedules of several jobs, of which none is there twice, in one step: all or, on an error, none.

        At most a thousand: Lua hands only so much to one command. Raises Outdated.
        """
        assert len(placements) <= _MOST_PLACED, len(placements)
        keys = self._keys
        queue_keys = list(dict.fromkeys(one.queue_key for one in placements if one.step == "queue"))
        number_of = {queue_key: b"%d" % number for number, queue_key in enumerate(queue_keys, 1)}
        call_keys = [*_encoded(keys.common()), self._memo(nonce)]
        for queue_key in queue_keys:
            call_keys += _encoded(self.queue_triple(queue_key))
        args = [_optional(now), encode(keys.wake), nonce.encode(), self._memo_s, _yes(repeated), b"register"]
        args.append(b"%d" % len(queue_keys))
        for one in placements:
            args += _of_a_job(one)
            if one.step == "queue":
                call_keys.append(encode(keys.tag(one.queue_key, one.jobid)))
                args.append(number_of[one.queue_key])
            else:
                args.append(b"")
        self._is_placed(self._place.run(self._client, self._wires, call_keys, args), now)

    def _is_placed(self, reply: bytes | None, now: float | None) -> bool:
        if reply == b"outdated":
            raise Outdated
        if reply is not None and now is None:
            second, microsecond = reply.split()
            self._told(int(second) + int(microsecond) / 1_000_000)
        return reply is not None

    def promote(
        self,
        due: Mapping[str, Sequence[bytes]],
        limit: int,
        now: float | None = None,
        bad: Sequence[bytes] = (),
        *,
        delays_s: Mapping[str, float] | None = None,
        extra: bool = False,
    ) -> Look:
        """Queue jobs, given by queue key, where they are due; then see what is due next.

        Those in `bad`, for which no queue is known, become `BAD`. `limit` bounds how many due ids are returned.
        `delays_s`: by queue key, after how many seconds jobs are due again that cannot enter; else one.
        `extra`: go by the extra runs, and not by the timeline.
        """
        keys = self._keys
        call_keys = [*_encoded(keys.common()), encode(keys.extra if extra else keys.timeline)]
        for queue_key in due:
            call_keys += _encoded(self.queue_triple(queue_key))
        for queue_key, jobids in due.items():
            prefix = encode(keys.tag(queue_key, ""))
            call_keys += [prefix + jobid for jobid in jobids]
        args = [_optional(now), b"%d" % limit, b"%d" % len(due)]
        for queue_key, jobids in due.items():
            args += (b"%d" % len(jobids), b"%g" % (delays_s or {}).get(queue_key, 1))
        args += bad
        look = Look.of(self._promote.run(self._client, self._wires, call_keys, args), list(due))
        self._awaits_a_time = bool(look.due or look.first)
        if now is None:
            self._told(look.now)
        return look

    def extra_due(self, limit: int) -> list[bytes]:
        """Ids of jobs with an extra run that is due."""
        found: Any = self._client.zrangebyscore(self._keys.extra, "-inf", self.now(), start=0, num=limit)
        return list(found)

    def peek(self, queue_keys: Sequence[str]) -> tuple[Look, bool, bool]:
        """What promote would see with nothing to do, for the price of a plain command or two: for an idle dispatcher.

        Also whether there is something in these queues, or a signal: then `wake` has to look closer; and whether there
        are extra runs.
        """
        timeline, extra = self._keys.timeline, self._keys.extra
        stirring_keys = (self._keys.control, *queue_keys)
        if len(queue_keys) > _QUEUES_TO_WATCH:
            stirring, has_timeline, has_extra = map(self._exists_any, (stirring_keys, (timeline,), (extra,)))
        else:
            # EXISTS counts a key as often as it is named: so one number tells of the three.
            weight = len(queue_keys) + 2
            count = self._exists(*stirring_keys, *[extra] * weight, *[timeline] * (2 * weight))
            stirring, has_timeline, has_extra = count % weight > 0, count >= 2 * weight, count // weight in (1, 3)
        first: Any = self._client.zrange(timeline, 0, 0, withscores=True) if has_timeline else []
        id_and_due = (first[0][0], float(first[0][1])) if first else None
        self._awaits_a_time = bool(first)
        return Look(self.now(), False, [], id_and_due), stirring, has_extra

    def wake(self, queue_keys: Sequence[str]) -> bool:
        """Wake idle workers for jobs that lie in these queues unannounced, or for a halt, which it returns."""
        call_keys: list[str] = []
        for queue_key in queue_keys:
            call_keys += (queue_key, self._keys.bell(queue_key))
        return bool(self._run(self._wake, call_keys, ()))

    def signal(self, name: str) -> None:
        """Set the control key, and have idle dispatchers notice at once."""
        self._run(self._signal, (), [encode(name), encode(self._keys.wake)])

    def anything(self, places: Places) -> tuple[bool, bool]:
        """Whether a turn could find something in these places, or a halt; and whether a dispatcher watches them all.

        One plain command: for an idle worker.
        """
        queue_keys = places.queues.keys[::3]
        if len(queue_keys) > _QUEUES_TO_WATCH:
            return bool(self._exists(self._keys.control, *queue_keys)), False
        watches = [self._keys.watch(queue_key) for queue_key in queue_keys]
        # EXISTS counts a key as often as it is named: so one number tells of both kinds of keys.
        weight = len(queue_keys) + 2
        count = self._exists(self._keys.control, *queue_keys, *(watches * weight))
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
        prepared = self._turns_prepared.get((places.queues, ending is not None, heed_halt))
        if prepared is None:
            prepared = self._prepare_turn(places.queues, ending is not None, heed_halt)
        changing = [self._memo(nonce)]
        if ending is not None:
            triple = self._triples.get(ending.goes_to)
            if triple is None:
                triple = _remember(self._triples, ending.goes_to, _encoded(self.queue_triple(ending.goes_to)))
            changing.append(encode(self._keys.tag(ending.taken_from, ending.jobid)))
            changing += triple
        changing += (places.spec, _optional(now), nonce.encode(), _yes(repeated))
        if ending is not None:
            tries = b"" if ending.tries is None else b"%d" % ending.tries
            changing += (encode(ending.jobid), encode(ending.tag), encode(ending.taken_from))
            changing += (ending.known_text or b"", ending.step.encode(), _optional(ending.due_at))
            began = b"overdue" if ending.overdue else b"" if ending.began_at is None else b"%d" % ending.began_at
            changing += (tries, b"%.3f" % random.uniform(0.5, 1.5) if tries else b"", began)
        turn = Turn.of(prepared.run(self._client, self._wires, changing), places)
        if now is not None:
            return turn._replace(now=now)
        self._told(turn.now)
        return turn

    def _prepare_turn(self, queues: Queues, ends: bool, heed_halt: bool) -> PreparedCall:
        call_keys: list[bytes | None] = [*self._common, None, *_encoded(queues.keys)]
        args: list[bytes | None] = [_yes(self._index_running), _yes(heed_halt), encode(self._keys.wake), None]
        cautions = [b"ask"] if self._is_cluster else []
        if tags_may_spell_queues(queues.keys[::3]):
            cautions.append(b"spell")
        args.append(b" ".join(cautions))
        args += (b"%d" % len(queues.timeouts_ms), *(b"%d" % ms for ms in queues.timeouts_ms))
        args += [None] * 3
        if ends:
            call_keys += [None] * 4
            args += [None] * 9
        prepared = self._turn.prepare([*call_keys, *args], len(call_keys))
        return _remember(self._turns_prepared, (queues, ends, heed_halt), prepared)

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
        call_keys: list[str] = []
        for queue_key in queue_keys:
            call_keys += (queue_key, keys.members(queue_key))
        args = [b"%d" % len(queue_keys)]
        for jobid, queue_key in jobs:
            call_keys.append(keys.tag(queue_key, jobid))
            args += (encode(jobid), b"%d" % number_of[queue_key])
        looked_at, *flat = self._run(self._lost, call_keys, args)
        found = [(decode(flat[i]), flat[i + 1]) for i in range(0, len(flat), 2)]
        # A call looks through so much and no more; the first job is always looked at.
        return found if looked_at == len(jobs) else found + self.lost(jobs[looked_at:])

    def unset(self, jobid: str, queue_key: str, nonce: str = "", repeated: bool = False, noted: bool = False) -> bool:
        """Forget a job; a run of it keeps its tag. True where the job was known. `repeated`: as for turn.

        `noted`: leave the nonce in the memo. Raises Outdated.
        """
        keys = self._keys
        args = [encode(jobid), nonce.encode(), self._memo_s if noted or repeated else b"", _yes(repeated)]

        def call(look_at: bytes) -> int:
            known: int | bytes = self._unset.run(self._client, self._wires, all_keys, [*args, look_at])
            if isinstance(known, bytes):
                raise Outdated
            return known

        all_keys = [*_encoded(keys.common()), self._memo(nonce), *_encoded((queue_key, keys.members(queue_key)))]
        known = call(b"")
        while known < 0:  # a long queue is looked through piece by piece
            known = call(b"%d" % -known)
        return bool(known)

    def forget_memo(self, nonce: str) -> None:
        """Remove what the caller with this nonce left in Redis against lost replies: it asks no more."""
        with suppress(redis.RedisError):  # it is no loss: the memo goes by itself
            self._client.delete(self._memo(nonce))

    def queue_triple(self, queue_key: str) -> tuple[str, str, str]:
        """List, members and bell of a queue, as the scripts want them."""
        return queue_key, self._keys.members(queue_key), self._keys.bell(queue_key)

    def _exists(self, *keys: str) -> int:
        # Not by the client's method, nor in a pipeline: with a Cluster, both ask a node that stands still twice, and
        # wait for the time limit each time.
        count: int = self._client.execute_command("EXISTS", *keys)
        return count

    def _exists_any(self, keys: Sequence[str]) -> bool:
        return self._exists(*keys) > 0

    def _memo(self, nonce: str) -> bytes:
        """Where a caller's nonce is noted."""
        return encode(self._keys.memo(nonce[:CALLER_LENGTH]))

    def _run(self, script: Script, keys: Iterable[str], args: Sequence[bytes]) -> Any:
        return script.run(self._client, self._wires, _encoded((*self._keys.common(), *keys)), args)

    def _told(self, server_time: float) -> float:
        self._clock = (server_time, time.monotonic(), time.time())
        return server_time


def _of_a_job(placement: Placement) -> tuple[bytes, ...]:
    """What `place` is told of a job, but for the number of its queue."""
    text = encode(placement.text or "")
    return encode(placement.jobid), text, placement.step.encode(), _optional(placement.due_at)


def _remember(known: dict[K, V], key: K, value: V) -> V:
    if len(known) >= _MOST_REMEMBERED:
        known.clear()
    known[key] = value
    return value


def _encoded(keys: Iterable[str]) -> list[bytes]:
    return [encode(key) for key in keys]


def _yes(flag: bool) -> bytes:
    return b"yes" if flag else b"no"


def _optional(number: float | None) -> bytes:
    return b"" if number is None else repr(float(number)).encode()
