"""The Lua scripts one by one: what each says of itself, what it makes of a state, and what a second call does to it."""

import re
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import pytest
import redis
from conftest import Server
from proxy import Loss, Proxy
from redis.backoff import NoBackoff
from redis.retry import Retry
from state import bring_about, memos, state

from redbike.keys import Keys
from redbike.nonces import CALLER_LENGTH
from redbike.scripts import Outdated, Scripts
from redbike.steps import NO_PLACES, Ended, Ending, Placement, Places, Queues, Turn, encode
from redbike.wire import Wires

NOW = 1_700_000_000.25
SECOND = 1_700_000_000
JOB, OTHER = "x:A", "y:A"
ONE_RUN_S = 10
NAMES = ["lost", "now", "place", "promote", "signal", "turn", "unset", "wake"]

State = dict[str, Any]


class Bench:
    """The scripts on one prefix, and what they are given as one thinks of it."""

    def __init__(self, client: redis.Redis, prefix: str, wired: bool = True, index_running: bool = False) -> None:
        self.client, self.prefix = client, prefix
        self.keys = Keys(prefix)
        self.scripts = Scripts(client, self.keys, Wires(client if wired else None), index_running)
        self.queue = self.keys.queue("work-A")

    def state(self) -> State:
        return state(self.client, self.prefix)

    def state_by_the_server(self) -> State:
        """The state with SECOND in place of the server's present time in statuses."""
        found = self.state()
        time: Any = self.client.time()
        for job, status in found.get("-statuses", {}).items():
            event, second = status.split(":")
            if abs(int(second) - time[0]) < 3:
                found["-statuses"][job] = f"{event}:{SECOND}"
        return found

    def clear(self) -> None:
        for key in self.client.scan_iter(count=1000):
            if key.startswith(self.prefix.encode()):
                self.client.delete(key)

    def given(self, before: State) -> None:
        bring_about(self.client, self.prefix, before)

    def places(self, order: str = "A") -> Places:
        names = list(dict.fromkeys(order))
        flat = [key for name in names for key in self.scripts.queue_triple(self.keys.queue(f"work-{name}"))]
        spec = bytes(49 + names.index(name) for name in order)
        return Places(spec, Queues(tuple(flat), (1000 * ONE_RUN_S,) * len(names)), len(order))

    def place(self, step: str, due_at: float | None = None, text: str | None = "TEXT", **kwargs: Any) -> None:
        once = kwargs.pop("once", False)
        self.scripts.place(Placement(JOB, self.queue, text, step, due_at, once), now=NOW, **kwargs)

    def take(self, nonce: str = "tag", order: str = "A", **kwargs: Any) -> Turn:
        return self.scripts.turn(nonce, self.places(order), now=kwargs.pop("now", NOW), **kwargs)

    def end(self, step: str, due_at: float | None = None, known: str | None = "TEXT", **kwargs: Any) -> Turn:
        places, text = kwargs.pop("places", NO_PLACES), None if known is None else known.encode()
        tries, overdue = kwargs.pop("tries", None), kwargs.pop("overdue", False)
        ending = Ending(JOB, "tag", self.queue, self.queue, text, step, due_at, tries, overdue)
        return self.scripts.turn(kwargs.pop("nonce", "next"), places, ending, now=NOW, **kwargs)


@pytest.fixture
def bench(server: Server, prefix: str) -> Iterator[Bench]:
    with server.client() as client:
        bench = Bench(client, prefix)
        yield bench
        bench.clear()


# What a script says of itself


def source(name: str) -> tuple[str, str]:
    """Header and body of a script."""
    lines = resources.files("redbike").joinpath("lua", f"{name}.lua").read_text("utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(line[3:] for line in lines[:first]), "\n".join(lines[first:])


def section(header: str, begin: str, end: str) -> str:
    found = re.search(rf"^{begin}\b(.*?)(?=^{end}|\Z)", header, re.DOTALL | re.MULTILINE)
    assert found, f"the header has no {begin}"
    return found[1]


def numbered(text: str) -> dict[int, str]:
    """Entries such as `1 schedules  2 statuses`, by number, up to what there may be any number of."""
    fixed = text.partition("  then ")[0]
    return {int(number): what for number, what in re.findall(r"(?:^|  )(\d+) (.+?)(?=  \d|$)", fixed, re.MULTILINE)}


def test_every_script_is_tested() -> None:
    """The folder of scripts holds those that are compared here, and no other."""
    folder = resources.files("redbike").joinpath("lua")
    assert sorted(file.name for file in folder.iterdir()) == [
        "_common.lua",
        "_keys.lua",
        *(f"{name}.lua" for name in NAMES),
    ]


def test_head_names_the_keys() -> None:
    """The KEYS that the shared head lists are those that every call gets first, in variables named like them."""
    header, body = source("_keys")
    listed = numbered(section(header, "KEYS", "ARGV").partition("These")[0])
    assert list(listed.values()) == list(Keys("P").common())
    [(names, last)] = re.findall(r"^local ([\w, ]+) = unpack\(KEYS, 1, (\d+)\)$", body, re.MULTILINE)
    assert names.split(", ") == [re.split("[-:]", key)[1] for key in listed.values()]
    assert int(last) == len(listed)


@pytest.mark.parametrize("name", NAMES)
def test_header_names_the_keys(name: str) -> None:
    """The KEYS that a script's header lists behind those of the head are those that its body reads, in this order."""
    header, body = source(name)
    section_of_keys = section(header, "KEYS", "ARGV")
    common = len(Keys("P").common())
    assert section_of_keys.startswith(f"  1 to {common}: see _keys")
    fixed = section_of_keys.partition("  then ")[0]
    listed = [int(number) for number in re.findall(r"  (\d+) \w", fixed) if int(number) > 1]
    unpacked = re.findall(r"^local ([\w, ]+) = (?:unpack\(KEYS, 9, \d+\)|KEYS\[9\])$", body, re.MULTILINE)
    read = unpacked[0].split(", ") if unpacked else []
    assert listed == list(range(common + 1, common + 1 + len(read)))
    for variable in read:
        assert len(re.findall(rf"\b{variable}\b", body)) > 1, f"{variable} is read and not used"


@pytest.mark.parametrize("name", NAMES)
def test_header_names_the_arguments(name: str) -> None:
    """The ARGV that a script's header lists are those that its body reads."""
    header, body = source(name)
    listed = set(numbered(section(header, "ARGV", "Returns")))
    assert listed == set(range(1, len(listed) + 1))
    [*unpacked] = re.findall(r"unpack\(ARGV, 1, (\d+)\)", body)
    read = {int(number) for number in re.findall(r"ARGV\[(\d+)\]", body)}
    assert read.union(*(range(1, int(last) + 1) for last in unpacked)) == listed


def test_header_names_the_last_arguments_of_turn() -> None:
    """What the header of turn lists behind the timeouts of the queues is what its body reads there."""
    header, body = source("turn")
    rest = section(header, "ARGV", "Returns").partition("milliseconds")[2]
    listed = [int(number) for number in re.findall(r"(?:^ +|  |then )([1-9]\d?) ", rest, re.MULTILINE)]
    [(names, first, last)] = re.findall(r"local ([\w, ]+) = unpack\(ARGV, rest \+ (\d+), rest \+ (\d+)\)", body)
    unpacked = range(int(first), int(last) + 1)
    assert len(names.split(", ")) == len(unpacked)
    single = {int(number) for number in re.findall(r"ARGV\[rest \+ (\d+)\]", body)}
    assert listed == sorted(single | set(unpacked))
    assert listed == list(range(1, int(last) + 1))


def test_header_names_the_returns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of what turn and promote return has as many parts as their headers say."""
    replies: list[bytes] = []
    execute: Callable[..., Any] = bench.client.execute_command

    def noting(*command: Any, **options: Any) -> Any:
        replies.append(execute(*command, **options))
        return replies[-1]

    monkeypatch.setattr(bench.client, "execute_command", noting)
    bench.given(QUEUED | {"-timeline": {OTHER: 1.0}})
    unwired = Bench(bench.client, bench.prefix, wired=False)
    unwired.take()
    header, _ = source("turn")
    assert len(replies[-1].split(b"\n")[0].split()) == len(numbered(section(header, "Returns", "@"))) == 7
    unwired.scripts.promote({bench.queue: [OTHER.encode()]}, 10)
    header, _ = source("promote")
    first = numbered(section(header, "Returns", "@"))[1]
    assert len(replies[-1].split(b"\n")[0].split()) == len(first.split(";")) == 4


def keys_of(client: redis.Redis, command: list[str]) -> set[str]:
    """The keys of a command, as the server sees it."""
    try:
        keys: Any = client.execute_command("COMMAND GETKEYS", *command)
    except redis.ResponseError:  # it has none
        return set()
    return {key if isinstance(key, str) else key.decode() for key in keys}


def role(key: str) -> str:
    """What a key is for, whosever it is."""
    name = re.sub(r"^\{?test\w+?\}?(?=[-:])", "", key)
    name = re.sub(r"^:(bell|memo|watch):.*", r":\1", name)
    name = re.sub(r"^-work-[AB]-(?!members$).*", "run tag", name)
    return re.sub(r"^-work-[AB]", "queue", name)


def full_house(bench: Bench) -> None:
    """Call every script in every way, with work to do in each."""
    for job in (JOB, OTHER, "z:B"):
        queue = bench.keys.queue("work-" + job[-1])
        for number, step in enumerate(("queue", "queue", "at", "stop", "bad", "queue")):
            placement = Placement(job, queue, "TEXT", step, NOW if step == "at" else None, once=True)
            for repeated in (False, True):
                bench.scripts.place(placement, now=NOW, nonce=f"{job}{number}", repeated=repeated)
    assert bench.take(order="AB").jobid == JOB.encode()
    bench.place("queue")
    bench.client.lpush(bench.queue, JOB)
    bench.take("second", order="BA")
    bench.take("third", order="AB")
    bench.client.zadd(bench.keys.timeline, {JOB: 1, OTHER: 1, "z:B": 1, "w:A": 1, "none": 1})
    in_a = [job.encode() for job in (JOB, OTHER, "w:A")]
    bench.scripts.promote({bench.queue: in_a, bench.keys.queue("work-B"): [b"z:B"]}, 10, NOW, [b"none"])
    bench.scripts.promote({}, 10, NOW)
    for step in ("stop", "queue", "at", "bad", "die", "quit", "unset"):
        bench.client.set(bench.keys.tag(bench.queue, JOB), "tag")
        for tries in (None, 0, 2):
            for repeated in (False, True):
                bench.end(step, NOW, places=bench.places("AB"), tries=tries, repeated=repeated, nonce=f"{step}{tries}")
        bench.place("queue")
    bench.given({"-schedules": {"lost:A": "TEXT"}, "-work-A-members": {"lost:A"}})
    bench.scripts.lost([(JOB, bench.queue), ("lost:A", bench.queue)])
    Bench(bench.client, bench.prefix).scripts.now()
    for control in ("HALT", "on"):
        bench.client.set(bench.keys.control, control)
        bench.scripts.wake([bench.queue])
    bench.scripts.signal("HALT")
    bench.client.delete(bench.keys.control)
    bench.scripts.unset(JOB, bench.queue, "nonce", repeated=True)
    bench.given({"-work-A": [JOB], ":holes": {f"{bench.queue}\n{JOB}": "1"}, "-timeline": {OTHER: NOW + 99}})
    bench.take("fourth")
    bench.client.set(bench.keys.tag(bench.queue, OTHER), "tag")
    bench.scripts.place(Placement(OTHER, bench.queue, None, "queue"), now=NOW)
    bench.scripts.promote({bench.queue: [OTHER.encode()]}, 10, NOW, extra=True)
    bench.scripts.extra_due(10)


def test_only_declared_keys_are_touched(bench: Bench, server: Server) -> None:
    """Every key that a script touches is declared in KEYS, but for the run tag of a job that `turn` itself takes; and
    every key that it declares beside those that all scripts get it touches."""
    bench = Bench(bench.client, bench.prefix, index_running=True)
    full_house(bench)  # from here on, the server knows the scripts
    bench.clear()
    with server.client() as watcher, watcher.monitor() as monitor:
        full_house(bench)
        bench.client.echo("over")
        seen: list[Any] = [monitor.next_command()]
        while not seen[-1]["command"].startswith("ECHO"):
            seen.append(monitor.next_command())
    declared: list[str] = []
    declared_roles: dict[str, set[str]] = {}
    touched_roles: dict[str, set[str]] = {}
    for entry in seen:
        command = entry["command"].split(" ")
        if command[0] == "EVALSHA":
            script, declared = command[1], command[3 : 3 + int(command[2])]
            declared_roles.setdefault(script, set()).update(map(role, declared))
            touched_roles.setdefault(script, set())
        elif entry["client_type"] == "lua":
            touched = keys_of(bench.client, command)
            touched_roles[script].update(map(role, touched))
            assert all(role(key) == "run tag" for key in touched.difference(declared)), command
    assert len(declared_roles) == len(NAMES)
    undeclared = [touched_roles[script] - declared_roles[script] for script in declared_roles]
    common = {key.removeprefix("P") for key in Keys("P").common()}
    untouched = [declared_roles[script] - touched_roles[script] - common for script in declared_roles]
    assert [roles for roles in undeclared if roles] == []
    assert [roles for roles in untouched if roles] == []
    assert set().union(*touched_roles.values()) >= common


# place: before, what is asked for, after


def statuses(**events: str) -> dict[str, str]:
    return {f"{job}:A": f"{event}:{SECOND}" for job, event in events.items()}


REST: State = {"-schedules": {JOB: "OLD"}, "-statuses": {JOB: "STP:1"}}
QUEUED: State = {
    "-schedules": {JOB: "TEXT"},
    "-statuses": statuses(x="ENQ"),
    "-work-A": [JOB],
    "-work-A-members": {JOB},
    ":bell:work-A": ["1"],
}
TIMED: State = {"-schedules": {JOB: "TEXT"}, "-statuses": statuses(x="TML"), "-timeline": {JOB: 5.5}}
STOPPED: State = {"-schedules": {JOB: "TEXT"}, "-statuses": statuses(x="STP")}
BAD: State = {"-schedules": {JOB: "TEXT"}, "-statuses": statuses(x="BAD")}
RUNNING: State = {"-schedules": {JOB: "TEXT"}, "-statuses": statuses(x="WRK"), "-work-A-x:A": "tag"}


def queue_of(*jobs: str) -> State:
    """A queue in which the first job is the oldest."""
    return {"-work-A": list(reversed(jobs)), "-work-A-members": set(jobs)}


@pytest.mark.parametrize(
    ("before", "step", "due_at", "after"),
    [
        ({}, "queue", None, QUEUED),
        ({}, "at", 5.5, TIMED),
        ({}, "stop", None, STOPPED),
        ({}, "bad", None, BAD),
        (REST, "queue", None, QUEUED),
        (REST | {"-timeline": {JOB: 9.0}}, "queue", None, QUEUED),
        (REST | {"-timeline": {JOB: 9.0}}, "at", 5.5, TIMED),
        (REST | {"-timeline": {JOB: 9.0}}, "stop", None, STOPPED),
        (REST | {"-timeline": {JOB: 9.0}}, "bad", None, BAD),
        (QUEUED, "queue", None, QUEUED),
        (QUEUED | {":bell:work-A": ["1"]}, "stop", None, QUEUED | STOPPED),
        (QUEUED, "at", 5.5, QUEUED | TIMED),
        (REST | {"-work-A-members": {JOB}}, "queue", None, QUEUED),
        (REST | queue_of(OTHER), "queue", None, QUEUED | queue_of(OTHER, JOB)),
        (RUNNING, "queue", None, TIMED | {"-timeline": {JOB: SECOND}, "-work-A-x:A": "tag"}),
        (RUNNING, "at", 5.5, TIMED | {"-work-A-x:A": "tag"}),
        (RUNNING, "stop", None, STOPPED | {"-work-A-x:A": "tag"}),
    ],
)
def test_place(bench: Bench, before: State, step: str, due_at: float | None, after: State) -> None:
    """place registers the schedule and carries out its plan, and the whole state is then as it should be; twice is the
    same as once."""
    bench.given(before)
    bench.place(step, due_at)
    assert bench.state() == after
    bench.place(step, due_at)
    assert bench.state() == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (REST, REST | queue_of(JOB) | {"-statuses": statuses(x="ENQ"), ":bell:work-A": ["1"]}),
        (
            REST | {"-timeline": {JOB: 9.0}},
            REST | queue_of(JOB) | {"-timeline": {JOB: 9.0}, "-statuses": statuses(x="ENQ"), ":bell:work-A": ["1"]},
        ),
        (RUNNING, RUNNING | {"-timeline": {JOB: SECOND}, "-statuses": statuses(x="TML")}),
    ],
)
def test_place_by_hand(bench: Bench, before: State, after: State) -> None:
    """place without a schedule to register leaves the schedule and the timeline entry as they are."""
    bench.given(before)
    bench.place("queue", text=None)
    assert bench.state() == after


def test_place_after_a_lost_reply(bench: Bench) -> None:
    """place of a one-off whose reply was lost does not queue the job again when that has run by now; another call with
    another nonce does."""
    bench.place("queue", once=True, nonce="a")
    other = Bench(bench.client, bench.prefix)
    assert other.take().jobid == JOB.encode()
    other.end("stop")
    rest = bench.state()
    bench.place("queue", once=True, nonce="a", repeated=True)
    assert bench.state() == rest
    with pytest.raises(Outdated):  # not a repetition: another process has the same name
        bench.place("queue", once=True, nonce="a")
    assert bench.state() == rest
    bench.place("queue", once=True, nonce="b")
    assert bench.state() == QUEUED


def rows(bench: Bench) -> list[Placement]:
    """One of each kind, in two queues."""
    other_queue = bench.keys.queue("work-B")
    return [
        Placement("0:A", bench.queue, "CONTINUE", "queue"),
        Placement("1:A", bench.queue, "HOURLY", "at", NOW + 9),
        Placement("2:B", other_queue, "CONTINUE", "queue"),
        Placement("3:A", bench.queue, "STOP", "stop"),
        Placement("4:A", bench.queue, "?", "bad"),
        Placement("5:A", bench.queue, "CONTINUE", "queue"),
        Placement("6:A", bench.queue, "DAILY", "at", NOW - 9),
    ]


def test_place_many_is_place_for_each(bench: Bench) -> None:
    """Many jobs in one step are placed as one after the other, known ones and running ones too."""
    running: State = {"-work-A-5:A": "tag"}
    before: State = running | {"-timeline": {"0:A": 1.0, "3:A": 2.0, "6:A": NOW + 99}, ":retries": {"1:A": "2"}}
    bench.given(before)
    for row in rows(bench):
        bench.scripts.place(row, NOW)
    one_by_one = bench.state()
    bench.clear()
    bench.given(before)
    bench.scripts.place_many(rows(bench), "a", NOW)
    assert bench.state() == one_by_one
    assert one_by_one["-work-A"] == ["0:A"]
    assert one_by_one["-timeline"] == {"1:A": NOW + 9, "5:A": SECOND, "6:A": NOW - 9}


@pytest.mark.parametrize("spoiled", ["-work-B", "-work-B-members", "-timeline", "-schedules"])
def test_place_many_places_all_or_none(bench: Bench, spoiled: str) -> None:
    """A key of a wrong type refuses the whole call, before anything is changed."""
    bench.given({spoiled: "of a wrong type"})
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        bench.scripts.place_many(rows(bench), "a")
    assert bench.state() == {spoiled: "of a wrong type"}


@pytest.mark.parametrize("spoiled", ["-work-A", "-work-A-members"])
def test_place_into_a_spoiled_queue(bench: Bench, spoiled: str) -> None:
    """A queue of a wrong type takes no job, and says so; nothing of the job is left."""
    bench.given({spoiled: "of a wrong type"})
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        bench.place("queue")
    assert bench.state() == {spoiled: "of a wrong type"}


def test_place_many_is_not_repeated(bench: Bench) -> None:
    """A call for many jobs that was carried out changes nothing when it is repeated, whatever came of them since."""
    bench.scripts.place_many(rows(bench), "a")
    bench.scripts.unset("0:A", bench.queue)
    bench.take()
    later = bench.state()
    bench.scripts.place_many(rows(bench), "a", repeated=True)
    assert bench.state() == later


@pytest.mark.parametrize(
    ("due_at", "others_due_at", "called"),
    [(NOW + 0.5, None, True), (NOW - 9, NOW + 9, True), (NOW + 0.5, NOW, False), (NOW + 9, None, False)],
)
def test_place_wakes_the_dispatcher(bench: Bench, due_at: float, others_due_at: float | None, called: bool) -> None:
    """place calls for a dispatcher where the job is due earlier than one that sleeps can know, and only there."""
    if others_due_at is not None:
        bench.given({"-timeline": {OTHER: others_due_at}})
    with bench.client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(bench.keys.wake)
        pubsub.get_message(timeout=1)
        bench.place("at", due_at)
        message = pubsub.get_message(timeout=1 if called else 0)
    assert (message is not None) == called


@pytest.mark.parametrize("wired", [True, False])
def test_a_call_without_an_answer_is_remembered(server: Server, prefix: str, wired: bool) -> None:
    """A turn whose reply was lost counts as unanswered until another is answered, with a wire or without one: a worker
    that is told to stop then does not leave behind the job that it may have been given."""
    with Proxy(server.socket) as proxy:
        client = redis.Redis(unix_socket_path=proxy.socket, retry=Retry(NoBackoff(), 0))
        bench = Bench(client, prefix, wired)
        bench.take()
        assert not bench.scripts.is_unanswered
        proxy.cut_once(0, Loss.REPLY)
        with pytest.raises(redis.ConnectionError):
            bench.take()
        assert bench.scripts.is_unanswered
        bench.take()
        assert not bench.scripts.is_unanswered
        client.close()


@pytest.mark.parametrize("order", ["A", "BA"])
def test_a_spoiled_timeline_keeps_jobs_in_their_queue(bench: Bench, order: str) -> None:
    """A turn that would have to put a job on a timeline of a wrong type takes none out of its queue."""
    before = queue_of(JOB) | {"-work-A-x:A": "tag", "-timeline": "of a wrong type"}
    bench.given(before)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        bench.take(order=order)
    assert bench.state() == before


# promote


def promote(bench: Bench, *jobs: str, limit: int = 10) -> Any:
    return bench.scripts.promote({bench.queue: [job.encode() for job in jobs]} if jobs else {}, limit, NOW)


@pytest.mark.parametrize("forbidden", ["lpush", "sadd"])
def test_promote_puts_back_what_no_queue_takes(server: Server, bench: Bench, forbidden: str) -> None:
    """Where a user may not put jobs into a queue, promote leaves them on the timeline, and reports it."""
    user = f"user-{bench.prefix}"
    bench.client.acl_setuser(user, enabled=True, nopass=True, keys=["*"], commands=["+@all", f"-{forbidden}"])
    try:
        bench.given(TIMED | {"-timeline": {JOB: 1.0}})
        with redis.Redis(unix_socket_path=server.socket, username=user, password="any") as client:
            look = Bench(client, bench.prefix, wired=False).scripts.promote({bench.queue: [JOB.encode()]}, 10, NOW)
        assert [queue for queue, _ in look.troubles] == [bench.queue]
        assert bench.state() == TIMED | {"-timeline": {JOB: NOW + 1}}
    finally:
        bench.client.acl_deluser(user)


@pytest.mark.parametrize("due", [True, False])
@pytest.mark.parametrize("ids", [[], [b""], [b"a"], [b"a", b"b"], [b"", b"b"], [b"a\nb"], [b"a\n", b"\nb", b""]])
def test_promote_tells_any_ids(bench: Bench, ids: list[bytes], due: bool) -> None:
    """promote tells which jobs are due, or the first to come, also where ids are empty or hold line breaks."""
    for number, one in enumerate(ids):
        bench.client.zadd(bench.keys.timeline, {one: NOW + number - (len(ids) if due else -1)})
    look = bench.scripts.promote({}, 10, NOW)
    assert look.due == (ids if due else [])
    assert look.first == (None if due or not ids else (ids[0], NOW + 1))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TIMED, QUEUED),
        (TIMED | {"-timeline": {JOB: NOW}}, QUEUED),
        (TIMED | {"-timeline": {JOB: -7.0}}, QUEUED),
        (TIMED | {"-timeline": {JOB: NOW + 0.5}}, TIMED | {"-timeline": {JOB: NOW + 0.5}}),
        (STOPPED, STOPPED),
        (QUEUED | {"-timeline": {JOB: 1.0}}, QUEUED),
        (QUEUED | TIMED, QUEUED | {"-statuses": statuses(x="TML")}),
        (TIMED | {"-work-A-members": {JOB}}, QUEUED),
        (TIMED | {"-work-A-x:A": "tag"}, TIMED | {"-work-A-x:A": "tag", "-timeline": {JOB: SECOND + 1}}),
        (TIMED | queue_of(OTHER) | {":bell:work-A": ["1"]}, QUEUED | queue_of(OTHER, JOB)),
        ({"-timeline": {JOB: 1.0}}, queue_of(JOB) | {"-statuses": statuses(x="ENQ"), ":bell:work-A": ["1"]}),
    ],
)
def test_promote(bench: Bench, before: State, after: State) -> None:
    """promote queues a job that is still due, once, whatever the dispatcher had seen; twice is the same as once."""
    bench.given(before)
    promote(bench, JOB)
    assert bench.state_by_the_server() == after
    promote(bench, JOB)
    assert bench.state_by_the_server() == after


def test_promote_without_a_queue(bench: Bench) -> None:
    """promote makes a due job BAD for which no queue can be told."""
    bench.given(TIMED)
    bench.scripts.promote({}, 10, NOW, [JOB.encode()])
    assert bench.state_by_the_server() == BAD


def test_promote_tells_what_is_next(bench: Bench) -> None:
    """promote tells the ids due next, as many as were asked for; where there are none, the first to come; and how many
    it queued."""
    bench.given({"-timeline": {"a:A": 1.0, "b:A": 2.0, "c:A": 3.0, "d:A": NOW + 7}})
    look = promote(bench, limit=2)
    assert (look.due, look.first, look.queued, look.halted, look.now) == ([b"a:A", b"b:A"], None, 0, False, NOW)
    look = promote(bench, "a:A", "b:A", limit=2)
    assert (look.due, look.first, look.queued) == ([b"c:A"], None, 2)
    bench.client.set(bench.keys.control, "HALT")
    look = promote(bench, "c:A", "gone:A")
    assert (look.due, look.first, look.halted) == ([], (b"d:A", NOW + 7), True)
    assert bench.state()["-work-A"] == ["c:A", "b:A", "a:A"]


def test_promote_lets_go_of_a_tag_without_expiry(bench: Bench) -> None:
    """promote gives a run tag that would never expire an end, so that it cannot hold the job for ever."""
    bench.given(TIMED | {"-work-A-x:A": "tag"})
    promote(bench, JOB)
    assert 0 < bench.client.pttl(bench.keys.tag(bench.queue, JOB)) <= 10_000


# turn: taking


@pytest.mark.parametrize(
    ("queues", "order", "taken", "place"),
    [
        ({"A": [JOB]}, "A", JOB, 0),
        ({"A": [JOB, OTHER]}, "A", JOB, 0),
        ({"B": ["z:B"]}, "A", None, None),
        ({"B": ["z:B"]}, "AB", "z:B", 1),
        ({"A": [JOB], "B": ["z:B"]}, "BAA", "z:B", 0),
        ({"A": [JOB]}, "BAA", JOB, 1),
        ({}, "AAB", None, None),
    ],
)
def test_take(bench: Bench, queues: dict[str, list[str]], order: str, taken: str | None, place: int | None) -> None:
    """turn takes the oldest job of the first place that has one: out of the list and the members, tagged, and WRK."""
    before: State = {}
    for name, jobs in queues.items():
        before |= {f"-work-{name}": list(reversed(jobs)), f"-work-{name}-members": set(jobs)}
    bench.given(before)
    turn = bench.take(order=order)
    assert (turn.jobid, turn.place) == (taken and taken.encode(), place)
    assert (turn.ended, turn.changed_text, turn.text, turn.halted, turn.now) == (
        Ended.NOT_ASKED,
        None,
        None,
        False,
        NOW,
    )
    expected: State = {}
    for name, jobs in queues.items():
        rest = [job for job in jobs if job != taken]
        if rest:
            expected |= {f"-work-{name}": list(reversed(rest)), f"-work-{name}-members": set(rest)}
            if taken in jobs:
                expected[f":bell:work-{name}"] = ["1"]
    if taken is not None:
        expected |= {"-statuses": {taken: f"WRK:{SECOND}"}, f"-work-{taken[-1]}-{taken}": "tag"}
        ttl_ms: Any = bench.client.pttl(bench.keys.tag(bench.keys.queue("work-" + taken[-1]), taken))
        assert 1000 * ONE_RUN_S - 900 < ttl_ms <= 1000 * ONE_RUN_S
    assert bench.state() == expected


def test_take_gives_the_schedule(bench: Bench) -> None:
    """turn tells the schedule text of the job it took, in the bytes in which it stands there."""
    bench.given(queue_of(JOB))
    bench.client.hset(bench.keys.schedules, JOB, b"\xff")
    assert bench.take().text == b"\xff"


@pytest.mark.parametrize(("heed_halt", "taken"), [(True, None), (False, JOB.encode())])
def test_take_from_a_halted_prefix(bench: Bench, heed_halt: bool, taken: bytes | None) -> None:
    """turn takes nothing from a halted prefix, unless it is told not to look."""
    bench.given(queue_of(JOB) | {"-control": "HALT"})
    turn = bench.take(heed_halt=heed_halt)
    assert (turn.jobid, turn.halted) == (taken, heed_halt)


def test_take_passes_over_a_running_job(bench: Bench) -> None:
    """turn does not start a queued job that runs: it is due at once after that run, and the next job is taken."""
    bench.given(RUNNING | queue_of(JOB, OTHER))
    turn = bench.take("mine", order="AA")
    assert (turn.jobid, turn.place) == (OTHER.encode(), 1)
    assert bench.state() == RUNNING | {
        "-timeline": {JOB: SECOND},
        "-statuses": statuses(x="TML", y="WRK"),
        "-work-A-y:A": "mine",
    }


# turn: ending


@pytest.mark.parametrize(
    ("meanwhile", "step", "due_at", "after"),
    [
        ({}, "queue", None, QUEUED),
        ({}, "at", 5.5, TIMED),
        ({}, "stop", None, STOPPED),
        ({}, "bad", None, BAD),
        ({}, "die", None, STOPPED | {"-statuses": statuses(x="DIE")}),
        ({}, "quit", None, STOPPED | {"-schedules": {JOB: "STOP"}}),
        ({}, "unset", None, {}),
        ({"-timeline": {JOB: 9.0}}, "queue", None, QUEUED),
        ({"-timeline": {JOB: 9.0}}, "at", 5.5, TIMED),
        ({"-timeline": {JOB: 3.0}}, "at", 5.5, TIMED | {"-timeline": {JOB: 3.0}}),
        ({"-timeline": {JOB: 9.0}}, "stop", None, STOPPED),
        ({"-timeline": {JOB: 9.0}}, "bad", None, BAD),
        ({"-timeline": {JOB: 9.0}}, "quit", None, STOPPED | {"-schedules": {JOB: "STOP"}}),
        ({"-timeline": {JOB: 9.0}}, "unset", None, {}),
        (
            {"-timeline": {JOB: 9.0}},
            "die",
            None,
            STOPPED | {"-statuses": statuses(x="DIE"), "-timeline": {JOB: 9.0}},
        ),
        (queue_of(OTHER), "queue", None, QUEUED | queue_of(OTHER, JOB)),
        (queue_of(JOB), "queue", None, QUEUED),
        (queue_of(JOB), "unset", None, {}),
    ],
)
def test_end(bench: Bench, meanwhile: State, step: str, due_at: float | None, after: State) -> None:
    """turn ends a run as planned: the tag goes, and the whole state is as the plan says."""
    bench.given(RUNNING | meanwhile)
    assert bench.end(step, due_at).ended is Ended.DONE
    assert bench.state() == after


@pytest.mark.parametrize("step", ["stop", "quit"])
@pytest.mark.parametrize(
    ("due_at", "after"), [(9.0, QUEUED), (NOW + 100, TIMED | {"-timeline": {JOB: NOW + 100}})], ids=["due", "to come"]
)
def test_end_with_a_one_off_to_come(bench: Bench, step: str, due_at: float, after: State) -> None:
    """turn does not stop a job that was set to run once more during its run: that run comes next, or stays waiting."""
    bench.given(RUNNING | {"-schedules": {JOB: "STOP"}, "-timeline": {JOB: due_at}})
    bench.end(step, known="STOP")
    assert bench.state() == after | {"-schedules": {JOB: "STOP"}}


@pytest.mark.parametrize("step", ["queue", "at", "stop", "bad", "die", "quit", "unset"])
def test_end_of_an_unset_job(bench: Bench, step: str) -> None:
    """turn leaves nothing of a job that was unset during its run, however the run ended."""
    bench.given({"-work-A-x:A": "tag", "-statuses": statuses(x="WRK")})
    assert bench.end(step, 5.5, known="TEXT").ended is Ended.DONE
    assert bench.state() == {}


@pytest.mark.parametrize("tag", [{}, {"-work-A-x:A": "another's"}])
@pytest.mark.parametrize("step", ["queue", "at", "stop", "bad", "die", "quit", "unset"])
def test_late_end(bench: Bench, step: str, tag: State) -> None:
    """turn changes nothing where the tag of the run is gone or another's."""
    before = STOPPED | tag | {"-timeline": {JOB: 7.0}}
    bench.given(before)
    assert bench.end(step, 5.5).ended is Ended.LATE
    assert bench.state() == before


@pytest.mark.parametrize(("step", "changed"), [("queue", True), ("at", True), ("stop", True), ("bad", True)])
def test_end_with_another_schedule(bench: Bench, step: str, changed: bool) -> None:
    """turn changes nothing and takes nothing where the plan was made from another schedule than there is now: it gives
    the new one."""
    before = RUNNING | queue_of(OTHER)
    bench.given(before)
    turn = bench.end(step, 5.5, known="OLD", places=bench.places())
    assert (turn.ended, turn.changed_text, turn.jobid) == (Ended.CHANGED, b"TEXT", None)
    assert bench.state() == before
    assert changed


@pytest.mark.parametrize("step", ["die", "quit", "unset"])
def test_end_whatever_the_schedule(bench: Bench, step: str) -> None:
    """turn carries out an ending that does not depend on the schedule, whatever that is by now."""
    bench.given(RUNNING)
    assert bench.end(step, known="OLD").ended is Ended.DONE
    assert JOB not in bench.state().get("-timeline", {})


def test_end_and_take(bench: Bench) -> None:
    """turn ends one run and takes the next job in one call, and rings for whoever else is idle."""
    bench.given(RUNNING | queue_of(OTHER))
    turn = bench.end("queue", places=bench.places())
    assert (turn.ended, turn.jobid) == (Ended.DONE, OTHER.encode())
    assert bench.state() == QUEUED | {"-statuses": statuses(x="ENQ", y="WRK"), "-work-A-y:A": "next"}


def test_end_moves_to_another_queue(bench: Bench) -> None:
    """turn puts a job into the queue that the worker names for it now, wherever it was taken from."""
    bench.given(RUNNING)
    ending = Ending(JOB, "tag", bench.queue, bench.keys.queue("work-B"), b"TEXT", "queue")
    bench.scripts.turn("next", NO_PLACES, ending, now=NOW)
    after = bench.state()
    assert (after["-work-B"], after["-work-B-members"], after[":bell:work-B"]) == ([JOB], {JOB}, ["1"])
    assert "-work-A" not in after


# turn: after a lost reply


def test_take_after_a_lost_reply(bench: Bench) -> None:
    """turn that is repeated because its reply was lost hands out the same job again, and no second one."""
    bench.given(queue_of(JOB, OTHER) | {"-schedules": {JOB: "TEXT"}})
    first = bench.take(order="BA")
    after = bench.state()
    again = bench.take(order="BA", repeated=True)
    assert again == first
    assert bench.state() == after


@pytest.mark.parametrize("repeated", [False, True])
def test_take_after_a_lost_call(bench: Bench, repeated: bool) -> None:
    """turn with another nonce is another call, and a call that is repeated although it never arrived is the first."""
    bench.given(queue_of(JOB, OTHER))
    assert bench.take("a").jobid == JOB.encode()
    assert bench.take("b", repeated=repeated).jobid == OTHER.encode()


@pytest.mark.parametrize("step", ["queue", "at", "stop", "die", "unset"])
def test_end_after_a_lost_call(bench: Bench, step: str) -> None:
    """turn ends a run also where it is repeated although the first call never arrived."""
    bench.given(RUNNING)
    assert bench.end(step, 5.5, repeated=True).ended is Ended.DONE
    assert "-work-A-x:A" not in bench.state()


def test_end_after_a_lost_reply(bench: Bench) -> None:
    """turn that is repeated because its reply was lost does not end the run twice, and tells that it was ended."""
    bench.given(RUNNING)
    assert bench.end("queue").ended is Ended.DONE
    after = bench.state()
    assert bench.end("queue", repeated=True).ended is Ended.DONE
    assert bench.state() == after


def test_end_and_take_after_a_lost_reply(bench: Bench) -> None:
    """turn that ended one run and began the next before its reply was lost gives the same answer again, even where it
    took the very job that it had ended."""
    bench.given(RUNNING)
    first = bench.end("queue", places=bench.places())
    assert (first.ended, first.jobid) == (Ended.DONE, JOB.encode())
    after = bench.state()
    assert bench.end("queue", places=bench.places(), repeated=True) == first
    assert bench.state() == after


@pytest.mark.parametrize("since", ["taken by another", "queued again"])
def test_lost_reply_and_a_timeout(bench: Bench, since: str) -> None:
    """turn that is repeated so late that the job timed out and went elsewhere does not take it away again."""
    bench.given(queue_of(JOB))
    bench.take()
    tag = bench.keys.tag(bench.queue, JOB)
    bench.client.delete(tag)
    if since == "taken by another":
        bench.client.set(tag, "another's")
        assert bench.take(repeated=True).jobid is None
        assert bench.client.get(tag) == b"another's"
    else:
        bench.client.lpush(bench.queue, JOB)
        bench.client.sadd(bench.keys.members(bench.queue), JOB)
        before = bench.state()
        assert bench.take(repeated=True).jobid is None, "the next turn may take it"
        assert bench.state() == before


def test_lost_reply_of_an_expired_run(bench: Bench) -> None:
    """turn that is repeated so late that the tag has expired, with the job nowhere else, hands it out again."""
    bench.given(queue_of(JOB))
    first = bench.take()
    after = bench.state()
    bench.client.delete(bench.keys.tag(bench.queue, JOB))
    assert bench.take(repeated=True) == first
    assert bench.state() == after


def test_memo_of_a_job_id_with_blanks(bench: Bench) -> None:
    """turn remembers a job id with blanks in it whole."""
    bench.given({"-work-A": ["a b  c :A"], "-work-A-members": {"a b  c :A"}})
    assert bench.take().jobid == bench.take(repeated=True).jobid == b"a b  c :A"


def test_memos_go(bench: Bench) -> None:
    """What is remembered against lost replies is one memo a caller, expires, and can be forgotten."""
    bench.given(queue_of(JOB))
    caller = "c" * CALLER_LENGTH
    bench.take(nonce=f"{caller}1")
    bench.place("queue", once=True, nonce=f"{caller}2")
    assert len(memos(bench.client, bench.prefix)) == 1
    [key] = bench.client.scan_iter(match=f"{bench.prefix}:memo:*", count=1000)
    assert 0 < bench.client.ttl(key) <= 86_400
    bench.scripts.forget_memo(f"{caller}3")
    assert memos(bench.client, bench.prefix) == []


# lost


@pytest.mark.parametrize(
    ("before", "lost"),
    [
        ({}, []),
        (QUEUED, []),
        (TIMED, []),
        (RUNNING, []),
        (STOPPED, [(JOB, encode(f"STP:{SECOND}"))]),
        ({"-schedules": {JOB: "TEXT"}}, [(JOB, b"")]),
        (STOPPED | {"-work-A-members": {JOB}}, [(JOB, encode(f"STP:{SECOND}"))]),
        ({"-statuses": statuses(x="WRK")}, []),
    ],
)
def test_lost(bench: Bench, before: State, lost: list[tuple[str, bytes]]) -> None:
    """lost tells which registered jobs are in no place, with their status, and changes nothing."""
    bench.given(before)
    assert bench.scripts.lost([(JOB, bench.queue), ("z:B", bench.keys.queue("work-B"))]) == lost
    assert bench.state() == before


@pytest.mark.parametrize("before", [QUEUED, TIMED, RUNNING, STOPPED | {"-schedules": {JOB: "OTHER TEXT"}}, {}])
def test_place_only_where_lost(bench: Bench, before: State) -> None:
    """place of a lost job changes nothing where the job is in a place by now, or its schedule is another."""
    bench.given(before)
    placement = Placement(JOB, bench.queue, "TEXT", "queue")
    assert bench.scripts.place(placement, NOW, only_lost=True) is False
    assert bench.state() == before


def test_place_where_lost(bench: Bench) -> None:
    """place of a lost job puts it where its schedule says."""
    bench.given(RUNNING)
    bench.client.delete(bench.keys.tag(bench.queue, JOB))
    assert bench.scripts.place(Placement(JOB, bench.queue, "TEXT", "queue"), NOW, only_lost=True) is True
    assert bench.state() == QUEUED


# wake


@pytest.mark.parametrize(
    ("before", "after", "halted"),
    [
        ({}, {}, False),
        (queue_of(JOB), queue_of(JOB) | {":bell:work-A": ["1"]}, False),
        (QUEUED, QUEUED, False),
        ({"-control": "other"}, {"-control": "other"}, False),
        ({"-control": "HALT"}, {"-control": "HALT", ":bell:work-A": ["1"]}, True),
        ({"-work-A": "wrong"}, {"-work-A": "wrong", ":bell:work-A": ["1"]}, False),
    ],
)
def test_wake(bench: Bench, before: State, after: State, halted: bool) -> None:
    """wake rings where jobs lie in a queue unannounced, and everywhere for a halt."""
    bench.given(before)
    for _ in range(2):
        assert bench.scripts.wake([bench.queue]) is halted
        assert bench.state() == after


# unset


@pytest.mark.parametrize(
    ("before", "after", "known"),
    [
        ({}, {}, False),
        (QUEUED, {":bell:work-A": ["1"]}, True),
        (TIMED, {}, True),
        (STOPPED, {}, True),
        (RUNNING, {"-work-A-x:A": "tag"}, True),
        (QUEUED | TIMED, {":bell:work-A": ["1"]}, True),
        ({"-work-A": [JOB, OTHER, JOB]}, {"-work-A": [OTHER]}, True),
        ({"-work-A-members": {JOB}}, {}, True),
        (queue_of(OTHER), queue_of(OTHER), False),
    ],
)
def test_unset(bench: Bench, before: State, after: State, known: bool) -> None:
    """unset leaves nothing of a job but the tag of a run that is under way, and touches no other job; twice is the same
    as once."""
    bench.given(before)
    assert bench.scripts.unset(JOB, bench.queue) is known
    assert bench.state() == after
    assert bench.scripts.unset(JOB, bench.queue) is False
    assert bench.state() == after


@pytest.mark.parametrize("position", [0, 1, 1_999, 2_000, 2_001, 3_000, 5_998, 5_999])
def test_unset_in_a_long_queue(bench: Bench, position: int) -> None:
    """F5: unset takes a job out of a long queue wherever it is, and no other; the order of the others stays."""
    jobs = [f"{number}:A" for number in range(6_000)]
    bench.given({"-schedules": {jobs[position]: "CONTINUE"}, "-work-A": jobs, "-work-A-members": set(jobs)})
    assert bench.scripts.unset(jobs[position], bench.queue) is True
    rest = [job for job in jobs if job != jobs[position]]
    left = bench.state()
    assert left.pop("-work-A-members") == set(rest)
    assert [job for job in left.pop("-work-A") if f"{bench.queue}\n{job}" not in left.get(":holes", {})] == rest
    taken = [bench.take(f"tag{number}").jobid for number in range(6_000 - max(position - 2, 0))]
    oldest_first = [job.encode() for job in reversed(rest)]
    assert taken == [*oldest_first, None][: len(taken)]
    assert ":holes" not in bench.state() or position == 1


def test_unset_of_a_job_that_is_in_no_long_queue(bench: Bench) -> None:
    """unset forgets a job that others left in the set of a long queue and not in the list; the queue stays as it is."""
    jobs = [f"{number}:A" for number in range(6_000)]
    bench.given({"-work-A": jobs, "-work-A-members": {*jobs, JOB}})
    assert bench.scripts.unset(JOB, bench.queue) is True
    assert bench.state() == {"-work-A": jobs, "-work-A-members": set(jobs)}


# Wrong types

KEYS_OF_A_QUEUE = ["-work-A", "-work-A-members", ":bell:work-A", "-work-A-x:A"]
ALL_KEYS = [*(key.removeprefix("P") for key in Keys("P").common()), *KEYS_OF_A_QUEUE]
CALLS: dict[str, tuple[State, Callable[[Bench], object]]] = {
    "place queue": (REST, lambda bench: bench.place("queue")),
    "place once": (REST, lambda bench: bench.place("queue", once=True, nonce="n")),
    "place at": (REST, lambda bench: bench.place("at", 5.5)),
    "place stop": (TIMED, lambda bench: bench.place("stop")),
    "promote": (TIMED, lambda bench: promote(bench, JOB)),
    "take": (QUEUED, lambda bench: bench.take()),
    "end queue": (RUNNING, lambda bench: bench.end("queue")),
    "end at": (RUNNING, lambda bench: bench.end("at", 5.5)),
    "end stop": (RUNNING | {"-timeline": {JOB: 1.0}}, lambda bench: bench.end("stop")),
    "end one-off": (
        RUNNING | {"-schedules": {JOB: "STOP"}, "-timeline": {JOB: 1.0}},
        lambda bench: bench.end("stop", known="STOP"),
    ),
    "end well": (RUNNING, lambda bench: bench.end("queue", tries=0)),
    "end badly": (RUNNING, lambda bench: bench.end("die", tries=3)),
    "end unset": (RUNNING, lambda bench: bench.end("unset")),
    "end and take": (RUNNING | queue_of(OTHER), lambda bench: bench.end("at", 5.5, places=bench.places())),
    "unset": (QUEUED | TIMED, lambda bench: bench.scripts.unset(JOB, bench.queue)),
}


def wrong(bench: Bench, name: str) -> None:
    """Put something of another type in place of a key."""
    key = bench.prefix + name
    bench.client.delete(key)
    if name in ("-control", "-work-A-x:A"):
        bench.client.rpush(key, "wrong")
    else:
        bench.client.set(key, "wrong")


@pytest.mark.parametrize("name", ALL_KEYS)
@pytest.mark.parametrize("call", CALLS)
def test_wrong_type(bench: Bench, call: str, name: str) -> None:
    """A key of a wrong type makes a script fail before its first write, or it is left aside and the job goes to a place
    where it is found again: a call is never left half done, and the wrong key is left as it is."""
    before, act = CALLS[call]
    bench.given(before)
    wrong(bench, name)
    broken = bench.state()
    try:
        act(bench)
    except redis.ResponseError as error:
        assert "WRONGTYPE" in str(error)
        assert bench.state() == broken
        return
    after = bench.state()
    assert after[name] == broken[name]
    if "unset" in call:
        assert JOB not in after.get("-schedules", ()) or after == broken
    elif "stop" not in call and "badly" not in call and name != "-work-A":  # what was in the list went with it
        assert JOB in after.get("-timeline", ()) or JOB in after.get("-work-A", ()) or "-work-A-x:A" in after


def test_wrong_index_of_running_jobs(bench: Bench) -> None:
    """turn takes a job also where the index of running jobs, which it is to keep, has a wrong type."""
    bench.given(QUEUED | {":running": "wrong"})
    indexing = Bench(bench.client, bench.prefix, index_running=True)
    assert indexing.take().jobid == JOB.encode()
    assert bench.state() == RUNNING | {":running": "wrong", ":bell:work-A": ["1"]}


def test_wrong_queue_is_reported_and_tried_again(bench: Bench) -> None:
    """promote reports a queue that cannot take jobs, puts its jobs off for a second, and queues the others."""
    bench.given({"-timeline": {JOB: 1.0, "z:B": 1.0}, "-work-A": "wrong"})
    look = bench.scripts.promote({bench.queue: [JOB.encode()], bench.keys.queue("work-B"): [b"z:B"]}, 10, NOW)
    [(queue, error)] = look.troubles
    assert queue == bench.queue
    assert "WRONGTYPE" in error
    after = bench.state()
    assert (after["-timeline"], after["-work-B"], look.queued) == ({JOB: NOW + 1}, ["z:B"], 1)


def test_wrong_queue_does_not_stop_a_worker(bench: Bench) -> None:
    """turn reports a queue that it cannot look at, and takes a job from the next one."""
    bench.given({"-work-A": {"not": "a list"}, "-work-B": ["z:B"], "-work-B-members": {"z:B"}})
    turn = bench.take(order="AB")
    assert (turn.jobid, turn.place) == (b"z:B", 1)
    [(queue, error)] = turn.troubles
    assert queue == bench.queue
    assert "WRONGTYPE" in error


# The server


def test_scripts_survive_a_flush_of_the_scripts(bench: Bench) -> None:
    """A server that has forgotten the scripts is given them again, without a word."""
    bench.place("queue")
    bench.client.script_flush()
    assert bench.take().jobid == JOB.encode()
    bench.client.script_flush()
    bench.end("stop")
    assert bench.state() == STOPPED | {":bell:work-A": ["1"]}


def test_time_is_the_servers(bench: Bench) -> None:
    """Without a time given, a script goes by the server's, to the microsecond."""
    before: Any = bench.client.time()
    bench.scripts.place(Placement(JOB, bench.queue, "TEXT", "queue"))
    told = Bench(bench.client, bench.prefix).scripts.now()
    after: Any = bench.client.time()
    assert before[0] + before[1] / 1e6 - 1e-5 <= told <= after[0] + after[1] / 1e6 + 1e-5
    assert bench.state()["-statuses"][JOB] in (f"ENQ:{before[0]}", f"ENQ:{after[0]}")
