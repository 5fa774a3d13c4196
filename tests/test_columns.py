"""What a job calls: the columns that a worker makes of payloads, in `redbike info`, `show` and `why`."""

import json
import re
from collections.abc import Callable

import pytest
from callers import CALLERS, Caller, call
from conftest import Fleet, Recorder
from processes import Site
from screens import Screen
from whys import why

from redbike import Redbike
from redbike.looking.answer import Asked, ask
from redbike.looking.plain import lines, plain_text

PLAIN = ["JOB", "SCHEDULE", "QUEUE", "STATUS", "NEXT", "LAST", "FAILS"]
HEADS = ["JOB", "TASK", *PLAIN[1:]]
JOBS = {"b:A": ("proj.add", "emails"), "a:A": ("proj.sum", ""), "c:A": ("proj.add", "reports")}


@pytest.fixture
def calling(fleet: Fleet) -> Redbike:
    """Three jobs that call tasks, and one without a payload."""
    bike = fleet(Caller())
    for jobid, (task, queue) in JOBS.items():
        bike.set(jobid, "EVERY:1h", payload=call(task, queue))
    bike.set("none:A", "EVERY:1h")
    return bike


@pytest.fixture
def calls(site: Site, calling: Redbike) -> Site:
    """The same jobs, in a folder with such a worker in the conf."""
    (site.folder / "callers.py").write_text(CALLERS)
    conf = site.folder / ".redbike.conf"
    conf.write_text(conf.read_text().replace("workers:Scribe('A')", "callers:Caller('A')"))
    assert calling.prefix == site.prefix
    return site


def printed(bike: Redbike, columns: int | None = None, asked: Asked | None = None) -> list[str]:
    """Return the lines of the table of jobs."""
    text = "\n".join(map(plain_text, lines(ask(bike, asked or Asked(sort="job")), columns)))
    return text.split("\n\n")[0].splitlines()


def cells(bike: Redbike) -> list[list[str]]:
    return [re.split(" {2,}", line) for line in printed(bike)]


def ids(bike: Redbike, **asked: object) -> list[str]:
    return [row.jobid for row in ask(bike, Asked(**asked)).rows]  # type: ignore[arg-type]


def test_the_table_shows_what_jobs_call(calling: Redbike) -> None:
    """The table has the column TASK, and QUEUE has the queue of the broker; a dash stands for an empty cell."""
    heads, *rows = cells(calling)
    assert heads == HEADS
    found = [dict(zip(heads, row, strict=True)) for row in rows]
    told = [(row["JOB"], row["TASK"], row["QUEUE"]) for row in found]
    assert told == [
        ("a:A", "proj.sum", "-"),
        ("b:A", "proj.add", "emails"),
        ("c:A", "proj.add", "reports"),
        ("none:A", "-", "-"),
    ]


def test_json_has_what_jobs_call(calls: Site) -> None:
    """With --json, `calls` has the cells, and `queue` is still the queue of Redbike."""
    found = json.loads(calls.run("info", "--json", "b:A").stdout)["jobs"]
    [job] = found
    assert (job["calls"], job["queue"]) == ({"TASK": "proj.add", "QUEUE": "emails"}, "work-A")
    assert json.loads(calls.run("show", "--json", "b:A").stdout)["calls"] == job["calls"]


def test_show_names_what_a_job_calls(calls: Site) -> None:
    """`redbike show` has a line for the task, and a line for the queue of the broker beside the queue of Redbike.

    An empty cell has no line.
    """
    text = calls.run("show", "b:A").stdout
    assert re.findall(r"^(queue|task|sends to) +(\S+)$", text, re.M) == [
        ("queue", "work-A"),
        ("task", "proj.add"),
        ("sends to", "emails"),
    ]
    assert "sends to" not in calls.run("show", "a:A").stdout


def test_jobs_are_sorted_by_what_they_call(calling: Redbike) -> None:
    """--sort takes the name of a column, and a minus before it; jobs with an empty cell come last in both orders."""
    assert ids(calling, sort="task") == ["b:A", "c:A", "a:A", "none:A"]
    assert ids(calling, sort="-task") == ["a:A", "b:A", "c:A", "none:A"]
    assert ids(calling, sort="task", limit=2) == ["b:A", "c:A"]
    assert ids(calling, sort="queue") == ["b:A", "c:A", "a:A", "none:A"]
    assert ids(calling, sort="-queue") == ["c:A", "b:A", "a:A", "none:A"]


def test_jobs_are_chosen_by_the_queue_of_the_broker(calling: Redbike) -> None:
    """-q takes the queue of the broker, and also the queue of Redbike."""
    assert ids(calling, queue="emails") == ["b:A"]
    assert ids(calling, queue="work-A", sort="job") == ["a:A", "b:A", "c:A", "none:A"]
    assert ids(calling, queue="other") == []


def test_jobs_are_grouped_by_the_queue_of_the_broker(calling: Redbike) -> None:
    """-R groups jobs by the queue of the broker, and the column QUEUE goes."""
    table = printed(calling, None, Asked(sort="job", by_queue=True))
    assert table[0].split() == [head for head in HEADS if head != "QUEUE"]
    assert [line.split(" ")[0] for line in table[1:]] == ["-", "a:A", "none:A", "emails", "b:A", "reports", "c:A"]


def test_the_words_for_an_order(calls: Site, bike: Redbike) -> None:
    """The name of a column is a word for --sort only if the worker has this column."""
    answer = calls.run("info", "--sort=size")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "job, queue, schedule, task, or with - before it" in answer.stderr
    assert calls.run("info", "--sort=-task").returncode == 0
    with pytest.raises(ValueError, match="--sort: 'task' is not one of"):
        Asked(sort="task").check()
    assert [row.jobid for row in ask(bike, Asked(sort="job")).rows] == ["a:A", "b:A", "c:A", "none:A"]


def test_the_live_view_sorts_by_what_jobs_call(calls: Site) -> None:
    """In the live view, `s` also sorts by the column of the worker, and the table has the column."""
    arguments = ("info", "-i", "--interval=0.2", "--sort=schedule")
    with Screen(calls.folder, *arguments, columns=120, lines=30) as screen:
        screen.wait_for("none:A")
        screen.press("s")
        text = screen.wait_for("s sort: task")
        assert text.splitlines()[1].split() == HEADS
        assert re.findall(r"^(\S+:A) ", text, re.M) == ["b:A", "c:A", "a:A", "none:A"]


def test_the_live_view_of_one_job(calls: Site) -> None:
    """The live view of named jobs shows what they call, too."""
    with Screen(calls.folder, "info", "-i", "--interval=0.2", "b:A", columns=120, lines=30) as screen:
        row = next(line for line in screen.wait_for("b:A").splitlines() if line.startswith("b:A"))
        assert row.split()[1] == "proj.add"


# The payload is foreign


def test_a_long_or_hostile_payload(fleet: Fleet) -> None:
    """A cell is a text of one line, cut and without escapes, whatever a payload of 1 MiB holds."""
    bike = fleet(Caller())
    bike.set("long:A", "EVERY:1h", payload=call("long" + "x" * 1_000_000))
    bike.set("lines:A", "EVERY:1h", payload=call("one\ntwo\t\x1b[2Jthree", "a\u202eb"))
    bike.set("odd:A", "EVERY:1h", payload="{" * 5000)
    rows = {row[0]: row for row in cells(bike)}
    assert rows["long:A"][1] == f"long{'x' * 195}…"
    assert rows["lines:A"][1] == "one two \\x1b[2Jthree"
    assert rows["lines:A"][3] == "a\\u202eb"
    assert rows["odd:A"][1] == "-"
    for columns in (60, 80, 120):
        assert all(len(line) <= columns for line in printed(bike, columns))


def test_a_narrow_terminal_keeps_the_task_longer_than_the_schedule(calling: Redbike) -> None:
    """On a narrow terminal, the columns of the worker are cut after the schedule, and leave after the queue."""
    wide, middle, narrow = (printed(calling, columns)[0].split() for columns in (120, 56, 40))
    assert wide == HEADS
    assert "TASK" in middle
    assert "LAST" not in middle
    assert narrow == ["JOB", "STATUS", "NEXT"]


async def _never_awaited(_payload: str) -> dict[str, str]:
    return {"TASK": "x"}


def _failing(payload: str) -> dict[str, str]:
    if payload:
        raise RuntimeError("torn")
    return {"TASK": ""}


@pytest.mark.parametrize(
    ("columns", "heads"),
    [
        (lambda _: 1 / 0, []),
        (lambda _: None, []),
        (lambda _: [("TASK", "x")], []),
        (lambda: {"TASK": "x"}, []),
        (_never_awaited, []),
        ("TASK", []),
        (lambda _: {"JOB": "x", "STATUS": "x", "two words": "x", "": "x", 7: "x", "X" * 21: "x", "a\n": "x"}, []),
        (lambda _: {"TASK": 7}, ["TASK"]),
        (lambda _: {"task": None}, ["TASK"]),
        (lambda payload: {"TASK": ""} if not payload else {"FUNC": "x"}, ["TASK"]),
        (lambda payload: {"TASK": ""} if not payload else None, ["TASK"]),
        (_failing, ["TASK"]),
    ],
)
def test_a_wrong_method_does_no_harm(fleet: Fleet, columns: object, heads: list[str]) -> None:
    """If the method raises, or returns anything but texts by names, the cells are empty, and all else is shown."""
    worker = Recorder()
    worker.columns = columns  # type: ignore[attr-defined]
    bike = fleet(worker)
    bike.set("j:A", "EVERY:1h", payload=call("proj.add"))
    shown, row = cells(bike)
    assert shown == ["JOB", *heads, *PLAIN[1:]]
    assert row[: 1 + len(heads)] == ["j:A", *("-" for _ in heads)]
    assert "calls" not in why(bike, "j:A")


def test_many_columns_are_cut(fleet: Fleet) -> None:
    """A worker has four columns at most."""
    worker = Recorder()
    worker.columns = lambda _: {f"C{number}": "x" for number in range(9)}  # type: ignore[attr-defined]
    bike = fleet(worker)
    bike.set("j:A", "EVERY:1h")
    assert cells(bike)[0] == ["JOB", "C0", "C1", "C2", "C3", *PLAIN[1:]]


def test_a_foreign_key_in_place_of_the_payloads(calling: Redbike) -> None:
    """If the key of the payloads has a wrong type, the cells are empty."""
    calling.redis.delete(f"{calling.prefix}:payloads")
    calling.redis.set(f"{calling.prefix}:payloads", "x")
    assert {row[1] for row in cells(calling)[1:]} == {"-"}


def payloads_read(bike: Redbike, look: Callable[[], object]) -> list[int]:
    """Return, for each command that read payloads during a look, how many it read."""
    key = f"{bike.prefix}:payloads"
    with bike.redis.monitor() as monitor:
        look()
        bike.redis.echo("end")
        found = []
        while (command := monitor.next_command()["command"]) != "ECHO end":
            words = command.split(" ")
            found += [len(words) - 2] if len(words) > 1 and words[1] == key else []
        return found


def test_payloads_are_read_only_for_columns(calling: Redbike, fleet: Fleet) -> None:
    """Payloads are read only if the worker has columns, and then only those of the rows that are shown.

    Those of all jobs are read if the order or the choice depends on them.
    """
    plain = fleet(Recorder())
    assert payloads_read(plain, lambda: ask(plain, Asked(limit=2))) == []
    assert payloads_read(calling, lambda: ask(calling, Asked(limit=2))) == [2]
    assert payloads_read(calling, lambda: ask(calling, Asked(jobids=("a:A", "b:A", "c:A")))) == [3]
    for asked in (Asked(limit=2, sort="-task"), Asked(queue="emails"), Asked(sort="queue", limit=1)):
        assert payloads_read(calling, lambda asked=asked: ask(calling, asked)) == [4]  # type: ignore[misc]


def test_many_payloads_are_read_in_small_pages(calling: Redbike) -> None:
    """At most 64 payloads are in memory at a time, because each may have 1 MiB."""
    calling.set_many((f"many{number:03}:A", "EVERY:1h") for number in range(200))
    read = payloads_read(calling, lambda: ask(calling, Asked(limit=0)))
    assert (sum(read), max(read)) == (204, 64)


# Why


def told(fleet: Fleet, jobid: str, **cells_of: str) -> str:
    """Return the sentences on a job whose worker has these cells."""
    worker = Recorder()
    worker.columns = lambda _: cells_of  # type: ignore[attr-defined]
    bike = fleet(worker)
    bike.set(jobid, "EVERY:1h")
    return why(bike, jobid)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"TASK": "proj.add", "QUEUE": "emails"}, " It calls proj.add on queue emails."),
        ({"FUNC": "module.name", "QUEUE": ""}, " It calls module.name."),
        ({"TASK": "", "QUEUE": "emails"}, " It goes to queue emails."),
        ({"TASK": "proj.add", "SIZE": "big", "TO": "ann"}, " It calls proj.add and has SIZE big, TO ann."),
        ({"SIZE": "big"}, " It has SIZE big."),
    ],
)
def test_why_says_what_a_job_calls(fleet: Fleet, found: dict[str, str], text: str) -> None:
    """A sentence says what the job calls and on which queue, as far as the columns tell, and that is not wrong."""
    assert text in told(fleet, "j:A", **found).splitlines()


def test_why_is_silent_without_cells(calling: Redbike) -> None:
    """No sentence says what a job calls if its payload does not tell."""
    assert not re.search("It (calls|goes|has )(?!been)", why(calling, "none:A"))
    assert "It calls" in why(calling, "a:A")


def test_why_of_a_schedule_that_only_the_worker_reads(fleet: Fleet) -> None:
    """For CONTINUE with a schedule in the payload, a sentence says that the worker decides, paused or not."""
    bike = fleet(Caller())
    decided = " No schedule text can express its schedule, so its payload has it: its worker decides the next run."
    sunrise = call("proj.add", schedule={"solar": "sunrise"})
    bike.set("solar:A", "CONTINUE", payload=sunrise, first=4_000_000_000)
    text = why(bike, "solar:A")
    assert decided in text.splitlines()
    assert "(as its worker decides)" in text
    assert "again and again" not in text
    bike.pause("solar:A")
    assert decided in why(bike, "solar:A").splitlines()
    for jobid, schedule, payload in (
        ("hourly:A", "EVERY:1h", sunrise),
        ("plain:A", "CONTINUE", call("proj.add")),
        ("text:A", "CONTINUE", '"schedule"'),
        ("torn:A", "CONTINUE", '{"schedule"'),
    ):
        bike.set(jobid, schedule, payload=payload)
        assert decided not in why(bike, jobid)
    rows = {row[0]: row[2] for row in cells(bike)}
    assert (rows["solar:A"], rows["plain:A"]) == ("as its worker decides", "again and again")
    assert decided not in why(fleet(Recorder()), "solar:A"), "another worker may have other payloads"
