"""`redbike info -i` at a real terminal: keys typed through a pty, and the terminal given back however it ends."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Server
from nodes import eventually
from processes import Site
from screens import DOWN, END, ENTERED, ESCAPE, HOME, LEFT, PAGE_DOWN, UP, Screen

from redbike import Redbike


@pytest.fixture
def filled(bike: Redbike, site: Site) -> Site:
    """Sixty planned jobs, and one that has stopped."""
    bike.set_many((f"job-{number:02}:A", f"AT:{4_000_000_000 + number}") for number in range(60))
    bike.set("over:A", "STOP")
    return site


@pytest.fixture
def live(filled: Site) -> Iterator[Screen]:
    with Screen(filled.folder, "info", "-i", "--interval=0.2", columns=100, lines=30) as screen:
        screen.wait_for("job-00:A")
        yield screen


def jobs_of(text: str) -> list[str]:
    return re.findall(r"^(\S+:A) ", text, re.M)


def is_given_back(screen: Screen) -> bool:
    """Return whether the terminal is as it was before the command."""
    written = screen.written
    return written.rindex(LEFT) > written.rindex(ENTERED) and screen.settings() == screen.settings_at_first


def test_the_view_shows_table_and_sections(live: Screen) -> None:
    """The screen has a head with the fleet, the table, the sections as far as there is room, and the keys."""
    text = live.wait_for("PROCESSES")
    lines = text.splitlines()
    assert re.match(r"redbike test\S+  \d\d:\d\d:\d\d  61 jobs  0 dispatchers, 0 workers", lines[0])
    assert lines[1].split() == ["JOB", "SCHEDULE", "QUEUE", "STATUS", "NEXT", "LAST", "FAILS"]
    assert re.search(r"^JOBS +61 jobs: 60 planned, 1 stopped$", text, re.M)
    assert lines[-1].startswith("q quit  / filter  s sort: status  ↑↓ scroll  Tab sections   jobs 1 to ")
    assert len(lines) == 30
    assert live.settings() != live.settings_at_first


def test_the_view_is_live(live: Screen, bike: Redbike) -> None:
    """A job that is set while the view is open appears, and a job that is unset goes."""
    bike.set("brand-new:A", "nonsense")
    assert jobs_of(live.wait_for("brand-new:A"))[0] == "brand-new:A"
    bike.unset("brand-new:A")
    eventually(lambda: (live.read(0.1), "brand-new:A" not in live.shown())[1])


def test_q_quits(live: Screen) -> None:
    """q ends the view with 0, and the terminal is as before."""
    live.press("q")
    assert live.end() == 0
    assert is_given_back(live)


def test_arrows_and_pages_scroll(live: Screen) -> None:
    """Down, up, page down, end and home move the table, which never leaves its ends."""
    first = jobs_of(live.shown())
    live.press(UP)
    live.press(DOWN)
    live.press(DOWN)
    assert jobs_of(live.wait_for(r"jobs 3 to "))[0] == "job-02:A"
    live.press(UP)
    live.wait_for(r"jobs 2 to ")
    live.press(PAGE_DOWN)
    live.wait_for(rf"jobs {len(first) + 2} to ")
    live.press(END)
    assert jobs_of(live.wait_for(r"to 61 of 61"))[-1] == "over:A"
    live.press(DOWN)
    live.press(HOME)
    assert jobs_of(live.wait_for(r"jobs 1 to ")) == first


def test_a_filter_is_typed(live: Screen) -> None:
    """/ asks for a part of an id or a glob; q is a letter of it then; Esc shows all jobs again."""
    live.press("/OVE")
    assert jobs_of(live.wait_for("/OVE▏")) == ["over:A"]
    live.press("q")
    live.wait_for("/OVEq▏")
    live.press("\x7f\r")
    live.wait_for("/OVE  Esc clears .* jobs 1 to 1 of 1")
    live.press(ESCAPE)
    live.wait_for("of 61")
    live.press("/job-?7:*\r")
    assert jobs_of(live.wait_for("of 6$")) == [f"job-{number}7:A" for number in range(6)]


def test_s_changes_the_order(live: Screen) -> None:
    """s goes to the next order, and S turns it."""
    live.press("s")
    live.wait_for("s sort: next")
    live.press("S")
    assert jobs_of(live.wait_for("s sort: -next"))[0] == "job-59:A"


def test_tab_shows_the_sections(live: Screen) -> None:
    """Tab gives the sections the whole screen, and the jobs again."""
    live.press("\t")
    text = live.wait_for("Tab jobs")
    assert "LATENESS" in text
    assert jobs_of(text) == []
    live.press("\t")
    assert jobs_of(live.wait_for("Tab sections"))


@pytest.mark.parametrize(("columns", "lines"), [(60, 12), (160, 50), (20, 3), (5, 1)])
def test_the_view_follows_the_window(live: Screen, columns: int, lines: int) -> None:
    """After a change of the window's size, the whole screen is drawn for the new size."""
    live.written = b""
    live.resize(columns, lines)
    live.wait_for("redb")
    eventually(lambda: (live.read(0.1), live.written.count(b"\x1b[2J") >= 1)[1])
    assert max(map(len, live.shown().splitlines())) <= columns
    assert f"\x1b[{lines + 1};1H".encode() not in live.written.rpartition(b"\x1b[2J")[2]
    live.press("q")
    assert live.end() == 0


def test_ctrl_c_gives_the_terminal_back(live: Screen) -> None:
    """After Ctrl-C, the exit code is 130, and the terminal is as before."""
    live.press("\x03")
    assert live.end() == 130
    assert is_given_back(live)
    assert b"Traceback" not in live.written


def test_sigterm_gives_the_terminal_back(live: Screen) -> None:
    """After SIGTERM, the exit code is 143, and the terminal is as before."""
    os.kill(live.pid, signal.SIGTERM)
    assert live.end() == 143
    assert is_given_back(live)
    assert b"Traceback" not in live.written


def test_an_error_gives_the_terminal_back(filled: Site) -> None:
    """After an error of the program, the terminal is as before, and the error is below it."""
    (filled.folder / "sitecustomize.py").write_text(
        "import redbike.looking.watcher as watcher\n"
        "def fail(self):\n    raise RuntimeError('as it was told')\n"
        "watcher.Watcher._look = fail\n"
    )
    path = f"{filled.folder}:{Path(__file__).parent.parent}"
    with Screen(filled.folder, "info", "-i", env={"PYTHONPATH": path}) as screen:
        assert screen.end() == 1
        assert is_given_back(screen)
        assert screen.written.rindex(b"RuntimeError: as it was told") > screen.written.rindex(LEFT)


def test_ctrl_z_gives_the_terminal_back_for_a_while(live: Screen) -> None:
    """Ctrl-Z gives the terminal back; when the process goes on, the whole screen is drawn again."""
    os.kill(live.pid, signal.SIGTSTP)
    eventually(lambda: (live.read(0.1), live.written.endswith(LEFT))[1])
    assert live.settings() == live.settings_at_first
    eventually(lambda: words_of_stat(live.pid)[0] == "T")
    live.written = b""
    os.kill(live.pid, signal.SIGCONT)
    live.wait_for("job-00:A")
    assert live.written.startswith(ENTERED)


def test_a_missing_redis_is_shown(own_server: Server, prefix: str, tmp_path: Path) -> None:
    """While Redis is away, the view says so and keeps what it saw; it goes on when Redis is back; q works meanwhile."""
    with Site(tmp_path, own_server, prefix) as site:
        site.run("set", "job:A", "EVERY:1h")
        with Screen(site.folder, "info", "--interval=0.2", columns=120) as screen:
            screen.wait_for("job:A ")
            own_server.kill()
            assert jobs_of(screen.wait_for(r"\d s old: connecting to Redis|\d s old: .*Redis")) == ["job:A"]
            own_server.start()
            screen.wait_for("1 job  0 dispatchers")
            own_server.kill()
            screen.wait_for(" old: ")
            screen.press("q")
            assert screen.end(3) == 0
            assert is_given_back(screen)
            assert b"Traceback" not in screen.written


def test_an_idle_view_takes_little_time(live: Screen) -> None:
    """An idle view of sixty jobs takes less than a tenth of a processor, and writes only lines that change."""
    live.read(0.5)
    live.written = b""
    before, began = cpu_s(live.pid), time.monotonic()
    while time.monotonic() < began + 3:
        live.read(0.2)
    assert cpu_s(live.pid) - before < 0.3
    assert b"\x1b[1;1H" in live.written, "the line with the time"
    assert b"\x1b[2;1H" not in live.written, "the heads of the columns"
    assert b"\x1b[30;1H" not in live.written, "the keys"


def words_of_stat(pid: int) -> list[str]:
    """Return what the system says of a process: first its state, such as T for stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_s(pid: int) -> float:
    words = words_of_stat(pid)
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_only_some_jobs_live(filled: Site) -> None:
    """With job ids, the live view shows these jobs alone."""
    with Screen(filled.folder, "info", "-i", "over:A", "job-07:A") as screen:
        assert jobs_of(screen.wait_for("over:A")) == ["job-07:A", "over:A"]
        assert "PROCESSES" not in screen.shown()
        screen.press("q")
        assert screen.end() == 0
