"""What all Lua scripts have in common: their headers, the keys that they touch, and keys of a wrong type.

The transitions are in test_scripts_place.py, test_scripts_turn.py and test_scripts_lost.py.
"""

import re
from collections.abc import Callable
from importlib import resources
from typing import Any

import pytest
import redis
from bench import (
    JOB,
    NOW,
    OTHER,
    QUEUED,
    REST,
    RUNNING,
    SECOND,
    STOPPED,
    TIMED,
    Bench,
    State,
    promote,
    queue_of,
    wrong,
)
from conftest import Server

from redbike.schedule.plan import Action
from redbike.store.keys import Keys
from redbike.store.messages import Placement

NAMES = ["extend", "hold", "lost", "now", "pause", "place", "promote", "signal", "turn", "unset", "wake"]


# The headers of the scripts


def source(name: str) -> tuple[str, str]:
    """Return header and body of a script; the body of turn begins in another file."""
    if name == "turn":
        return split("turn")[0], split("_end")[1] + split("_begin")[1] + split("turn")[1]
    return split(name)


def split(name: str) -> tuple[str, str]:
    """Return header and body of a file in lua/."""
    lines = resources.files("redbike.store").joinpath("lua", f"{name}.lua").read_text("utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(line[3:] for line in lines[:first]), "\n".join(lines[first:])


def section(header: str, begin: str, end: str) -> str:
    found = re.search(rf"^{begin}\b(.*?)(?=^{end}|\Z)", header, re.DOTALL | re.MULTILINE)
    assert found, f"the header has no {begin}"
    return found[1]


def numbered(text: str) -> dict[int, str]:
    """Return entries such as `1 schedules  2 statuses` by number, up to the repeated part."""
    fixed = text.partition("then for each")[0]
    return {int(number): what for number, what in re.findall(r"(?:^|  )(\d+) (.+?)(?=  \d|$)", fixed, re.MULTILINE)}


def test_every_script_is_tested() -> None:
    """The folder of scripts holds exactly the scripts that these tests compare."""
    folder = resources.files("redbike.store").joinpath("lua")
    assert sorted(file.name for file in folder.iterdir()) == [
        "_begin.lua",
        "_common.lua",
        "_end.lua",
        "_keys.lua",
        "_memo.lua",
        *(f"{name}.lua" for name in NAMES),
    ]


def test_head_names_the_keys() -> None:
    """The KEYS in the shared head are those that every call gets first, in variables named like them."""
    header, body = source("_keys")
    listed = numbered(section(header, "KEYS", "ARGV").partition("These")[0])
    assert list(listed.values()) == list(Keys("P").common())
    [(names, last)] = re.findall(r"^local ([\w, ]+) = unpack\(KEYS, 1, (\d+)\)$", body, re.MULTILINE)
    assert [name.removesuffix("_key") for name in names.split(", ")] == [
        re.split("[-:]", key)[1] for key in listed.values()
    ]
    assert int(last) == len(listed)


@pytest.mark.parametrize("name", NAMES)
def test_header_names_the_keys(name: str) -> None:
    """The KEYS that a script's header lists after those of the head are those that its body reads, in this order."""
    header, body = source(name)
    section_of_keys = section(header, "KEYS", "ARGV")
    common = len(Keys("P").common())
    assert section_of_keys.startswith(f"  1 to {common}: see _keys")
    fixed = section_of_keys.partition("  then ")[0]
    listed = [int(number) for number in re.findall(r"  (\d+) \w", fixed) if int(number) > 1]
    unpacked = re.findall(
        rf"^local ([\w, ]+) = (?:unpack\(KEYS, {common + 1}, \d+\)|KEYS\[{common + 1}\])$", body, re.MULTILINE
    )
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
    unpacked = re.findall(r"unpack\(ARGV, (\d+), (\d+)\)", body)
    read = {int(number) for number in re.findall(r"ARGV\[(\d+)\]", body)}
    assert read.union(*(range(int(first), int(last) + 1) for first, last in unpacked)) == listed


def test_header_names_the_returns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line of what turn and promote return has as many parts as their headers say."""
    replies: list[bytes] = []
    execute: Callable[..., Any] = bench.client.execute_command

    def noting(*command: Any, **options: Any) -> Any:
        replies.append(execute(*command, **options))
        return replies[-1]

    monkeypatch.setattr(bench.client, "execute_command", noting)
    bench.given(QUEUED | {"-timeline": {OTHER: 1.0}})
    pooled = Bench(bench.client, bench.prefix, own=False)
    pooled.take()
    header, _ = source("turn")
    assert len(replies[-1].split(b"\n")[0].split()) == len(numbered(section(header, "Returns", "@"))) == 10
    pooled.store.promote({bench.queue: [OTHER.encode()]}, 10)
    header, _ = source("promote")
    first = numbered(section(header, "Returns", "@"))[1]
    assert len(replies[-1].split(b"\n")[0].split()) == len(first.split(";")) == 4


def keys_of(client: redis.Redis, command: list[str]) -> set[str]:
    """Return the keys of a command as the server finds them."""
    try:
        keys: Any = client.execute_command("COMMAND GETKEYS", *command)
    except redis.ResponseError:  # the command has no keys
        return set()
    return {key if isinstance(key, str) else key.decode() for key in keys}


def role(key: str) -> str:
    """Return the purpose of a key, without its job or queue."""
    name = re.sub(r"^\{?test\w+?\}?(?=[-:])", "", key)
    name = re.sub(r"^:(bell|memo|watch):.*", r":\1", name)
    name = re.sub(r"^-work-[AB]-(?!members$).*", "run tag", name)
    return re.sub(r"^-work-[AB]", "queue", name)


def full_house(bench: Bench) -> None:
    """Call every script in every way, each with something to do."""
    for job in (JOB, OTHER, "z:B"):
        queue = bench.keys.queue("work-" + job[-1])
        for number, step in enumerate(("queue", "queue", "at", "stop", "bad", "queue")):
            payload = ("text", "", None)[number % 3]
            placement = Placement(job, queue, "TEXT", Action(step), NOW if step == "at" else None, payload=payload)
            for repeated in (False, True):
                bench.store.place([placement], f"{job}{number}", repeated, noted=True, now=NOW)
    assert bench.take(order="AB").jobid == JOB.encode()
    bench.place("queue")
    bench.client.lpush(bench.queue, JOB)
    bench.take("second", order="BA")
    bench.take("third", order="AB")
    bench.client.zadd(bench.keys.timeline, {JOB: 1, OTHER: 1, "z:B": 1, "w:A": 1, "none": 1})
    in_a = [job.encode() for job in (JOB, OTHER, "w:A")]
    bench.store.promote({bench.queue: in_a, bench.keys.queue("work-B"): [b"z:B"]}, 10, NOW, [b"none"])
    bench.store.promote({}, 10, NOW)
    for step in ("stop", "queue", "at", "bad", "die", "quit", "unset"):
        bench.client.set(bench.keys.tag(bench.queue, JOB), "tag")
        for tries in (None, 0, 2):
            for repeated in (False, True):
                bench.end(
                    step, NOW, places=bench.places("AB"), tries=tries, repeated=repeated, request_id=f"{step}{tries}"
                )
        bench.place("queue")
    bench.given({"-schedules": {"lost:A": "TEXT"}, "-work-A-members": {"lost:A"}})
    bench.store.lost([(JOB, bench.queue), ("lost:A", bench.queue)])
    Bench(bench.client, bench.prefix).store.now()
    for control in ("HALT", "on"):
        bench.client.set(bench.keys.control, control)
        bench.store.wake([bench.queue])
    bench.store.signal("HALT")
    bench.client.delete(bench.keys.control)
    bench.store.unset(JOB, bench.queue, "request_id", repeated=True)
    bench.given({"-work-A": [JOB], ":holes": {f"{bench.queue}\n{JOB}": "1"}, "-timeline": {OTHER: NOW + 99}})
    bench.take("fourth")
    bench.client.set(bench.keys.tag(bench.queue, OTHER), "tag")
    bench.store.place([Placement(OTHER, bench.queue, None, Action.QUEUE)], now=NOW)
    bench.store.promote({bench.queue: [OTHER.encode()]}, 10, NOW, extra=True)
    bench.looks.extra_due(10)
    bench.place("queue", text=None, payload="once")
    bench.store.extend(OTHER, "tag", bench.queue, 5)
    for until in (NOW, None):
        bench.store.pause(JOB, bench.queue, until, "{}", "pausing", True, noted=True)
    bench.place("queue", only_paused="PAUSED:TEXT")
    bench.place("pause")
    bench.store.place([Placement(JOB, bench.queue, "TEXT", Action.QUEUE, note="a\n1", former="")], now=NOW)
    bench.store.unset(JOB, bench.queue, note="a\n1")
    for entry in ("{}", ""):
        bench.store.hold("work-A", entry, f"holding{len(entry)}", True, noted=True)
    bench.clear()
    bench.given(QUEUED | {":payloads": {f"\n{JOB}": "once"}, ":due": {JOB: f"1 2 {SECOND}"}})
    bench.take("tag")
    later = {"later_s": 5.0, "outcome": "later", "since": NOW}
    bench.end("stop", places=bench.places("A"), request_id="fifth", ending=later)


def test_only_declared_keys_are_touched(bench: Bench, server: Server) -> None:
    """Every key that a script uses is declared in KEYS, except the run tag of a job that `turn` takes; and a script
    uses every key that it declares beside the common ones.
    """
    bench = Bench(bench.client, bench.prefix, index_running=True, records=9, wants_runs=True, metrics=True)
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


# Wrong types

KEYS_OF_A_QUEUE = ["-work-A", "-work-A-members", ":bell:work-A", "-work-A-x:A"]


ALL_KEYS = [*(key.removeprefix("P") for key in Keys("P").common()), *KEYS_OF_A_QUEUE]


CALLS: dict[str, tuple[State, Callable[[Bench], object]]] = {
    "place payload": (REST, lambda bench: bench.place("queue", payload="text")),
    "place pause stop": (QUEUED, lambda bench: bench.place("pause", text="PAUSED:TEXT")),
    "pause stop": (QUEUED | TIMED, lambda bench: bench.store.pause(JOB, bench.queue, None, "{}")),
    "end later": (RUNNING, lambda bench: bench.end("stop", ending={"later_s": 5.0, "outcome": "later", "since": NOW})),
    "place queue": (REST, lambda bench: bench.place("queue")),
    "place once": (REST, lambda bench: bench.place("queue", once=True, request_id="n")),
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
    "unset": (QUEUED | TIMED, lambda bench: bench.store.unset(JOB, bench.queue)),
}


@pytest.mark.parametrize("name", ALL_KEYS)
@pytest.mark.parametrize("call", CALLS)
def test_wrong_type(bench: Bench, call: str, name: str) -> None:
    """A key of a wrong type makes a script fail before its first write, or the key is skipped and the job goes to a
    place where it is found again. A call is never half done, and the wrong key does not change.
    """
    before, act = CALLS[call]
    bench.given(before)
    wrong(bench, name)
    broken = bench.state()
    broken_records = bench.records()
    try:
        act(bench)
    except redis.ResponseError as error:
        assert "WRONGTYPE" in str(error)
        assert bench.state() == broken
        return
    after = bench.state()
    assert (after | bench.records())[name] == (broken | broken_records)[name]
    if "unset" in call:
        assert JOB not in after.get("-schedules", ()) or after == broken
    elif "stop" not in call and "badly" not in call and name != "-work-A":  # the jobs of the list are gone with it
        assert JOB in after.get("-timeline", ()) or JOB in after.get("-work-A", ()) or "-work-A-x:A" in after


def test_wrong_index_of_running_jobs(bench: Bench) -> None:
    """turn takes a job even if the index of running jobs has a wrong type."""
    bench.given(QUEUED | {":running": "wrong"})
    indexing = Bench(bench.client, bench.prefix, index_running=True)
    assert indexing.take().jobid == JOB.encode()
    assert bench.state() == RUNNING | {":running": "wrong", ":bell:work-A": ["1"]}


def test_wrong_queue_is_reported_and_tried_again(bench: Bench) -> None:
    """promote reports a queue that cannot take jobs, delays its jobs by a second, and queues the others."""
    bench.given({"-timeline": {JOB: 1.0, "z:B": 1.0}, "-work-A": "wrong"})
    look = bench.store.promote({bench.queue: [JOB.encode()], bench.keys.queue("work-B"): [b"z:B"]}, 10, NOW)
    [(queue, error)] = look.troubles
    assert queue == bench.queue
    assert "WRONGTYPE" in error
    after = bench.state()
    assert (after["-timeline"], after["-work-B"], look.queued) == ({JOB: NOW + 1}, ["z:B"], 1)


def test_wrong_queue_does_not_stop_a_worker(bench: Bench) -> None:
    """turn reports a queue that it cannot read, and takes a job from the next queue."""
    bench.given({"-work-A": {"not": "a list"}, "-work-B": ["z:B"], "-work-B-members": {"z:B"}})
    turn = bench.take(order="AB")
    assert (turn.jobid, turn.place) == (b"z:B", 1)
    [(queue, error)] = turn.troubles
    assert queue == bench.queue
    assert "WRONGTYPE" in error


# The server


def test_scripts_survive_a_flush_of_the_scripts(bench: Bench) -> None:
    """A server that has lost the scripts receives them again, without a log line."""
    bench.place("queue")
    bench.client.script_flush()
    assert bench.take().jobid == JOB.encode()
    bench.client.script_flush()
    bench.end("stop")
    assert bench.state() == STOPPED | {":bell:work-A": ["1"]}


def test_time_is_the_servers(bench: Bench) -> None:
    """Without a time argument, a script uses the server's time, to the microsecond."""
    before: Any = bench.client.time()
    bench.store.place([Placement(JOB, bench.queue, "TEXT", Action.QUEUE)])
    told = Bench(bench.client, bench.prefix).store.now()
    after: Any = bench.client.time()
    assert before[0] + before[1] / 1e6 - 1e-5 <= told <= after[0] + after[1] / 1e6 + 1e-5
    assert bench.state()["-statuses"][JOB] in (f"ENQ:{before[0]}", f"ENQ:{after[0]}")
