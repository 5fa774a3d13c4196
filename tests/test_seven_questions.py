"""The seven questions of an operator, to a real fleet with one of each trouble: command, page and metric answer."""

import json
import re
import signal
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from helpers import server_now
from nodes import eventually
from pages import Page, words
from processes import Site

from redbike import Redbike


class Trouble(NamedTuple):
    """A fleet in trouble, and how it is looked at."""

    site: Site
    page: Page
    running: int
    """The pid of the worker that is in a run."""
    silent: int
    """The pid of the worker that was killed."""

    def says(self, *arguments: str) -> str:
        return self.site.run(*arguments).stdout

    def shows(self, path: str) -> str:
        return words(self.page.get(path).text)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} ([0-9.e+-]+)$", self.says("metrics"), re.MULTILINE)
        assert found, name
        return float(found[1])


@pytest.fixture
def trouble(site: Site, bike: Redbike) -> Iterator[Trouble]:
    """A worker in a long run, a killed worker, a failed job, a job of a queue without a worker, and a late job."""
    dispatcher = site.start_idle("dispatch")
    running = site.start_idle("work")
    bike.set("slow-import:A", "NOW")
    eventually(lambda: site.runs("begin") == ["slow-import:A"])
    killed = site.start("work")
    bike.set("dies-at-night:A", "CONTINUE")
    eventually(lambda: bike.tell("dies-at-night:A")["status"][:3] == "DIE")  # type: ignore[index]
    eventually(lambda: bike.redis.zcard(f"{bike.prefix}:alive") == 3, 10)
    killed.kill()
    killed.wait()
    described = bike.redis.hgetall(f"{bike.prefix}:processes")
    [silent] = [client for client, text in described.items() if json.loads(text)["pid"] == killed.pid]
    bike.redis.zadd(f"{bike.prefix}:alive", {silent: server_now(bike) - 20})
    dispatcher.send_signal(signal.SIGSTOP)  # nothing is queued any more
    bike.set("late:A", f"AT:{server_now(bike) - 90:.0f}")
    bike.set("next:A", f"AT:{server_now(bike) + 600:.0f}")
    bike.set("mail:Q", "NOW")
    with Page(bike) as page:
        eventually(lambda: "appear here in a moment" not in page.get("/jobs").text)
        yield Trouble(site, page, running.pid, killed.pid)
        (site.folder / "go-on").touch()


def test_each_question_has_an_answer(trouble: Trouble) -> None:
    """One command, one page and one metric answer each of the seven questions, and name the trouble."""
    info, page, why = trouble.says("info"), trouble.shows("/"), trouble.says("why")
    # What is going on?
    assert re.search(r"JOBS +5 jobs: .*1 failed.*1 due.*1 running", info.replace("\n", " "))
    assert "5 jobs" in page
    assert trouble.metric('redbike_jobs{status="failed"}') == 1
    # What is due next?
    assert trouble.says("info", "--sort=next").splitlines()[1].startswith("late:A")
    assert "next:A" in trouble.shows("/jobs?sort=next")
    assert trouble.metric("redbike_timeline_jobs") == 2
    # What runs now, and where?
    assert re.search(rf"slow-import:A +work-A +\S+:{trouble.running} ", info)
    assert re.search(rf"slow-import:A \S+:{trouble.running}", page)
    assert trouble.metric("redbike_runs_running") == 1
    # What failed last night, and why?
    assert "dies-at-night:A  ValueError: as it was told" in trouble.says("history", "--outcome=failed")
    assert "ValueError: as it was told" in trouble.says("why", "dies-at-night:A")
    assert "ValueError: as it was told" in page
    assert trouble.metric('redbike_runs_ended_total{outcome="failed",queue="work-A"}') == 1
    # Which workers are alive?
    assert f"{trouble.silent}" in why
    assert re.search(rf"worker +\S+:{trouble.running} ", info)
    assert "silent" in trouble.shows("/fleet")
    assert trouble.metric('redbike_processes{kind="worker"}') == 1
    # How late are we?
    late = trouble.site.run("check", "--max-late=30")
    assert (late.returncode, "late:A" in late.stdout) == (2, True)
    assert "late:A" in why
    assert trouble.metric("redbike_timeline_overdue_seconds") >= 90
    # What is lost?
    assert trouble.says("lost").startswith("dies-at-night:A,DIE,")
    assert "dies-at-night:A" in why
    assert "Lost: should run, but will not 1" in page
    assert trouble.metric("redbike_jobs_lost") == 1
    # And a queue that nobody serves.
    assert "work-Q" in why
    assert "work-Q" in trouble.shows("/troubles")
