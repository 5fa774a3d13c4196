"""The transitions: one typed method per Lua script. Nothing else changes the state of a job.

Every call may be repeated after its reply was lost. Replies become the tuples of messages.py.
"""

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress

import redis

from redbike.server.connection import Argument, Packed, ScriptConnection
from redbike.store.clock import ServerClock
from redbike.store.keys import Keys
from redbike.store.messages import NO_PLACES, Look, Placement, Places, RunEnd, Turn
from redbike.store.packing import optional as _optional
from redbike.store.packing import packed
from redbike.store.script import Script
from redbike.store.text import decode, encode

SCRIPTS = ("place", "promote", "turn", "unset", "lost", "now", "wake", "signal", "pause", "hold", "extend")
_YES = {True: b"yes", False: b"no"}
_MOST_PLACED = 1000


class Outdated(Exception):
    """A call changed nothing, because a later call was made under the same client id.

    Nobody reads the reply to a call that was delayed. So a process that reads this reply shares its client id with
    another process: one of them is a copy, such as the snapshot of a virtual machine. A new client id helps.
    """


class Store:
    """The transitions of one prefix. Threads may share an object."""

    def __init__(
        self,
        keys: Keys,
        connection: ScriptConnection,
        index_running: bool = False,
        *,
        memo_s: int = 60,
        is_cluster: bool = False,
        records: int = 0,
        process: str = "",
        wants_runs: bool = False,
        metrics: bool = False,
    ) -> None:
        """Call scripts over this connection. `metrics`: count the runs.

        `index_running`: keep the index with which a dispatcher finds runs that exceed their timeout. `memo_s`: the
        seconds in which a call may be repeated, or arrive late. `records`: how many runs the history holds. `process`:
        the name of this process, for the history. `wants_runs`: whether the worker wants payload and due time.
        """
        self.clock = ServerClock(self._ask_time)
        self._connection = connection
        self._keys = keys
        self._memo_s = b"%d" % memo_s
        self._is_cluster = is_cluster
        wants = b"run" if wants_runs else b""
        constant = (encode(keys.wake), wants, b"%d" % records, encode(process), _YES[metrics])
        self._turn_head = {heeds: Packed((_YES[index_running], _YES[heeds], *constant)) for heeds in (True, False)}
        self._common = Packed(keys.encoded_common())
        self._wake_channel = encode(keys.wake)
        self._scripts: dict[str, Script] = {}

    def read_scripts(self) -> None:
        """Read the files of all scripts now: an update of the package must not change them under a running loop."""
        for name in SCRIPTS:
            self._script(name)

    def _script(self, name: str) -> Script:
        """Return a script. Read its file before its first call."""
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = Script(name, self._connection, self._common)
        return script

    @property
    def is_unanswered(self) -> bool:
        """Whether the latest call was sent and got no reply."""
        return self._connection.is_unanswered

    def now(self) -> float:
        """Return the server's time, Unix seconds. Ask the server only if no recent reply has told the time."""
        return self.clock.now()

    def _ask_time(self) -> float:
        # Call a script and not the command TIME, because the keys of a script lead the client to a node of the Cluster.
        return float(self._script("now").run((), ()))

    def place(
        self,
        placements: Sequence[Placement],
        request_id: str = "",
        repeated: bool = False,
        *,
        noted: bool = False,
        only_lost: bool = False,
        only_paused: str | None = None,
        only_payload: bool = False,
        now: float | None = None,
    ) -> bool:
        """Register schedules of different jobs and carry out their plans, atomically. After an error, nothing is done.

        Place at most a thousand jobs, because Lua can pass only so many arguments to one command. `repeated`: as for
        turn. `noted`: leave the request id in the memo. `only_lost`: place only jobs that are in no place, and return
        True if there are any. `only_paused`: place the job only if this is its schedule. `only_payload`: change
        nothing but the payload of a registered job. Return False if nothing was changed, as for an extra run of a
        paused job. The jobs of one call all have a note, or none of them has a note. Raise Outdated.
        """
        assert len(placements) <= _MOST_PLACED, len(placements)
        first = placements[0]
        purpose = b"run" if first.text is None else b"reset" if only_lost else b"load" if first.note else b"register"
        purpose = b"carry" if only_payload else purpose if only_paused is None else b"resume"
        keys, jobs, queues = packed(placements, self._keys, all_queues=only_lost)
        args = [_optional(now), self._wake_channel, *self._request(request_id, repeated, noted)]
        args += (purpose, encode(only_paused or ""), b"%d" % queues)
        reply = self._script("place").run([self._keys.memo(request_id), *keys], [*args, *jobs])
        if reply == b"outdated":
            raise Outdated
        if reply is not None and now is None:
            second, microsecond = reply.split()
            self.clock.read(int(second) + int(microsecond) / 1_000_000)
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
        """Queue those of these jobs that are due, and return the next due jobs. `due` holds the jobs by queue key.

        Jobs in `bad`, which no queue can take, become `BAD`. `limit`: the most due ids in the reply. `delays_s`: the
        seconds, by queue key, after which jobs that cannot enter are due again (default: one second). `extra`: take the
        runs in P:extra, not the runs on the timeline.
        """
        keys = self._keys
        call_keys = [encode(keys.extra if extra else keys.timeline)]
        for queue_key in due:
            call_keys += self._keys.triple(queue_key)
        for queue_key, jobids in due.items():
            prefix = encode(keys.tag(queue_key, ""))
            call_keys += [prefix + jobid for jobid in jobids]
        args = [_optional(now), b"%d" % limit, b"%d" % len(due)]
        for queue_key, jobids in due.items():
            args += (b"%d" % len(jobids), b"%g" % (delays_s or {}).get(queue_key, 1))
        look = Look.of(self._script("promote").run(call_keys, [*args, *bad]), list(due))
        self.clock.is_awaited = bool(look.due or look.first)
        if now is None:
            self.clock.read(look.now)
        return look

    def turn(
        self,
        request_id: str,
        places: Places = NO_PLACES,
        run_end: RunEnd | None = None,
        *,
        heed_halt: bool = True,
        now: float | None = None,
        repeated: bool = False,
    ) -> Turn:
        """End a run and begin the next run, in one round trip. `request_id` becomes the run tag of the taken job.

        `repeated`: an earlier call with this id may have been carried out without a reply.
        """
        queues = places.queues
        keys: list[Argument] = [self._keys.memo(request_id), queues.packed_keys]
        args: list[Argument] = [self._turn_head[heed_halt], places.spec]
        args.append(b"ask " + queues.cautions if self._is_cluster else queues.cautions)
        args += (_optional(now), request_id.encode(), _YES[repeated], queues.number)
        if run_end is not None:
            keys += (encode(self._keys.tag(run_end.taken_from, run_end.jobid)), *self._keys.triple(run_end.goes_to))
            args += (encode(run_end.jobid), encode(run_end.tag), encode(run_end.taken_from), run_end.known_text or b"")
            args += (run_end.action.encode(), _optional(run_end.due_at))
            # A random factor spreads the retries of jobs that failed together.
            if run_end.later_s is not None:
                args.append(b"later %.3f" % run_end.later_s)
            elif run_end.tries:
                args.append(b"%d %.3f" % (run_end.tries, random.uniform(0.5, 1.5)))
            else:
                args.append(b"" if run_end.tries is None else b"0")
            began = b"" if run_end.began_at is None else b"%d" % run_end.began_at
            args.append(b"overdue" if run_end.overdue else began)
            # Rounded down, as the script rounds the end: a run does not end before its begin.
            since = b"" if run_end.since is None else b"%.3f" % (int(run_end.since * 1000) / 1000)
            error = encode(run_end.error) if run_end.error else b""
            args += (run_end.outcome.encode(), since, error, run_end.planned)
        args.append(queues.packed_timeouts)
        turn = Turn.of(self._script("turn").run(keys, args), places)
        if now is not None:
            return turn._replace(now=now)
        self.clock.read(turn.now)
        return turn

    def unset(
        self,
        jobid: str,
        queue_key: str,
        request_id: str = "",
        repeated: bool = False,
        *,
        noted: bool = False,
        note: str | None = None,
    ) -> bool:
        """Forget a job. Its present run keeps the run tag. Return True if the job was known.

        `note`: only if this is its note in P:loaded. `repeated`, `noted`: as for place. Raise Outdated.
        """
        keys = [self._keys.memo(request_id), encode(queue_key), encode(self._keys.members(queue_key))]
        if note is not None:
            keys.append(encode(self._keys.loaded))
        request, look_at = self._request(request_id, repeated, noted), b""
        while True:
            args = [encode(jobid), *request, look_at, *([] if note is None else [encode(note)])]
            known: int | bytes = self._script("unset").run(keys, args)
            if isinstance(known, bytes):
                raise Outdated
            if known >= 0:
                return bool(known)
            look_at = b"%d" % -known  # the script searches a long queue piece by piece

    def pause(
        self,
        jobid: str,
        queue_key: str,
        resumes_at: float | None,
        note: str,
        request_id: str = "",
        repeated: bool = False,
        *,
        noted: bool = False,
    ) -> str | None:
        """Pause a job: off the timeline, out of its queue. Return its schedule as registered now; None without one.

        `resumes_at`: when it resumes by itself, Unix seconds. `note`: JSON. `repeated`: as for turn. Raise Outdated.
        """
        keys = [self._keys.memo(request_id), encode(queue_key), encode(self._keys.members(queue_key))]
        args = [encode(jobid), *self._request(request_id, repeated, noted), _optional(resumes_at), encode(note)]
        reply: bytes | None = self._script("pause").run(keys, args)
        if reply == b"outdated":
            raise Outdated
        return None if reply is None else decode(reply)

    def hold(self, name: str, entry: str, request_id: str = "", repeated: bool = False, *, noted: bool = False) -> bool:
        """Hold the queue with this name, or the prefix (""). Without an `entry` (JSON), release it.

        Return True if it was held before. `repeated`: as for turn. Raise Outdated.
        """
        args = [encode(name), *self._request(request_id, repeated, noted), encode(entry), self._wake_channel]
        reply: int | bytes = self._script("hold").run([self._keys.memo(request_id)], args)
        if isinstance(reply, bytes):
            raise Outdated
        return bool(reply)

    def _request(self, request_id: str, repeated: bool, noted: bool) -> tuple[bytes, bytes, bytes]:
        """Return the arguments by which a script recognises a repeated or delayed call."""
        return request_id.encode(), self._memo_s if noted or repeated else b"", _YES[repeated]

    def extend(self, jobid: str, tag: str, queue_key: str, seconds: float) -> bool:
        """Let the lease of a run end in so many seconds. Return False if the lease is gone."""
        entry = encode(f"{tag}\n{queue_key}\n{jobid}")
        args = [tag.encode(), b"%d" % max(1, round(1000 * seconds)), entry]
        return bool(self._script("extend").run([encode(self._keys.tag(queue_key, jobid))], args))

    def wake(self, queue_keys: Sequence[str]) -> bool:
        """Wake idle workers if jobs are in these queues and no bell rang, or for a halt. Return True if halted."""
        keys = [encode(key) for queue_key in queue_keys for key in (queue_key, self._keys.bell(queue_key))]
        return bool(self._script("wake").run(keys, ()))

    def signal(self, name: str) -> None:
        """Set the control key, and wake idle dispatchers."""
        self._script("signal").run((), [encode(name), self._wake_channel])

    def lost(self, jobs: Sequence[tuple[str, str]]) -> list[tuple[str, bytes]]:
        """Return job id and status of registered jobs that are in no place, among these (job id, queue key) pairs."""
        number_of: dict[str, int] = {}
        keys, tags, args = [], [], []
        for jobid, queue_key in jobs:
            if queue_key not in number_of:
                number_of[queue_key] = len(number_of) + 1
                keys += [encode(queue_key), encode(self._keys.members(queue_key))]
            tags.append(encode(self._keys.tag(queue_key, jobid)))
            args += [encode(jobid), b"%d" % number_of[queue_key]]
        looked_at, *flat = self._script("lost").run([*keys, *tags], [b"%d" % len(number_of), *args])
        found = [(decode(flat[i]), flat[i + 1]) for i in range(0, len(flat), 2)]
        # One call looks at a limited number of entries, but always at the first job.
        return found if looked_at == len(jobs) else found + self.lost(jobs[looked_at:])

    def forget_memo(self, request_id: str) -> None:
        """Remove the memo of the client that made this request id. The client makes no further calls."""
        with suppress(redis.RedisError):  # no loss: the memo expires
            self._connection.client.delete(self._keys.memo(request_id))
