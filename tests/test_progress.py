"""The progress of a long command on a terminal."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from processes import environment

from redbike import Redbike
from redbike.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(stream: io.StringIO, clock: Clock) -> list[str]:
    """Return what a command of three seconds writes at each half second."""
    seen = []
    with Progress(stream, clock) as progress:
        progress.begin("set", 600)
        for count in range(0, 700, 100):
            before = len(stream.getvalue())
            progress(count)
            seen.append(stream.getvalue()[before:])
            clock.now += 0.5
    return [*seen, stream.getvalue()[len("".join(seen)) :]]


def test_a_count_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """G5: without rich, a command of more than a second shows a count on a terminal, and removes it at its end."""
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    *lines, last = shown(Terminal(), Clock())
    assert lines == ["", "", *(f"\r{count} of 600 set\x1b[K" for count in range(200, 700, 100))]
    assert last == "\r\x1b[K"


def test_a_bar_of_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """G5: with rich, a command of more than a second shows a bar."""
    pytest.importorskip("rich.progress")
    monkeypatch.setenv("TERM", "xterm")
    *lines, _last = shown(Terminal(), Clock())
    assert lines[:2] == ["", ""]
    for count, line in zip(range(200, 700, 100), lines[2:], strict=True):
        assert f"{count}/600" in line


@pytest.mark.parametrize("rich", [True, False])
def test_nothing_without_a_terminal(monkeypatch: pytest.MonkeyPatch, rich: bool) -> None:
    """G5: a command whose stderr is no terminal shows nothing, however long it takes."""
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert "".join(shown(io.StringIO(), Clock())) == ""


def test_a_line_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """G5: the count leaves the terminal before a line is printed."""
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    stream, clock = Terminal(), Clock()
    with Progress(stream, clock) as progress:
        progress.begin("checked")
        clock.now += 2
        progress(5)
        progress.clear()
        stream.write("a line\n")
        progress.clear()
        progress(6)
        clock.now += 2
        progress(7)
    assert stream.getvalue() == "\r5 checked\x1b[K\r\x1b[Ka line\n\r7 checked\x1b[K\r\x1b[K"


def test_a_quick_load_on_a_terminal(bike: Redbike, conf: Path) -> None:
    """G5: a quick load shows no progress on a terminal, and needs neither rich nor its time to be imported."""
    (conf.parent / "jobs.csv").write_text("a:A,STOP\n")
    script = (
        "import sys\nfrom redbike import cli\ncode = cli.main(['load', 'jobs.csv'])\n"
        "sys.exit(code or 'rich' in sys.modules)"
    )
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=conf.parent,
            env=environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            timeout=30,
        )
        assert done.returncode == 0
        assert os.read(ours, 1000) == b"1 set\r\n"
    finally:
        os.close(ours)
        os.close(theirs)
    assert bike.get_schedule("a:A") == "STOP"


def test_rich_is_an_extra() -> None:
    """The library rich is an extra of the package, and not needed otherwise."""
    text = (ROOT / "pyproject.toml").read_text()
    assert 'rich = ["rich' in text
    assert "rich" not in text.partition("dependencies = [")[2].partition("]")[0]
