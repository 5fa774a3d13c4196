"""`redbike info`: a fleet at work as a table, on a terminal of 80 and of 200 columns, in a pipe, and as JSON."""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Recorder, Server
from helpers import ROOT
from nodes import eventually
from processes import Site
from screens import Screen

from redbike import Redbike
from redbike.looking.answer import Asked, ask
from redbike.looking.rows import STATES, Rows
from redbike.looking.widths import width

HEADS = ["JOB", "SCHEDULE", "QUEUE", "STATUS", "NEXT", "LAST", "FAILS"]
SECTIONS = ["JOBS", "QUEUES", "RUNNING", "OVERDUE", "LOST", "PAUSED", "PROCESSES", "LATENESS"]
HOSTILE = {
    "escapes": "\x1b[2J\x1b]0;owned\x07:A",
    "lines": "two\nlines\tand\rmore:A",
    "wide": "世界" * 30 + ":A",
    "marks": "e\u0301\u202e\u200bcafe:A",
    "long": "x" * 3990 + "end:A",
    "markup": "[bold red]no[/bold red] :smile: {a}:A",
    "glob": "[a-z]*?:A",
}


@pytest.fixture(scope="module")
def busy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A dispatcher and a worker at work, and a job in each state."""
    with Site(tmp_path_factory.mktemp("busy"), server, f"info{time.time_ns()}") as site:
        with Redbike(Recorder("A:B"), site.prefix, server.config) as bike:
            for jobid, schedule in {
                "hourly-report:A": "EVERY:1h",
                "dies-at-night:A": "CONTINUE",
                "typo:A": "RRULE:FREQ=SOMETIMES",
                "over:A": "STOP",
                "nobody-serves:B": "CONTINUE",
                "weekdays:A": "CRON:0 8 * * MON-FRI Europe/Berlin",
            }.items():
                bike.set(jobid, schedule)
            bike.set("held-back:A", "EVERY:5m")
            bike.pause("held-back:A", note="until the disk is replaced")
            site.start_idle("dispatch")
            site.start_idle("work")
            bike.set("slow-import:A", "CONTINUE")
            eventually(lambda: bike.is_working("slow-import:A"))
            eventually(lambda: bike.details("dies-at-night:A")["last_run"] is not None)
        yield site


def table(text: str) -> list[list[str]]:
    """Return the cells of the lines of the table: columns are at least two blanks apart."""
    return [re.split(" {2,}", line) for line in text.split("\n\n")[0].splitlines()]


def row_of(text: str, jobid: str) -> dict[str, str]:
    heads, *rows = table(text)
    [row] = [row for row in rows if row[0] == jobid]
    return dict(zip(heads, row, strict=True))


def test_a_row_says_what_a_job_does(busy: Site) -> None:
    """The table shows schedule in words, queue, status with its age, next run, last run and failures of each job."""
    text = busy.run("info").stdout
    assert table(text)[0] == HEADS
    hourly = row_of(text, "hourly-report:A")
    assert hourly["SCHEDULE"] == "every hour"
    assert hourly["QUEUE"] == "work-A"
    assert re.fullmatch(r"planned \d+ (s|min)", hourly["STATUS"])
    assert re.fullmatch(r".*\d\d:\d\d(:\d\d)?, in (\d+ min|1 h)", hourly["NEXT"])
    assert (hourly["LAST"], hourly["FAILS"]) == ("-", "0")
    dead = row_of(text, "dies-at-night:A")
    assert re.fullmatch(r"failed \d+ (s|min), lost", dead["STATUS"])
    assert re.fullmatch(r"failed .*\d\d:\d\d.*, 0\.\d+ s", dead["LAST"])
    assert dead["FAILS"] == "1"
    assert row_of(text, "weekdays:A")["SCHEDULE"] == "CRON:0 8 * * MON-FRI Europe/Berlin"
    states = {"slow-import:A": "running", "typo:A": "bad", "over:A": "stopped", "nobody-serves:B": "queued"}
    for jobid, word in {**states, "held-back:A": "paused"}.items():
        assert re.fullmatch(rf"{word} \d+ (s|min)", row_of(text, jobid)["STATUS"]), text


def test_what_needs_a_person_comes_first(busy: Site) -> None:
    """Without --sort, jobs that are bad, lost or failed come first, then the running, the queued and the planned."""
    jobids = [row[0] for row in table(busy.run("info").stdout)[1:]]
    assert jobids[:4] == ["typo:A", "dies-at-night:A", "slow-import:A", "nobody-serves:B"]
    assert jobids[-2:] == ["held-back:A", "over:A"]


def test_the_sections_say_what_goes_on(busy: Site) -> None:
    """Below the table are states, queues with their oldest job, runs, lost and paused jobs, processes and lateness."""
    text = busy.run("info").stdout
    titles = [line.split(" ")[0] for line in text.splitlines() if re.match("[A-Z]+ ", line)][1:]
    assert titles == SECTIONS
    assert re.search(r"^JOBS +8 jobs: 1 bad, 1 failed, 1 running, 1 queued, 2 planned, 1 paused, 1 stopped", text, re.M)
    assert re.search(r"^  work-B +1 +\d+ \w+ nobody-serves:B +0 +-$", text, re.M)
    assert re.search(r"^  slow-import:A +work-A +\S+:\d+ +(now|\d+ s ago) +in \d+ s$", text, re.M)
    assert re.search(r"^OVERDUE +none$", text, re.M)
    assert re.search(r"^LOST +dies-at-night:A, typo:A$", text, re.M)
    assert re.search(r"^PAUSED +held-back:A$", text, re.M)
    assert re.search(r"^PROCESSES +1 dispatcher, 1 worker$", text, re.M)
    assert re.search(r"^  worker +\S+:\d+ +(now|\d s ago) +\d\d:\d\d:\d\d +work-A +1 +1$", text, re.M)
    assert re.search(r"^LATENESS +p50 [0-9.]+ s, p99 .*; 1 run within the last hour, 1 failed$", text, re.M)


def test_a_pipe_gets_stable_columns_without_escapes(busy: Site) -> None:
    """Piped, nothing is coloured or cut, each column begins at the same place in each line, and no cell is empty."""
    text = busy.run("info").stdout
    assert "\x1b" not in text
    assert "…" not in text
    lines = text.split("\n\n")[0].splitlines()
    places = [lines[0].index(head) for head in HEADS]
    for line in lines[1:]:
        assert all(line[place] != " " and line[place - 2 : place] == "  " for place in places[1:]), line
    assert busy.run("info", "--sort=job").stdout.splitlines()[0] == lines[0]


@pytest.mark.parametrize("ground", ["15;0", "0;15"], ids=["dark", "light"])
def test_on_80_columns_nothing_important_is_cut(busy: Site, ground: str) -> None:
    """At 80 columns, job, status and next run stay whole on a light and a dark ground, and no line is longer."""
    with Screen(busy.folder, "info", columns=80, env={"COLORFGBG": ground}) as screen:
        assert screen.end() == 0
        lines = screen.printed()
    assert max(map(width, lines)) <= 80
    piped = busy.run("info").stdout
    for jobid in ("hourly-report:A", "dies-at-night:A", "held-back:A"):
        [line] = [line for line in lines if line.startswith(f"{jobid} ")]
        whole = row_of(piped, jobid)
        assert whole["STATUS"].split(" ")[0] in line
        assert whole["NEXT"].split(",")[0] in line
    assert "in 59 min" in "\n".join(lines) or "in 1 h" in "\n".join(lines)
    assert b"\x1b[1;31m" in screen.written, "what is wrong is red"
    assert b"\x1b[4" not in screen.written, "the ground is left as it is"


def test_on_200_columns_all_is_shown(busy: Site) -> None:
    """At 200 columns nothing is cut, and the words are those of the pipe."""
    with Screen(busy.folder, "info", columns=200) as screen:
        assert screen.end() == 0
        lines = screen.printed()
    assert "…" not in "".join(lines)
    wordless = re.compile(r"\d+ (s|min)( ago)?|now|(\d\d:\d\d:)?\d\d\b")
    piped = busy.run("info").stdout.splitlines()
    assert [wordless.sub("N", " ".join(line.split())) for line in lines] == [
        wordless.sub("N", " ".join(line.split())) for line in piped
    ]


def test_no_color_is_obeyed(busy: Site) -> None:
    """With NO_COLOR, a terminal gets no colours."""
    with Screen(busy.folder, "info", env={"NO_COLOR": "1"}) as screen:
        assert screen.end() == 0
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]", screen.written)


def test_without_rich_the_terminal_gets_plain_lines(busy: Site, tmp_path: Path) -> None:
    """Without rich, info prints the same lines without colours, and -i says in one line how to install it."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['rich'] = None\n")
    env = {"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}"}
    with Screen(busy.folder, "info", env=env) as screen:
        assert screen.end() == 0
        assert b"\x1b" not in screen.written
        lines = screen.printed()
    assert lines[0].split()[0] == "JOB"
    assert max(map(width, lines)) <= 80
    with Screen(busy.folder, "info", "-i", env=env) as screen:
        assert screen.end() == 1
        assert screen.printed() == ["redbike: info: -i needs the library rich: pip install 'redbike[rich]'"]


def test_jobs_can_be_chosen(busy: Site) -> None:
    """Job ids, -q, -s, --status and --match choose jobs; of -s, every state that the table shows is accepted."""

    def chosen(*arguments: str) -> list[str]:
        answer = busy.run("info", *arguments)
        assert answer.returncode == 0, answer.stderr
        return sorted(row[0] for row in table(answer.stdout)[1:] if row[0] != "no jobs")

    assert chosen("typo:A", "over:A") == ["over:A", "typo:A"]
    assert chosen("-q", "work-B") == ["nobody-serves:B"]
    assert chosen("-s", "running") == ["slow-import:A"]
    assert chosen("--status=failing") == ["dies-at-night:A"]
    assert chosen("-s", "lost") == ["dies-at-night:A", "typo:A"]
    assert chosen("--match=*e*:A", "-s", "stopped") == ["over:A"]
    assert chosen("-s", "timed out") == []
    for word in STATES:
        chosen("-s", word)


def test_only_the_named_jobs_are_printed(busy: Site) -> None:
    """With job ids, info prints their rows alone; an unknown id is named on stderr, and the exit code is 1."""
    answer = busy.run("info", "over:A", "no\x1bsuch:A", "none:A")
    assert answer.returncode == 1
    assert [row[0] for row in table(answer.stdout)] == ["JOB", "over:A"]
    assert len(answer.stdout.splitlines()) == 2
    assert [line.split(" under")[0] for line in answer.stderr.splitlines()] == [
        "redbike: there is no job 'no\\x1bsuch:A'",
        "redbike: there is no job 'none:A'",
    ]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("-s", "sleeping"), f"--status: 'sleeping' is not one of {', '.join(STATES)}"),
        (("--sort=size",), "--sort: 'size' is not one of status, next,"),
        (("--limit=many",), "--limit: 'many' is not a number"),
        (("--interval=0",), "--interval: '0' is not a number of seconds"),
        (("--interval=nan",), "--interval: 'nan' is not a number of seconds"),
        (("-i",), "-i needs a terminal"),
        (("-i", "--json"), "choose one of --live and --json"),
    ],
)
def test_a_mistake_is_one_line(busy: Site, arguments: tuple[str, ...], part: str) -> None:
    """A word or number that is not known is one line on stderr that says what is possible, and exit code 1."""
    answer = busy.run("info", *arguments)
    assert (answer.returncode, answer.stdout) == (1, "")
    [line] = answer.stderr.splitlines()
    assert part in line


def test_jobs_can_be_grouped_by_queue(busy: Site) -> None:
    """With -R, jobs stand below the names of their queues, and the column QUEUE is not needed."""
    lines = busy.run("info", "-R", "--sort=job").stdout.split("\n\n")[0].splitlines()
    assert "QUEUE" not in lines[0]
    assert lines[1] == "work-A"
    assert lines[-2] == "work-B"
    assert [line.split(" ")[0] for line in lines[2:-2]] == sorted(line.split(" ")[0] for line in lines[2:-2])
    assert lines[-1].startswith("nobody-serves:B ")


def test_json_has_rows_and_overview(busy: Site) -> None:
    """--json prints one object: the rows under `jobs`, how many are left out, and the overview beside them."""
    found = json.loads(busy.run("info", "--json", "--limit=2", "--sort=job").stdout)
    assert [job["job"] for job in found["jobs"]] == ["dies-at-night:A", "held-back:A"]
    assert found["jobs"][0]["status"] == "failed"
    assert found["jobs"][0]["last_run"]["error"] == "ValueError: as it was told"
    assert found["jobs"][1]["in_words"] == "every 5 min"
    assert found["left_out"] == 6
    assert found["states"]["planned"] == 2
    assert [process["kind"] for process in found["processes"]] == ["dispatcher", "worker"]
    assert found["last_hour"]["failures"] == 1


# all rows


@pytest.mark.parametrize("most_few", [10_000, 0])
def test_all_rows_are_those_of_single_jobs(bike: Redbike, monkeypatch: pytest.MonkeyPatch, most_few: int) -> None:
    """A listing has the same rows as a look at single jobs, whether few or many jobs resume by themselves or have a
    run beside the one on the timeline.
    """
    monkeypatch.setattr("redbike.looking.rows._MOST_FEW", most_few)
    for jobid in ("back:A", "twice:A", "plain:A"):
        bike.set(jobid, "AT:4000000000")
    bike.pause("back:A", until=3_900_000_000)
    bike.redis.zadd(f"{bike.prefix}:extra", {"twice:A": 3_800_000_000, "gone:A": 1})
    rows = {row.jobid: row for row in Rows(bike).all()}
    assert list(rows.values()) == Rows(bike).of(rows)
    assert {jobid: (row.next_run, row.resumes_at) for jobid, row in rows.items()} == {
        "back:A": (None, 3_900_000_000),
        "twice:A": (3_800_000_000, None),
        "plain:A": (4_000_000_000, None),
    }


@pytest.mark.parametrize(
    ("sort", "jobids"),
    [
        ("job", ["a:A", "b:A", "c:A", "d:A"]),
        ("-job", ["d:A", "c:A", "b:A", "a:A"]),
        ("next", ["c:A", "a:A", "b:A", "d:A"]),
        ("-next", ["a:A", "c:A", "b:A", "d:A"]),
        ("status", ["d:A", "c:A", "a:A", "b:A"]),
        ("-status", ["b:A", "c:A", "a:A", "d:A"]),
    ],
)
def test_rows_are_sorted(bike: Redbike, sort: str, jobids: list[str]) -> None:
    """--sort puts jobs in order, with a minus in the other; jobs without a next run come last in both."""
    for jobid, schedule in {"a:A": "AT:4000000002", "b:A": "STOP", "c:A": "AT:4000000001", "d:A": "nonsense"}.items():
        bike.set(jobid, schedule)
    assert [row.jobid for row in ask(bike, Asked(sort=sort)).rows] == jobids
    assert [row.jobid for row in ask(bike, Asked(sort=sort, limit=2)).rows] == jobids[:2]


def test_the_limit_is_named(bike: Redbike, site: Site) -> None:
    """At most --limit jobs are shown, 100 without it, and the line below says how many were left out; 0 shows all."""
    bike.set_many((f"{number:03}:A", "STOP") for number in range(130))
    lines = site.run("info", "--sort=job").stdout.splitlines()
    assert lines[100].startswith("099:A ")
    assert lines[101] == "30 more of 130 jobs: --limit=0 shows all"
    assert site.run("info", "--limit=7").stdout.splitlines()[8] == "123 more of 130 jobs: --limit=0 shows all"
    assert "129:A " in (text := site.run("info", "--limit=0").stdout)
    assert " more of " not in text


def test_an_empty_prefix_has_a_table_too(site: Site) -> None:
    """Without jobs, info says so, and the sections stand as always."""
    text = site.run("info").stdout
    assert text.splitlines()[1] == "no jobs"
    assert [line.split(" ")[0] for line in text.splitlines() if re.match("[A-Z]+ ", line)][1:] == SECTIONS


def test_halt_and_held_queues_are_named(bike: Redbike, site: Site) -> None:
    """HALT and a queue that is held are named, with who holds it and why."""
    bike.set("waits:A", "CONTINUE")
    bike.hold("work-A", note="disk full")
    bike.control("HALT")
    text = site.run("info").stdout
    assert re.search(r"^HALT +is set since \d\d:\d\d:\d\d: dispatchers and workers end, and no run begins$", text, re.M)
    assert re.search(r"^  work-A +1 +(now|\d+ s) waits:A +0 +by .* since \d\d:\d\d:\d\d: disk full$", text, re.M)


# untrusted text


def register_hostile(bike: Redbike) -> None:
    """Register the jobs as another program could: Redbike itself refuses most of these ids."""
    now = int(time.time())
    for jobid in HOSTILE.values():
        bike.redis.hset(bike.schedules_key, jobid, "EVERY:1h")
        bike.redis.hset(bike.statuses_key, jobid, f"TML:{now}")
        bike.redis.zadd(bike.timeline_key, {jobid: now + 1800})


@pytest.mark.parametrize("columns", [80, 200])
def test_hostile_ids_do_no_harm(bike: Redbike, site: Site, columns: int) -> None:
    """Escape sequences, line breaks, wide characters, markup and 4,000 bytes in an id change no other line."""
    register_hostile(bike)
    with Screen(site.folder, "info", "--sort=job", columns=columns) as screen:
        assert screen.end() == 0
    text = re.sub(rb"\x1b\[[0-9;]*m", b"", screen.written)
    assert b"\x1b" not in text
    assert b"\x07" not in text
    lines = screen.printed()
    assert max(map(width, lines)) <= columns
    assert len([line for line in lines if " planned " in line]) == len(HOSTILE)
    assert any(line.startswith("\\x1b[2J\\x1b]0;owned\\x07:A ") for line in lines)
    assert any(line.startswith("[bold red]no[/bold red] :smile: {a}:A ") for line in lines)
    starts = {columns_of(line[: line.index(" planned ")]) for line in lines if " planned " in line}
    assert len(starts) == 1, "wide characters move no column"


def columns_of(text: str) -> int:
    """Return the columns of a text of which only these characters are not one column wide."""
    return len(text) + sum(char in "世界" for char in text) - text.count("\u0301")


def test_a_pipe_gets_hostile_ids_whole(bike: Redbike, site: Site) -> None:
    """In a pipe, an id of 4,000 bytes is whole in its line, and moves no other line."""
    register_hostile(bike)
    text = site.run("info").stdout
    assert "\x1b" not in text
    lines = text.split("\n\n")[0].splitlines()
    assert any(line.startswith(f"{HOSTILE['long']}  every hour  ") for line in lines)
    assert sorted(map(len, lines))[-2] < 250
    assert json.loads(site.run("info", "--json").stdout)["states"] == {"planned": len(HOSTILE)}


def test_bytes_that_are_not_utf8(bike: Redbike, site: Site) -> None:
    """Ids and schedules in odd bytes are shown with escapes."""
    bike.redis.hset(bike.schedules_key, b"caf\xe9:A", b"\xff")
    text = site.run("info").stdout
    assert re.match(r"caf\\udce9:A +\\udcff +work-A +new, lost ", text.splitlines()[1])


def test_the_page_shows_real_output(busy: Site) -> None:
    """The table in the documentation is the output of this fleet, but for times and pids."""
    [page] = [text for path in ROOT.glob("docs/looking*.md") if "```text\nJOB " in (text := path.read_text("utf-8"))]
    shown = page.partition("```text\nJOB ")[2].partition("```")[0]
    with Screen(busy.folder, "info", columns=120) as screen:
        assert screen.end() == 0
        lines = screen.printed()
    assert [wordless(line) for line in f"JOB {shown}".splitlines()] == [wordless(line) for line in lines]


def wordless(line: str) -> str:
    """Return a line without numbers, times, ages and hosts, and with single blanks."""
    line = re.sub(r"(\d\d:\d\d:\d\d|\w{3} \d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d)(, in)?", "N", line)
    line = re.sub(r"\S+:\d{2,}\b", "HOST", line)
    line = re.sub(r"\d[\d.]* (s|min|h|days?)( ago)?|\bnow\b", "N", line)
    # The widths of the other columns decide how much of a schedule is shown.
    return " ".join(re.sub(r"CRON:.*?…|CRON:.*?Berlin", "CRON", line).split())
