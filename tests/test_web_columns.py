"""What a job calls, on the web page and in its API."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from callers import CALLERS, Caller, call
from conftest import Fleet, Recorder
from nodes import eventually
from pages import Page, Visitor, of_job, words
from processes import Site

pytest.importorskip("starlette")

if TYPE_CHECKING:
    from redbike import Redbike

JOBS = {"b:A": ("proj.add", "emails"), "a:A": ("proj.<b>sum</b>", ""), "c:A": ("proj.add", "reports")}


@pytest.fixture
def calling(fleet: Fleet) -> "Redbike":
    """Three jobs that call tasks."""
    bike = fleet(Caller())
    for jobid, (task, queue) in JOBS.items():
        bike.set(jobid, "EVERY:1h", payload=call(task, queue))
    return bike


@pytest.fixture
def visitor(calling: "Redbike") -> Iterator[Visitor]:
    with Page(calling) as page:
        visitor = page.visitor()
        eventually(lambda: len(ids(visitor)) == len(JOBS))  # all jobs have been read
        yield visitor


def ids(visitor: Visitor, query: str = "") -> list[str]:
    return re.findall(r'class="row cut"[^>]*>([^<]+)<', visitor.get(f"/jobs?{query}").text)


def test_the_list_shows_what_jobs_call(visitor: Visitor) -> None:
    """The list of jobs has a column for the task, and the queue of the broker in place of the queue of Redbike."""
    html = visitor.get("/jobs").text
    heads = re.findall(r'<th scope="col"[^>]*><a [^>]*>([A-Z]+)', html)
    assert heads == ["JOB", "TASK", "SCHEDULE", "QUEUE", "STATUS", "NEXT", "LAST", "FAILS"]
    assert re.findall(r'<td class="calls[^>]*data-label="TASK">(?:<span[^>]*>)?([^<]*)', html) == [
        "proj.&lt;b&gt;sum&lt;/b&gt;",
        "proj.add",
        "proj.add",
    ]
    assert re.findall(r'data-label="QUEUE">(?:<span[^>]*>)?([^<]*)', html) == ["", "emails", "reports"]
    assert "secret" not in html


def test_jobs_are_found_by_what_they_call(visitor: Visitor) -> None:
    """The list can be sorted by the task and by the queue of the broker, and shows the jobs of one such queue."""
    assert ids(visitor, "sort=task") == ["a:A", "b:A", "c:A"]
    assert ids(visitor, "sort=-task") == ["b:A", "c:A", "a:A"]
    assert ids(visitor, "sort=-queue") == ["c:A", "b:A", "a:A"]
    assert ids(visitor, "queue=emails") == ["b:A"]
    assert ids(visitor, "queue=work-A") == ["a:A", "b:A", "c:A"]
    assert '<option value="emails">emails</option>' in visitor.get("/jobs").text


def test_the_page_of_a_job_shows_what_it_calls(visitor: Visitor) -> None:
    """The page of a job names its task and the queue of the broker, and says it in a sentence."""
    html = visitor.get(of_job("b:A")).text
    assert "<dt>Task</dt><dd" in html
    assert "<dt>Sends to</dt><dd" in html
    assert "It calls proj.add on queue emails." in words(html)
    assert "proj.&lt;b&gt;sum" in visitor.get(of_job("a:A")).text


def test_a_change_of_the_payload_changes_the_list(calling: "Redbike", visitor: Visitor) -> None:
    """If the payload of a job changes, the page shows the new task within the next looks."""
    calling.set_payload("b:A", call("proj.other"))
    eventually(lambda: "proj.other" in visitor.get("/jobs").text)


def test_the_api_has_what_jobs_call(calling: "Redbike", visitor: Visitor, site: Site) -> None:
    """The API returns the cells as the commands print them, and knows the columns as words for the order."""
    assert site.prefix == calling.prefix
    (site.folder / "callers.py").write_text(CALLERS)
    conf = site.folder / ".redbike.conf"
    conf.write_text(conf.read_text().replace("workers:Scribe('A')", "callers:Caller('A')"))
    assert visitor.get("/api/jobs/b:A").text == site.run("show", "b:A", "--json").stdout
    for query, arguments in {"sort=-task": ("--sort=-task",), "queue=emails": ("-q", "emails")}.items():
        printed = json.loads(site.run("info", "--json", *arguments).stdout)["jobs"]
        assert printed[0]["calls"]["TASK"] == "proj.add"
        assert json.loads(visitor.get(f"/api/info?{query}").text)["jobs"] == printed
    answer = visitor.get("/api/info?sort=size")
    assert answer.status == 400
    assert "schedule, task, or with - before it" in json.loads(answer.text)["error"]


def test_hidden_payloads(fleet: Fleet) -> None:
    """With web-hide-payloads, the page shows names of tasks and queues, but no other column and no arguments."""
    worker = Recorder()
    worker.columns = lambda _: {"FUNC": "module.name", "QUEUE": "emails", "TO": "ann"}  # type: ignore[attr-defined]
    bike = fleet(worker)
    bike.set("job:A", "EVERY:1h", payload=call("proj.add"))
    paths = "/jobs", of_job("job:A"), "/api/info", "/api/jobs/job:A"
    with Page(bike, hides_payloads=True) as hidden, Page(bike) as shown:
        for page in (hidden, shown):
            eventually(lambda page=page: "module.name" in page.get("/jobs").text)  # type: ignore[misc]
        for path in paths:
            text = hidden.get(path).text
            assert "module.name" in text, path
            assert "emails" in text, path
            assert not re.search(r"\bann\b|\bTO\b|secret", text), path
            assert re.search(r"\bann\b", shown.get(path).text), path
