"""What the page says and does when Redis is slow, or when a look fails."""

from typing import Any

import pytest
from nodes import eventually
from pages import Page, Visitor, of_job, words

pytest.importorskip("starlette")

from redbike import Redbike
from redbike.looking.troubles import Trouble, troubles
from redbike.web.sight import Sight
from redbike.web.views import Views


def test_what_was_not_begun_in_time_is_never_done(
    bike: Redbike, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis is silent, the page calls a begun change not known. A change that still waits is never made."""
    for jobid in ("begun:A", "waits:A", "marker:A"):
        bike.set(jobid, "EVERY:1h")
    visitor.get("/queues")
    monkeypatch.setattr("redbike.web.hub._WAITS_FOR_ANSWER_S", 0.3)
    bike.redis.client_pause(2500)
    assert visitor.post(of_job("begun:A", "/job/unset")).status == 303
    assert visitor.post(of_job("waits:A", "/job/unset")).status == 303
    told = words(visitor.get("/jobs").text)
    assert "Redis has not answered yet: it is not known whether this was done." in told
    assert "Not done: Redis does not answer: nothing was done" in told
    monkeypatch.undo()
    assert visitor.post(of_job("marker:A", "/job/unset")).status == 303
    assert bike.get_schedule("marker:A") is None
    assert bike.get_schedule("begun:A") is None
    assert bike.get_schedule("waits:A") is not None


@pytest.mark.parametrize("name", ["look", "read_index"])
def test_a_fault_of_ours_does_not_end_the_looks(
    name: str, bike: Redbike, page: Page, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When a look fails by a fault of ours, the page and the log say so, and the next looks go on."""
    visitor, works = page.visitor(), getattr(page.site.sight, name)

    def fails() -> None:
        raise ValueError("unreadable")

    monkeypatch.setattr(page.site.sight, name, fails)
    eventually(lambda: "The page fails to read the state since" in words(visitor.get("/jobs").text))
    assert "failed: ValueError: unreadable (" in caplog.text
    monkeypatch.setattr(page.site.sight, name, works)
    bike.set("new:A", "EVERY:1h")
    eventually(lambda: "new:A" in visitor.get("/jobs").text)
    eventually(lambda: "The page fails" not in visitor.get("/jobs").text)


def test_what_was_made_of_an_older_look_is_forgotten(bike: Redbike, monkeypatch: pytest.MonkeyPatch) -> None:
    """The troubles are found once per look for any number of pages, and nothing made of an older look is kept."""
    calls: list[None] = []

    def counted(*given: Any) -> list[Trouble]:
        calls.append(None)
        return troubles(*given)

    monkeypatch.setattr("redbike.web.views.troubles", counted)
    sight = Sight(bike)
    views = Views(sight)
    for look in range(1, 4):
        sight.look()
        made = [views.data(path, {}) for path in ("/", "/jobs", "/troubles")]
        assert views.troubles() is not None
        assert len(calls) == look
        assert list(views._made.values()) == made
