"""The page is safe as it is: who may use it, what it refuses, and the headers of all that it sends."""

import os
import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from helpers import FUTURE
from nodes import eventually
from pages import Page, of_job, words

pytest.importorskip("starlette")

from redbike import ConfigError, Redbike
from redbike.web.actions import OF_A_JOB
from redbike.web.fields import quoted
from redbike.web.guard import HEADERS, MOST_BODY_BYTES
from redbike.web.manners import Manners, is_local_name
from redbike.web.sessions import LASTS_S, TRIES_OF_A_CLIENT, TRIES_OF_ALL, Sessions, Tries

ADDRESSES = (
    *("/", "/jobs", "/history", "/fleet", "/queues", "/queue?name=work-A", "/troubles", "/job?id=x", "/job/unset?id=x"),
    *("/check?schedule=NOW", "/api", "/api/openapi.json", "/api/info", "/api/jobs/x", "/api/history", "/api/why"),
    *("/login", "/nowhere", "/static/app.css", "/static/app.js", "/static/nothing", "/events?page=/nowhere"),
)
Opening = Callable[..., Page]


@pytest.fixture
def opening(bike: Redbike) -> Iterator[Opening]:
    """Opens pages on the bike of the test."""
    pages: list[Page] = []

    def open_page(**manners: object) -> Page:
        page = Page(bike, **manners)
        pages.append(page.__enter__())
        return page

    yield open_page
    for page in pages:
        page.stop()


def test_headers_of_every_answer(opening: Opening) -> None:
    """Each answer, also an error, has the strict headers, forbids scripts in the page, and names no server."""
    page = opening()
    for path in ADDRESSES:
        answer = page.get(path)
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
        assert "server" not in answer.headers
        is_file = path in ("/static/app.css", "/static/app.js")
        assert ("no-store" in answer.headers["cache-control"]) is not is_file
    refused = page.ask("DELETE", "/")
    assert (refused.status, refused.headers["x-frame-options"]) == (405, "DENY")


def test_pages_hold_no_inline_script_or_style(opening: Opening, bike: Redbike) -> None:
    """No page holds a script or a style in its HTML, or an attribute that runs code."""
    bike.set("job:A", "EVERY:1h")
    page = opening()
    for path in ADDRESSES:
        html = page.get(path).text
        assert not re.search(r"<script(?! src=\"/static/app\.js\?[0-9a-f]+\" defer></script>)", html), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html), path


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com"])
def test_other_addresses_need_a_password(host: str, bike: Redbike) -> None:
    """An address that others can reach needs a password, or the header of a reverse proxy."""
    with pytest.raises(ConfigError, match="web-password"):
        Page(bike, host=host)
    Manners(host=host, password="x").check()
    Manners(host=host, user_header="X-User").check()


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:80", "[::2]"])
def test_the_name_of_the_host_is_checked(name: str, opening: Opening) -> None:
    """Without a password, the page answers only to names of this machine, so another site cannot lend it its name."""
    assert not is_local_name(name)
    if name:
        assert opening().get("/", Host=name).status == 421


def test_names_of_this_machine() -> None:
    """The page answers to localhost, 127.0.0.1 and [::1], with and without a port."""
    assert all(is_local_name(n) for n in ("localhost", "localhost:1", "127.0.0.1:8730", "[::1]", "[::1]:8730"))


def test_a_change_needs_the_token_of_the_session(opening: Opening, bike: Redbike) -> None:
    """A change is refused without a session, without its token, and with the token of another session."""
    bike.set("job:A", "EVERY:1h")
    page = opening()
    visitor, other = page.visitor(), page.visitor()
    visitor.get("/queues")
    other.get("/queues")
    target = of_job("job:A", "/job/unset")
    assert visitor.post(target, token="").status == 403
    assert visitor.post(target, token=other.token).status == 403
    assert page.visitor().post(target, token=visitor.token).status == 403
    assert page.get(target).status == 200
    assert bike.get_schedule("job:A") is not None
    assert visitor.post(target).status == 303
    assert bike.get_schedule("job:A") is None


@pytest.mark.parametrize(
    "headers",
    [
        *({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}),
        *({"Origin": "null"}, {"Origin": "http://localhost:1"}),
    ],
)
def test_a_form_of_another_site_is_refused(headers: dict[str, str], opening: Opening, bike: Redbike) -> None:
    """A change that the browser says to come from another site is refused, although its token is right."""
    bike.set("job:A", "EVERY:1h")
    visitor = opening().visitor()
    visitor.get("/queues")
    assert visitor.post(of_job("job:A", "/job/unset"), headers=headers).status == 403
    assert bike.get_schedule("job:A") is not None


def test_the_cookie_is_out_of_reach(opening: Opening) -> None:
    """The cookie is for this page alone: no script reads it, no other site sends it, and behind TLS it is secure."""
    page = opening()
    cookie = page.get("/").headers["set-cookie"]
    assert re.fullmatch(rf"redbike-{page.port}=[\w-]{{43}}; Path=/; HttpOnly; SameSite=Strict", cookie)
    assert page.get("/", X_Forwarded_Proto="https").headers["set-cookie"].endswith("; Secure")
    assert "set-cookie" not in page.get("/api/history").headers


def test_sign_in(opening: Opening, bike: Redbike) -> None:
    """With a password, every page leads to the login, the API answers 401, and a session begins with the password."""
    bike.set("job:A", "EVERY:1h")
    page = opening(password="opensesame")
    visitor = page.visitor()
    for path in ADDRESSES:
        answer, is_open = visitor.get(path), path.startswith(("/static", "/login"))
        assert is_open or answer.status == (401 if path.startswith(("/api", "/events")) else 303), path
        assert "job:A" not in answer.text
    assert visitor.get("/jobs?q=a").headers["location"] == "/login?next=%2Fjobs%3Fq%3Da"
    assert visitor.post("/login", password="wrong").status == 403
    assert visitor.cookie == ""
    assert visitor.post(of_job("job:A", "/job/unset")).status == 401
    answer = visitor.post("/login", password="opensesame", next="/jobs?q=a")
    assert (answer.status, answer.headers["location"]) == (303, "/jobs?q=a")
    assert "job:A" in visitor.get("/jobs").text
    before = visitor.cookie
    assert visitor.post("/logout").status == 303
    visitor.cookie = before
    assert visitor.get("/jobs").status == 303


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\r\nX: y"])
def test_the_login_leads_nowhere_else(target: str, opening: Opening) -> None:
    """After the login, a browser goes to a page of ours."""
    answer = opening(password="x").visitor().post("/login", password="x", next=target)
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_logins_are_bounded(opening: Opening) -> None:
    """After five wrong passwords in a minute, a client has to wait, also with the right password."""
    visitor = opening(password="x").visitor()
    assert [visitor.post("/login", password="y").status for _ in range(TRIES_OF_A_CLIENT)] == [403] * TRIES_OF_A_CLIENT
    answer = visitor.post("/login", password="x")
    assert answer.status == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_tries_of_many_clients_are_bounded() -> None:
    """Also many clients together have only so many tries in a minute."""
    now = [0.0]
    tries = Tries(lambda: now[0])
    assert [tries.wait_s(str(n)) for n in range(TRIES_OF_ALL)] == [0.0] * TRIES_OF_ALL
    assert tries.wait_s("another") == 60
    now[0] = 61
    assert tries.wait_s("another") == 0


def test_sessions_end() -> None:
    """A session ends twelve hours after its last request, and only so many exist."""
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    cookie, session = sessions.make()
    now[0] = LASTS_S - 1
    assert sessions.find(cookie) is session
    now[0] = 2 * LASTS_S - 2
    assert sessions.find(cookie) is session
    now[0] = 4 * LASTS_S
    assert sessions.find(cookie) is None
    first, _ = sessions.make()
    for _ in range(5000):
        sessions.make()
    assert sessions.find(first) is None


def test_behind_a_reverse_proxy(opening: Opening) -> None:
    """With web-user-header, a request without this header is refused, and so is a name that is not in web-hosts."""
    page = opening(user_header="X-Remote-User", hosts=("Redbike.example", "[2001:db8::1]"))
    for name in ("redbike.example", "REDBIKE.example:443", "[2001:db8::1]:80", "localhost"):
        assert page.get("/", Host=name).status == 403
        assert page.get("/", Host=name, X_Remote_User="ann").status == 200
    for name in ("evil.example", "redbike.example.evil.example", "x.redbike.example", "[2001:db8::2]"):
        refused = page.get("/", Host=name, X_Remote_User="ann")
        assert refused.status == 421
        assert "add the public name of the page to web-hosts" in refused.text


def test_the_address_of_the_page_is_a_name_of_it() -> None:
    """The page answers to the address of --host, not to a name there; with a password, it answers to any name."""
    page = Manners(host="192.0.2.7", user_header="X-User")
    assert [page.answers_to(name) for name in ("192.0.2.7:8730", "192.0.2.8", "")] == [True, False, False]
    assert Manners(host="2001:db8::7", user_header="X-User").answers_to("[2001:db8::7]:8730")
    assert not Manners(host="evil.example", user_header="X-User").answers_to("evil.example")
    assert Manners(password="x", user_header="X-User").answers_to("any.example")


def test_read_only(opening: Opening, bike: Redbike) -> None:
    """With --read-only, no page has a form that changes anything, and every change is refused."""
    bike.set("job:A", "EVERY:1h")
    page = opening(is_read_only=True)
    visitor = page.visitor()
    for path in (*ADDRESSES, of_job("job:A")):
        assert 'method="post"' not in visitor.get(path).text
    session = page.site.sessions.find(visitor.cookie.partition("=")[2])
    assert session
    for path in (*(of_job("job:A", f"/job/{name}") for name in OF_A_JOB), "/hold"):
        answer = visitor.post(path, token=session.token)
        assert (answer.status, answer.text[:22]) == (403, "this page is read-only")
    assert bike.get_schedule("job:A") is not None


def test_payloads_and_errors_can_be_hidden(opening: Opening, bike: Redbike, worker: object) -> None:
    """With web-hide-payloads, no payload and no error of a job leaves the page or the API."""
    bike.control("HALT")
    bike.set("job:A", "NOW", payload="card 4711")
    worker.acts = {"job:A": lambda: 1 / 0}  # type: ignore[attr-defined]
    bike.work()
    bike.set("job:A", "EVERY:1h", payload="card 4711")
    shown, hidden = opening(), opening(hides_payloads=True)
    paths = (*ADDRESSES, of_job("job:A"), "/api/jobs/job:A", "/history?job=job:A", "/api/why", "/api/why?job=job:A")
    assert sum("card 4711" in shown.get(path).text for path in paths) == 2
    assert sum("division by zero" in shown.get(path).text for path in paths) >= 4
    for path in paths:
        text = hidden.get(path).text
        assert "card 4711" not in text, path
        assert "division by zero" not in text, path


def test_large_requests_are_refused(opening: Opening) -> None:
    """A long address, a large form, many fields and a body of another kind are refused."""
    visitor = opening().visitor()
    visitor.get("/queues")
    assert visitor.get("/jobs?q=" + "x" * 20_000).status == 414
    assert visitor.get("/jobs?" + "&".join(f"a{n}=1" for n in range(60))).status == 400
    assert visitor.post("/hold", note="x" * MOST_BODY_BYTES).status == 413
    assert visitor.post("/hold", headers={"Content-Type": "text/plain"}).status == 415


def test_a_fault_shows_no_traceback(opening: Opening, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours is an answer of one line; its traceback is in the log only."""
    page = opening()
    page.get("/")
    page.site.views.data = lambda *_: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    answer = page.get("/jobs")
    assert (answer.status, answer.text) == (500, "The page failed; the log of redbike web says why.\n")
    eventually(lambda: "ZeroDivisionError" in caplog.text)


def test_streams_are_bounded_and_end_with_the_page(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many streams are open at a time, and the page ends within two seconds although some are open."""
    monkeypatch.setattr("redbike.web.live.MOST_STREAMS", 2)
    page = opening()
    streams = [page.connect() for _ in range(2)]
    for number, stream in enumerate(streams, 1):
        stream.request("GET", "/events?page=/")
        assert stream.getresponse().status == 200
        eventually(lambda number=number: page.site.hub.viewers == number)
    assert page.get("/events?page=/").status == 503
    began = time.monotonic()
    page.stop()
    assert time.monotonic() - began < 2
    for stream in streams:
        stream.close()


def test_a_port_that_is_taken(bike: Redbike) -> None:
    """A port that is taken is an error that names the port and the way out."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Exception, match=rf"127\.0\.0\.1:{port} cannot be used .* --port"):
            Page(bike, port=port)


@pytest.mark.parametrize(
    "jobid",
    [
        *("<script>alert(1)</script>:A", "\"'><img src=x onerror=alert(1)>:A", "\u202eevil\u200f:A", "x" * 4000 + ":A"),
        *(os.fsdecode(b"\xff\xfe:A"), "a/b?c#d&e=f+g%20:A", "{{ 7 * 7 }}:A", " :A", "ü€😀:A"),
    ],
)
def test_hostile_job_ids(jobid: str, opening: Opening, bike: Redbike) -> None:
    """Any id is text on each page, with escapes for what cannot be seen, and leads to the page of its job."""
    raw = os.fsencode(jobid)
    bike.redis.hset(f"{bike.prefix}-schedules", raw, b"EVERY:1h")
    bike.redis.zadd(f"{bike.prefix}-timeline", {raw: FUTURE})
    bike.redis.lpush(f"{bike.prefix}-work-A", raw)
    visitor = opening().visitor()
    eventually(lambda: "appear here in a moment" not in visitor.get("/jobs").text)
    pages = [
        visitor.get(path).text
        for path in ("/", "/jobs", "/queue?name=work-A", of_job(jobid), of_job(jobid, "/job/unset"))
    ]
    for html in pages:
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert "\u202e" not in html
        assert quoted(jobid) in html
    link = re.search(r'href="(/job\?id=[^"]+)"', pages[1])
    assert link
    assert link[1] == of_job(jobid)
    assert "There is no job" not in words(visitor.get(link[1]).text)
    if raw.isascii() and jobid.isprintable():
        assert visitor.post(of_job(jobid, "/job/pause")).status == 303
        assert bike.get_schedule(jobid) == "PAUSED:EVERY:1h"
