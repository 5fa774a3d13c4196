"""Several workers under one parent: real processes, real signals."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Server
from fleets import ODD, Led, children_of, is_alive, words_of
from nodes import eventually
from processes import Site
from test_terminal import Terminal

from redbike import Redbike, RoundRobin

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the tests read /proc")

Start = Callable[..., Led]


@pytest.fixture
def lead(site: Site) -> Iterator[Start]:
    """Starts commands that have a parent, and ends them."""
    started: list[Led] = []

    def start(*arguments: str, **kwargs: object) -> Led:
        started.append(Led(site, *arguments, **kwargs))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for led in started:
        led.close()


def pids(site: Site, what: str = "end") -> list[int]:
    """Return the processes of the runs that began or ended."""
    return [int(pid) for kind, _, pid, _ in site.notes() if kind == what]


# Death and replacement


def test_a_killed_worker_is_replaced(lead: Start, bike: Redbike, site: Site) -> None:
    """A worker that is killed is replaced after 0.5 s, then after 1 s; the others go on meanwhile."""
    led = lead("work", "--processes=2")
    led.wait_for(2)
    before = led.children()
    os.kill(before[0], signal.SIGKILL)
    bike.set("meanwhile:A", "NOW")
    eventually(lambda: site.runs() == ["meanwhile:A"])
    assert before[0] not in pids(site)
    led.wait_for(3)
    [new] = set(led.children()) - set(before)
    os.kill(new, signal.SIGKILL)
    led.wait_for(4)
    assert "worker 1 was ended by SIGKILL: a new process starts in 0.5 s" in led.log()
    assert "worker 1 was ended by SIGKILL: a new process starts in 1 s" in led.log()


def test_a_healthy_worker_starts_the_delays_again(lead: Start) -> None:
    """A worker that was healthy for long enough is replaced after the shortest delay again."""
    led = lead("work", "--processes=1", prelude="slot._HEALTHY_AFTER_S = 0.1")
    for number in (1, 2, 3):
        led.wait_for(number)
        os.kill(led.children()[0], signal.SIGKILL)
    led.wait_for(4)
    assert led.log().count("starts in 0.5 s") == 3


def test_a_worker_that_somebody_stops_is_replaced(lead: Start, bike: Redbike, site: Site) -> None:
    """A worker that gets SIGTERM finishes its job and is replaced at once; so is a process whose job left it."""
    led = lead("work", "--processes=1", ODD)
    led.wait_for(1)
    bike.set("slow-1:A", "NOW")
    eventually(lambda: site.runs("begin") == ["slow-1:A"])
    os.kill(led.children()[0], signal.SIGTERM)
    (site.folder / "go-on").touch()
    led.wait_for(2)
    assert site.runs() == ["slow-1:A"]
    assert "starts in" not in led.log()
    bike.set("leaves-1:A", "NOW")
    led.wait_for(3)
    assert "worker 1 has ended with exit code 0: a new process starts in 0.5 s" in led.log()


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_all_after_their_jobs(lead: Start, bike: Redbike, site: Site, number: signal.Signals) -> None:
    """E3: the parent passes signals on; each worker finishes its job, and the parent ends with 0 after them."""
    led = lead("work", "--processes=2")
    led.wait_for(2)
    for jobid in ("slow-1:A", "slow-2:A"):
        bike.set(jobid, "CONTINUE")
    eventually(lambda: len(site.runs("begin")) == 2)
    children = led.children()
    for _ in range(3):
        led.process.send_signal(number)
        time.sleep(0.05)  # so that the signals do not merge
    assert all(map(is_alive, [led.pid, *children]))
    (site.folder / "go-on").touch()
    assert led.code() == 0, led.log()
    assert sorted(site.runs()) == ["slow-1:A", "slow-2:A"]
    assert not any(map(is_alive, children))


def test_a_signal_during_the_start(lead: Start) -> None:
    """E3: a signal to a parent whose workers are still starting ends all of them, with 0."""
    led = lead("work", "--processes=2")
    eventually(led.children, 20)
    led.process.send_signal(signal.SIGINT)
    assert led.code() == 0, led.log()
    assert "Traceback" not in led.log()


def test_halt_ends_all_for_good(lead: Start, bike: Redbike) -> None:
    """E1: HALT ends all workers and the parent with 0, and nobody is restarted; the signal stays set."""
    led = lead("work", "--processes=3")
    led.wait_for(3)
    bike.control("HALT")
    assert led.code() == 0, led.log()
    assert led.log().count("working: ") == 3
    assert bike.is_halted()


def test_a_replaced_worker_does_not_cancel_a_halt(lead: Start, bike: Redbike, site: Site) -> None:
    """E2: the start of a parent clears HALT; a worker that replaces a dead worker heeds it, and runs no job."""
    bike.control("HALT")
    led = lead("work", "--processes=1")
    led.wait_for(1)
    assert not bike.is_halted()
    bike.set("slow-1:A", "NOW")
    bike.set("other:A", "NOW")
    eventually(lambda: site.runs("begin") == ["slow-1:A"])
    bike.control("HALT")
    os.kill(led.children()[0], signal.SIGKILL)
    assert led.code() == 0, led.log()
    assert bike.is_halted()
    assert site.runs("begin") == ["slow-1:A"]


def test_children_end_with_a_killed_parent(lead: Start, bike: Redbike, site: Site) -> None:
    """The workers of a parent that is killed finish their jobs and end, the idle workers at once."""
    led = lead("run", "--processes=2")
    led.wait_for(2)
    bike.set("slow-1:A", "CONTINUE")
    eventually(lambda: site.runs("begin") == ["slow-1:A"])
    children = led.children()
    assert len(children) == 3
    led.process.kill()
    led.process.wait()
    eventually(lambda: [pid for pid in children if is_alive(pid)] == pids(site, "begin"), 5)
    (site.folder / "go-on").touch()
    eventually(lambda: not any(map(is_alive, children)), 5)
    assert site.runs() == ["slow-1:A"]
    assert "the parent process has died: this process ends, too" in led.log()


# Mistakes


def test_a_mistake_is_reported_once(lead: Start, site: Site) -> None:
    """G4: a wrong worker or an absent server ends the command with its exit code, and one line says why."""
    led = lead("work", "--processes=3", "nowhere:Nobody()")
    assert led.code() == 78
    assert led.log().count("\n") == 1
    assert "there is no module 'nowhere'" in led.log()
    conf = (site.folder / ".redbike.conf").read_text()
    (site.folder / "away.conf").write_text(conf.partition("[redbike-redis]")[0] + "[redbike-redis]\nport: 1\n")
    led = lead("run", "--config=away.conf", "--processes=3")
    assert led.code() == 1
    assert led.log().count("\n") == 1, led.log()


def test_what_a_restart_does_not_mend_ends_all(lead: Start, site: Site) -> None:
    """G4: a worker that ends with 78 is not restarted: the others end too, and the parent exits with 78."""
    led = lead("work", "--processes=2")
    led.wait_for(2)
    (site.folder / "workers.py").write_text("import nothing_of_this_name")
    shutil.rmtree(site.folder / "__pycache__", ignore_errors=True)
    os.kill(led.children()[0], signal.SIGKILL)
    assert led.code() == 78, led.log()
    assert "worker 1 has ended with exit code 78: all processes end" in led.log()


@pytest.mark.parametrize(
    ("option", "way_out"),
    [
        ("--processes=0", "--processes: '0' is out of range; write a whole number from 1 to 1000"),
        ("--max-jobs=many", "--max-jobs: 'many' is not a whole number"),
        ("--max-memory=1.5", "--max-memory: '1.5' is not a whole number"),
        ("--kill-late=-1", "--kill-late: '-1' is out of range; write a number of seconds from 0.001"),
        ("--kil-late=1", "did you mean --kill-late?"),
    ],
)
def test_wrong_numbers(site: Site, option: str, way_out: str) -> None:
    """G4: an option that cannot be read is one line on stderr, and no process starts."""
    answer = site.run("work", option)
    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1)
    assert way_out in answer.stderr


def test_the_variable_of_children(lead: Start, bike: Redbike, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs do not inherit the variable by which a child knows its parent; a foreign value is one line, and exit 78."""
    lead("work", "--processes=1", ODD).wait_for(1)
    bike.set("asks-1:A", "NOW")
    eventually((site.folder / "environment").exists)
    eventually(lambda: (site.folder / "environment").read_text() == "unset")
    monkeypatch.setenv("REDBIKE_CHILD", "9999,-1,0,me")
    answer = site.run("work")
    assert (answer.returncode, answer.stderr.count("\n")) == (78, 1)
    assert "REDBIKE_CHILD='9999,-1,0,me'" in answer.stderr


def test_modules_of_the_folder_do_not_shadow(lead: Start, site: Site) -> None:
    """Modules of the current folder with the names of others, such as redbike.py, do not disturb children."""
    for name in ("redbike.py", "selectors.py", "numbers.py"):
        (site.folder / name).write_text("raise RuntimeError('shadowed')")
    led = lead("work", "--processes=1")
    led.wait_for(1)


# Limits


@pytest.mark.parametrize("word", ["blocks", "spins"])
def test_a_hanging_job_is_killed(lead: Start, bike: Redbike, site: Site, word: str) -> None:
    """With --kill-late, a worker in a run that goes on after its lease gets SIGTERM, then SIGKILL, and is replaced."""
    led = lead("work", "--kill-late=1", ODD, prelude="slot._KILL_AFTER_S = 0.5")
    led.wait_for(1)
    began = time.monotonic()
    bike.set(f"{word}-1:B", "NOW")
    led.wait_for(2)
    assert 2.5 <= time.monotonic() - began < 6
    bike.set("other:B", "NOW")
    eventually(lambda: site.runs() == ["other:B"])
    assert f"worker 1: job '{word}-1:B' did not end: SIGKILL; its run is lost" in led.log()
    assert "starts in" not in led.log()


def test_jobs_that_end_or_extend_their_lease_are_not_killed(lead: Start, bike: Redbike, site: Site) -> None:
    """With --kill-late, a run within its lease goes on, also after the job has extended it several times."""
    led = lead("work", "--kill-late=0.5", ODD)
    led.wait_for(1)
    for jobid in ("quick-1:B", "extends-1:B"):
        bike.set(jobid, "NOW")
    eventually(lambda: "extends-1:B" in site.runs())
    assert "SIGTERM" not in led.log()
    assert len(set(pids(site))) == 1


def test_a_stop_does_not_wait_for_a_hanging_job(lead: Start, bike: Redbike, site: Site) -> None:
    """With --kill-late, a parent that was asked to stop kills a job that hangs, and ends with 0."""
    led = lead("work", "--kill-late=0.5", ODD, prelude="slot._KILL_AFTER_S = 0.5")
    led.wait_for(1)
    bike.set("blocks-1:B", "NOW")
    eventually(lambda: site.runs("begin") == ["blocks-1:B"])
    led.process.terminate()
    assert led.code() == 0
    assert led.log().count("working: ") == 1


def test_a_worker_is_replaced_after_so_many_jobs(lead: Start, bike: Redbike, site: Site) -> None:
    """With --max-jobs, a worker is replaced between two jobs, at once, and each job runs once."""
    for n in range(5):
        bike.set(f"{n}:A", "NOW")
    led = lead("work", "--max-jobs=2")
    eventually(lambda: len(site.runs()) == 5, 20)
    assert site.runs() == [f"{n}:A" for n in range(5)]
    assert [pids(site).count(pid) for pid in dict.fromkeys(pids(site))] == [2, 2, 1]
    assert "worker 1: 2 jobs done (--max-jobs)" in led.log()
    assert "starts in" not in led.log()


def test_a_replaced_worker_reports_its_last_run(own_server: Server, prefix: str, tmp_path: Path) -> None:
    """With --max-jobs, the end of the last run is reported also if Redis is away for longer than a stop waits."""
    with Site(tmp_path, own_server, prefix) as site:
        led = Led(site, "work", "--max-jobs=1", "hasty:Hasty('A')")
        try:
            (tmp_path / "hasty.py").write_text(
                "from redbike.engine import processor\n"
                "from workers import Scribe as Hasty\n"
                "processor._AFTER_STOP_S = 0.2\n"
            )
            led.wait_for(1)
            site.redis.config_set("appendfsync", "always")  # the server is killed within a second
            bike = Redbike(RoundRobin("A"), prefix, own_server.config, tmp_path / "timefile")
            bike.set("slow-1:A", "NOW")
            eventually(lambda: site.runs("begin") == ["slow-1:A"])
            own_server.kill()
            (tmp_path / "go-on").touch()
            eventually(lambda: site.runs() == ["slow-1:A"])
            time.sleep(2)  # longer than a stop waits
            own_server.start()
            led.wait_for(2)
            assert [(record.jobid, record.outcome) for record in bike.get_history()] == [("slow-1:A", "done")]
            assert "ended with exit code" not in led.log()
        finally:
            led.close()


def test_a_worker_is_replaced_when_it_has_grown(lead: Start, bike: Redbike, site: Site) -> None:
    """With --max-memory, a worker that uses more memory after a job is replaced; the job itself is finished."""
    for jobid in ("1:A", "grows-2:A", "3:A"):
        bike.set(jobid, "NOW")
    led = lead("work", "--max-memory=180", ODD)
    eventually(lambda: site.runs() == ["1:A", "grows-2:A", "3:A"], 20)
    first, second, third = pids(site)
    assert first == second != third
    assert "MB, more than 180 MB (--max-memory)" in led.log()


def test_burst(lead: Start, bike: Redbike, site: Site) -> None:
    """With --burst, a worker ends with 0 when its queues are empty; so does a parent with several workers."""
    for n in range(3):
        bike.set(f"{n}:A", "NOW")
    assert site.run("work", "--burst").returncode == 0
    assert site.runs() == ["0:A", "1:A", "2:A"]
    for n in range(3, 9):
        bike.set(f"nap-{n}:A", "NOW")
    led = lead("work", "--burst", "--processes=2")
    assert led.code() == 0, led.log()
    assert len(site.runs()) == 9
    assert "starts in" not in led.log()


# A dispatcher and workers


def test_run(lead: Start, bike: Redbike, site: Site) -> None:
    """`redbike run` sets a CSV, dispatches and works; a new dispatcher does not set the CSV again."""
    (site.folder / "jobs.csv").write_text("once:A,NOW\noften:A,EVERY:1\n")
    led = lead("run", "--processes=2", "--schedules=jobs.csv")
    led.wait_for(2)
    eventually(lambda: site.runs().count("often:A") >= 2)
    [dispatcher] = led.children("dispatch")
    os.kill(dispatcher, signal.SIGKILL)
    led.wait_for(2, "dispatching: ")
    count = site.runs().count("often:A")
    eventually(lambda: site.runs().count("often:A") > count)
    assert site.runs().count("once:A") == 1
    assert all("--schedules" not in " ".join(words_of(pid)) for pid in led.children())
    bike.control("HALT")
    assert led.code() == 0, led.log()


def test_log_lines_name_their_process(lead: Start, bike: Redbike, site: Site) -> None:
    """With `log-format: json`, the lines of parent and children are JSON, and those of a child have its name."""
    conf = site.folder / ".redbike.conf"
    conf.write_text(conf.read_text().replace("[redbike]\n", "[redbike]\nlog-format: json\n", 1))
    led = lead("run")
    led.wait_for(1)
    bike.control("HALT")
    assert led.code() == 0
    names = [json.loads(line).get("child") for line in led.log().splitlines()]
    assert {"dispatcher", "worker 1", None} == set(names)


@pytest.mark.parametrize("options", [(), ("--kill-late=30",)])
def test_an_idle_parent_sleeps(lead: Start, options: tuple[str, ...]) -> None:
    """An idle parent has no connection to Redis, and does not wake at all within a second."""
    led = lead("run", *options)
    led.wait_for(1)
    status = Path(f"/proc/{led.pid}/status")

    def wakes() -> int:
        return int(status.read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0])

    eventually(lambda: len(led.children()) == 2)
    time.sleep(0.3)  # the signs of the children have been read
    before = wakes()
    time.sleep(1.0)
    assert wakes() == before
    open_files = [str(file.readlink()) for file in Path(f"/proc/{led.pid}/fd").iterdir()]
    assert (
        sum(name.startswith("socket:") for name in open_files) == 4
    )  # a channel for each child, and a pair that signals wake


UNSHARE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*UNSHARE, "true"], capture_output=True).returncode != 0,
    reason="this machine does not allow a new PID namespace",
)
def test_as_the_first_process_of_a_container(lead: Start, bike: Redbike, site: Site) -> None:
    """As PID 1, the parent removes orphans that have ended, passes SIGTERM on, and ends with 0."""
    (site.folder / "orphans.py").write_text(
        "import subprocess\nfrom workers import Scribe\n"
        "class Orphans(Scribe):\n"
        "    def work(self, jobid):\n"
        "        subprocess.run(['sh', '-c', 'sleep 0.2 & sleep 0.2 &'])\n"
        "        self.note('end', jobid)\n"
    )
    led = lead("run", "--processes=2", "orphans:Orphans('A')", wrapper=UNSHARE)
    led.wait_for(2)
    [first] = led.children()
    for n in range(3):
        bike.set(f"{n}:A", "NOW")
    eventually(lambda: len(site.runs()) == 3)
    eventually(lambda: len(children_of(first)) == 3 and all(map(is_alive, children_of(first))), 5)
    os.kill(first, signal.SIGTERM)
    assert led.code() == 0, led.log()


# At a terminal


def test_ctrl_c_at_a_terminal(bike: Redbike, site: Site) -> None:
    """E3: Ctrl-C reaches each worker once: jobs are finished; a second Ctrl-C gives them up, and the parent ends."""
    terminal = Terminal(site.folder, "workers:Scribe('A')", "--processes=2")
    try:
        eventually(lambda: site.waiting() >= 2, 20)
        for jobid in ("slow-1:A", "slow-2:A"):
            bike.set(jobid, "NOW")
        eventually(lambda: len(site.runs("begin")) == 2)
        terminal.press_ctrl_c()
        time.sleep(1)  # longer than the parent waits before it asks again
        assert site.runs() == []
        assert all(map(is_alive, pids(site, "begin")))
        terminal.press_ctrl_c()
        assert terminal.code() == 0, terminal.shown
    finally:
        terminal.close()
    assert terminal.shown.count(b"press Ctrl-C again to give it up") == 2
    assert terminal.shown.count(b"giving up job") == 2


def test_a_signal_to_the_parent_alone_at_a_terminal(site: Site) -> None:
    """E3: SIGINT that somebody sends to a parent at a terminal, past its workers, ends the workers too."""
    terminal = Terminal(site.folder, "workers:Scribe('A')", "--processes=2")
    try:
        eventually(lambda: site.waiting() >= 2, 20)
        os.kill(terminal.pid, signal.SIGINT)
        assert terminal.code() == 0, terminal.shown
    finally:
        terminal.close()
