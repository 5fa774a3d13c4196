"""The README and docs/ are true: their commands and programs are run here, their tables are compared with the code.

Blocks of one section (`##`) run in order, in their own folder with an embedded server. Comments that no reader sees
control this: `<!-- file: NAME -->` writes the next block to a file, also for later sections, and those of the README
for the other pages; `<!-- not run: REASON -->` skips it.
"""

import ast
import csv
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers import ROOT

import redbike
from benchmarks.chaos.faults import FAULTS
from redbike import Redbike, cli, config, settings, usage
from redbike.server.embedded import EmbeddedServer
from redbike.store import keys

PAGES = (
    "README.md",
    "docs/applications.md",
    "docs/arguments.md",
    "docs/commands.md",
    "docs/cron.md",
    "docs/failures.md",
    "docs/loading.md",
    "docs/looking.md",
    "docs/why.md",
    "docs/metrics.md",
    "docs/pausing.md",
    "docs/production.md",
    "docs/promises.md",
    "docs/several-workers.md",
    "docs/state.md",
    "docs/upgrading.md",
    "docs/web.md",
    "docs/workers.md",
)
"""The pages of which each block is run here. The README is the first: the other pages use its files."""

RUN_ELSEWHERE = {
    "docs/schedules.md": "test_preview.py",
    "docs/scaling.md": "test_distributed.py",
    **dict.fromkeys(("docs/celery.md", "docs/rq.md"), "test_bridge_pages.py"),
    **{f"docs/moving-from-{other}.md": "test_moving_pages.py" for other in ("apscheduler", "celery-beat")},
    **{f"docs/moving-from-{other}.md": "test_moving_pages.py" for other in ("redbeat", "rediscron")},
}

TEXTS = {page: (ROOT / page).read_text("utf-8") for page in PAGES}
MOST_LINES = 300  # of the README
WITHIN_S = 10.0

BLOCK = re.compile(
    r"^## (?P<section>[^\n]+)$|(?:^<!-- (?P<note>[^\n]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
STEP = re.compile(r"^\$ (?P<command>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)
KINDS_RUN = {"console", "python"}


@dataclass
class Block:
    """A fenced block of a page."""

    kind: str
    text: str
    note: str

    @property
    def file(self) -> str | None:
        return self.note.removeprefix("file: ") if self.note.startswith("file: ") else None

    @property
    def left_out(self) -> bool:
        return self.note.startswith("not run: ")


@dataclass
class Section:
    """The blocks under one `##` of a page."""

    page: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def sections() -> list[Section]:
    found = []
    for page, text in TEXTS.items():
        found.append(Section(page, "First screen"))
        for match in BLOCK.finditer(text):
            if match["section"]:
                found.append(Section(page, match["section"]))
            else:
                found[-1].blocks.append(Block(match["kind"], match["text"], match["note"] or ""))
    return found


SECTIONS = sections()


class Reader:
    """A reader who types the commands of a page into a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._background: list[tuple[subprocess.Popen[bytes], Path]] = []
        programs = folder / ".bin"
        programs.mkdir()
        self._environ = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": f"{Path(redbike.__file__).parent.parent}:{folder}",
        }
        self._program(programs / "redbike", f'exec "{sys.executable}" -m redbike "$@"')
        stand_in = Path(__file__).with_name("redis_cli.py")
        self._program(programs / "redis-cli", f'exec "{sys.executable}" -IS "{stand_in}" "$@"')

    def types(self, command: str, expected: str) -> None:
        """Run a command until it prints the expected output; in the background if it ends in &."""
        if command.endswith(" &"):
            log = self.folder / f".background{len(self._background)}"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    ["bash", "-c", f"exec {command[:-2]}"],
                    cwd=self.folder,
                    env=self._environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            self._background.append((process, log))
            self._until(command, expected, lambda: log.read_text("utf-8"))
        else:
            self._until(command, expected, lambda: self._output("bash", "-c", command), once=not is_a_look(command))

    def runs(self, program: str, expected: str) -> None:
        """Run a Python program."""
        self._until(program, expected, lambda: self._output(sys.executable, "-c", program), once=True)

    def leaves(self) -> None:
        """End the background commands. A command that started after the `HALT` of its section has cleared it."""
        for process, _ in self._background:
            process.terminate()
        for process, log in self._background:
            try:
                assert process.wait(WITHIN_S) in (0, -signal.SIGTERM), log.read_text("utf-8")
            finally:
                process.kill()

    def _output(self, *command: str) -> str:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=WITHIN_S,
            encoding="utf-8",
        ).stdout

    def _until(self, what: str, expected: str, look: Callable[[], str], once: bool = False) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not says(output := look(), expected):
            assert not once and time.monotonic() < deadline, f"{what}\nsays:\n{output}\nand not:\n{expected}"
            time.sleep(0.02)

    @staticmethod
    def _program(path: Path, line: str) -> None:
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o700)


def is_a_look(command: str) -> bool:
    """Return True if the command only reads, and may be repeated until earlier commands show their effect."""
    return command.startswith(
        (
            *("redbike tell", "redbike statuses", "redbike schedules", "redbike history", "redbike show", "grep"),
            *("redbike why", "redbike check"),
        )
    )


def says(output: str, expected: str) -> bool:
    """Return True if the output is as expected, without times; `…` at the end of a line stands for any text."""
    pattern = re.escape(timeless(expected)).replace("…\\\n", ".*\n")
    return re.fullmatch(pattern, timeless(output)) is not None


def timeless(text: str) -> str:
    """Replace present Unix times, clocks, short ages and the times of log lines by words."""
    text = re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", "TIMESTAMP", text, flags=re.MULTILINE)
    text = re.sub(
        r"\b(\d{4}-\d\d-\d\d |(Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?\d\d:\d\d(:\d\d)?([+-]\d\d:\d\d)?\b", "CLOCK", text
    )
    text = re.sub(r"\((\d+ s( ago)?|now)\)", "(AGE)", text)
    return re.sub(r"\b1[5-9]\d{8}\b", "TIME", text)


@pytest.fixture
def reader() -> Iterator[Reader]:
    # The path of a unix socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    server = EmbeddedServer(folder / ".redbike.server")
    server.join()  # otherwise each command starts and ends it
    reader = Reader(folder)
    try:
        yield reader
        reader.leaves()
    finally:
        server.leave()
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "number",
    [
        number
        for number, section in enumerate(SECTIONS)
        if KINDS_RUN & {block.kind for block in section.blocks if not block.left_out}
    ],
    ids=lambda number: f"{SECTIONS[number].page}: {SECTIONS[number].title}",
)
def test_section(number: int, reader: Reader) -> None:
    """The commands and programs of a section print exactly the output that the page shows."""
    for section in SECTIONS[:number]:
        if section.page in ("README.md", SECTIONS[number].page):
            for block in section.blocks:
                if block.file:
                    (reader.folder / block.file).write_text(block.text, "utf-8")
    blocks = SECTIONS[number].blocks
    for block, following in zip(blocks, [*blocks[1:], Block("", "", "")], strict=True):
        if block.left_out:
            continue
        if block.file:
            (reader.folder / block.file).write_text(block.text, "utf-8")
        elif block.kind == "console":
            assert "".join(match[0] for match in STEP.finditer(block.text)) == block.text
            for step in STEP.finditer(block.text):
                reader.types(step["command"], step["output"])
        elif block.kind == "python":
            reader.runs(block.text, following.text if following.kind == "text" else "")


def test_few_blocks_are_left_out() -> None:
    """Few blocks of the pages are not run, and each gives its reason."""
    left_out = [block for section in SECTIONS for block in section.blocks if block.left_out]
    assert len(left_out) <= 5
    assert all(len(block.note) > len("not run: a reason") for block in left_out)


def test_every_page_is_run() -> None:
    """Each page with a command or a program is run, here or by a test that names the page."""
    for path in ROOT.glob("docs/*.md"):
        page = f"docs/{path.name}"
        if page in RUN_ELSEWHERE:
            assert path.name in (ROOT / "tests" / RUN_ELSEWHERE[page]).read_text("utf-8")
        elif page not in PAGES:
            assert not re.search(r"^```(console|python)", path.read_text("utf-8"), re.MULTILINE), page


def test_the_readme_is_short() -> None:
    """The README has at most 300 lines: longer explanations belong to docs/."""
    assert len(TEXTS["README.md"].splitlines()) <= MOST_LINES


def test_every_conf_can_be_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """G1: each conf that a page shows, whole or some lines of [redbike], loads without a warning."""
    for section in SECTIONS:
        for block in section.blocks:
            if block.kind == "ini":
                (tmp_path / "conf").write_text(block.text if block.text.startswith("[") else f"[redbike]\n{block.text}")
                config.load(tmp_path / "conf")
    assert caplog.messages == []


def test_the_table_of_the_demo() -> None:
    """The table that the README shows has the jobs, the heads and the words of bin/demo."""
    demo = (ROOT / "examples" / "demo.py").read_text("utf-8")
    [table] = [block.text.splitlines() for block in SECTIONS[0].blocks if block.text.startswith("JOB ")]
    assert all(head in demo for head in re.split(r" {2,}", table[0].replace("JOB ", "JOB  ")) if head != "JOB")
    with (ROOT / "examples" / "schedules.csv").open() as rows:
        jobids = {jobid for jobid, _ in csv.reader(rows)} | {"greet:in-3-seconds:fast"}
    assert [line.split()[0] for line in table[1:]] == sorted(jobids)
    assert all(f'"{line[35:47].strip()}"' in demo for line in table[1:])


def test_every_program_is_python() -> None:
    """Each Python program that a page shows can be compiled."""
    for section in SECTIONS:
        for block in section.blocks:
            if block.kind == "python":
                ast.parse(block.text)


@pytest.mark.parametrize(
    ("path", "shown_as"), [("examples/workers.py", "demo_workers.py"), ("examples/schedules.csv", "schedules.csv")]
)
def test_examples_are_shown_as_they_are(path: str, shown_as: str) -> None:
    """The pages show the files of bin/demo as they are."""
    shown = [block.text for section in SECTIONS for block in section.blocks if block.file == shown_as]
    assert shown == [(ROOT / path).read_text("utf-8")]


def test_state_is_that_of_the_code() -> None:
    """A1: the tables of the state in Redis are those of the code: key, type, content, and when it is removed."""
    for header, docs in (("| key |", keys.STATE), ("| added key |", keys.ADDED_STATE)):
        assert rows_below(header) == [(f"`{doc.key}`", doc.type, doc.content, doc.removed) for doc in docs]
    assert f"`{keys.WAKE_CHANNEL}`" in TEXTS["docs/state.md"]


def test_events_are_those_of_the_code() -> None:
    """A3: the table of event codes is that of the code."""
    assert [row[0].strip("`") for row in rows_below("| event |")] == [str(event) for event in keys.Event]


def rows_below(header: str) -> list[tuple[str, ...]]:
    """Return the rows of the only table with this header."""
    [text] = [text for text in TEXTS.values() if f"\n{header}" in text]
    table = text[text.index(f"\n{header}") + 1 :].partition("\n\n")[0].split("\n")
    return [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in table[2:]]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    """G: each command is in the help text with a description, and in a page with an example that is run."""
    assert re.search(rf"^  redbike (\[--config=<CONF>\] )?{command}\b", usage.USAGE, re.MULTILINE)
    assert re.search(rf"^  {command} +[A-Z].+\.$", usage.USAGE, re.MULTILINE)
    run = [block.text for section in SECTIONS for block in section.blocks if not block.left_out]
    assert any(f"$ redbike {command}" in text for text in run)


def test_arguments_are_documented() -> None:
    """H: docs/applications.md lists the arguments of Redbike, in their order."""
    listed = [name for row in rows_below("| argument |") for name in re.findall(r"`(\w+)`", row[0])]
    assert ["self", *listed] == list(inspect.signature(Redbike.__init__).parameters)


def test_methods_are_documented() -> None:
    """H: docs/applications.md lists the public methods of Redbike with their arguments, and no others."""
    listed = {call for row in rows_below("| method |") for call in re.findall(r"`(\w+\(.*?\))`", row[0])}
    methods = inspect.getmembers(Redbike, inspect.isfunction)
    assert listed == {f"{name}({arguments(method)})" for name, method in methods if not name.startswith("_")}


def arguments(method: Callable[..., object]) -> str:
    """Return the arguments of a method as in Python, without types."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return ", ".join(str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in parameters)


@pytest.mark.parametrize("pattern", ["*.py", "[!_]*/*.py", "store/lua/*.lua"])
def test_architecture_names_every_file(pattern: str) -> None:
    """docs/architecture.md says where each module belongs, and what each script does."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    names = {path.name for path in Path(redbike.__file__).parent.glob(pattern)} - {"__init__.py"}
    spelled = {f"`{name}`" if name.endswith(".py") else f"**{name.removesuffix('.lua')}**" for name in names}
    assert [name for name in sorted(spelled) if name not in text] == []


def test_settings_are_in_the_example() -> None:
    """G1: the README names redbike.conf.example as the manual of the settings, and the example has all of [redbike]."""
    assert "(redbike.conf.example)" in TEXTS["README.md"]
    example = (ROOT / "redbike.conf.example").read_text("utf-8")
    assert all(re.search(rf"^#?{name.replace('_', '-')}: ", example, re.MULTILINE) for name in settings.SETTINGS)


def test_promises_name_their_tests() -> None:
    """Each test that docs/promises.md names exists."""
    rows = rows_below("| promise |")
    assert len(rows) > 5
    for _, named in rows:
        file = ""
        for one in re.findall(r"`([^`]+)`", named):
            file, _, test = (one if one.startswith("test_") else file + one).partition("::")
            source = (ROOT / "tests" / file).read_text("utf-8")
            name, _, case = test.removesuffix("]").partition("[")
            assert not name or f"def {name}(" in source, one
            assert not case or case in FAULTS, one


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "tests/README.md",
        *(f"docs/{page.name}" for page in ROOT.glob("docs/*.md")),
    ],
)
def test_links_lead_somewhere(path: str) -> None:
    """Each link to a file or a heading has a target."""
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / path).read_text("utf-8")):
        if "://" not in link:
            file, _, heading = link.partition("#")
            target = (ROOT / path).parent / file if file else ROOT / path
            assert target.exists(), link
            assert not heading or heading in headings(target), link


def headings(page: Path) -> set[str]:
    """Return the headings of a page as links spell them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
