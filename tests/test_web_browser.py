"""The page in a real browser: every page, live, by clicking, for everybody, and idle while nothing changes."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from nodes import eventually
from pages import Page, of_job

from redbike import Redbike

if TYPE_CHECKING:
    from conftest import Recorder

pytest.importorskip("starlette")
pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from playwright.sync_api import Browser, Error, sync_playwright
from playwright.sync_api import Page as Tab

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
_FLAGS += ["--disable-background-networking", "--disable-component-update"]

pytestmark = pytest.mark.skipif(BROWSER is None, reason="chromium is not installed: apt-get install chromium")

HOSTILE = "<script>window.hit=1</script><img src=x onerror=window.hit=1>:A"
LONG = "x" * 3998 + ":A"
PAGES = ("/", "/jobs", "/history", "/queues", "/queue?name=work-A", "/fleet", "/troubles", "/api")
SIZES = {"desk": (1400, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=BROWSER, args=_FLAGS)
        except Error as error:
            pytest.skip(f"chromium does not start here: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture
def page(halted: Redbike, worker: "Recorder") -> Iterator[Page]:
    """A page of ten jobs: planned, paused, stopped, failed, waiting, and with hostile ids."""
    bike = halted
    worker.acts["fails:A"] = lambda: {}["<b>missing</b>"]
    for jobid in ("fails:A", "works:A"):
        bike.set(jobid, "EVERY:1h", first=1)
    bike.dispatch()
    bike.work()
    bike.work()
    for jobid in ("daily:A", "hourly:A", HOSTILE, LONG, "pausing:A"):
        bike.set(jobid, "EVERY:1d", payload='{"a": "<img src=x onerror=window.hit=1>"}')
    bike.pause("pausing:A", note="<img src=x onerror=window.hit=1>")
    bike.set("stopped:A", "STOP")
    bike.set("waiting:A", "NOW")
    bike.set("berlin:A", "DTSTART;TZID=Europe/Berlin:20260101T080000\nRRULE:FREQ=DAILY")
    bike.clear_control()
    with Page(bike) as page:
        yield page


@pytest.fixture
def tab(browser: Browser, page: Page) -> Iterator[Tab]:
    """A tab on the page; a script of a policy, or an error on the console, fails the test."""
    yield from opened(browser, page, "desk", "light")


def opened(browser: Browser, page: Page, size: str, scheme: Any) -> Iterator[Tab]:
    width, height = SIZES[size]
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{page.port}", viewport={"width": width, "height": height}, color_scheme=scheme
    )
    context.set_default_timeout(20_000)
    tab = context.new_page()
    faults: list[str] = []
    tab.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    yield tab
    context.close()
    assert faults == []


def axe() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_for_everybody(size: str, scheme: str, browser: Browser, page: Page) -> None:
    """No page breaks a rule of axe-core (WCAG AA), or is wider than the window, at a desk and on a phone."""
    for tab in opened(browser, page, size, scheme):
        for path in (*PAGES, of_job("fails:A"), of_job(HOSTILE), of_job(LONG), of_job("works:A", "/job/unset")):
            tab.goto(path)
            tab.evaluate(axe())
            found = tab.evaluate("axe.run({resultTypes: ['violations']})")
            broken = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]]
            assert broken == [], path[:40]
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), path[:40]
            assert tab.evaluate("window.hit") is None


def test_hostile_ids_are_text(tab: Tab) -> None:
    """An id like a script, and an id of 4,000 bytes, are text on the page, lead to their job, and can be acted on."""
    tab.goto("/jobs?q=script")
    tab.click("a.row")
    assert tab.inner_text("h1") == HOSTILE
    tab.click("text=Run now")
    tab.wait_for_selector("text=Queued:")
    tab.goto("/jobs?q=xxx")
    tab.click("a.row")
    assert tab.inner_text("h1") == LONG
    assert tab.evaluate("window.hit") is None


def test_actions_by_clicking(tab: Tab, bike: Redbike) -> None:
    """A person can run, pause, resume, edit and unset a job by clicking."""
    tab.goto(of_job("daily:A"))
    tab.fill("input[name=until]", "+2h")
    tab.fill("input[name=note]", "tape")
    tab.click("text=Pause >> nth=-1")
    tab.wait_for_selector("text=Paused. The job")
    tab.click("button:has-text('Resume')")
    tab.wait_for_selector("text=Resumed.")
    tab.fill("textarea", "CRON:0 8 * * *")
    tab.wait_for_selector("#outlook >> text=08:00:00")
    tab.fill("textarea", "CRON:0 25 * * *")
    tab.wait_for_selector("#outlook >> text=✕")
    tab.fill("textarea", "CRON:0 9 * * *")
    tab.click("text=Set the schedule")
    tab.wait_for_selector("text=The schedule is set.")
    assert bike.get_schedule("daily:A") == "CRON:0 9 * * *"
    tab.click("text=Unset …")
    tab.wait_for_selector("text=Unset this job?")
    tab.click("button:has-text('Unset')")
    tab.wait_for_selector("text=Unset: the job and its schedule are gone.")
    assert bike.get_schedule("daily:A") is None


def test_a_change_appears_by_itself(tab: Tab, bike: Redbike, page: Page) -> None:
    """A change appears within seconds, without a reload; the field with the focus keeps it, its text and the scroll."""
    tab.goto(of_job("hourly:A"))
    tab.evaluate("window.same = 1")
    tab.fill("input[name=note]", "half a no")
    eventually(lambda: page.site.hub.viewers == 1)
    bike.pause("hourly:A", note="somebody else")
    tab.wait_for_selector("#facts >> text=somebody else")
    assert tab.evaluate("[window.same, document.activeElement.name, document.activeElement.value]") == [
        *(1, "note", "half a no"),
    ]


def test_the_page_is_idle_while_nothing_changes(tab: Tab, page: Page) -> None:
    """While nothing changes, the page changes nothing, asks nothing, and its thread has no long task."""
    for path in ("/", "/jobs", of_job("works:A")):
        tab.goto(path)
        eventually(lambda: page.site.hub.viewers == 1)
        tab.wait_for_timeout(1500)  # the news since the page was made have arrived
        tab.evaluate(
            """() => {
                window.seen = 0;
                new MutationObserver((list) => { window.seen += list.length; })
                    .observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
                new PerformanceObserver((list) => { window.seen += list.getEntries().length; })
                    .observe({type: 'longtask'});
                performance.clearResourceTimings();
            }"""
        )
        tab.wait_for_timeout(3000)
        assert tab.evaluate("[window.seen, performance.getEntriesByType('resource').length]") == [0, 0]
        tab.goto("about:blank")
        eventually(lambda: page.site.hub.viewers == 0, 20)


def test_nothing_moves_while_a_page_loads_and_updates(tab: Tab, bike: Redbike, page: Page) -> None:
    """Nothing shifts while a page loads, or when news arrive (Cumulative Layout Shift below 0.01)."""
    tab.add_init_script(
        "window.shift = 0; new PerformanceObserver((l) => { for (const e of l.getEntries()) window.shift += e.value; })"
        ".observe({type: 'layout-shift', buffered: true});"
    )
    for path in (*PAGES, of_job("works:A")):
        tab.goto(path)
        tab.wait_for_load_state("load")
        assert tab.evaluate("window.shift") < 0.01, path
    tab.goto("/jobs")
    eventually(lambda: page.site.hub.viewers == 1)
    bike.pause("works:A")
    tab.wait_for_selector("tr:has-text('works:A') >> text=paused")
    assert tab.evaluate("window.shift") < 0.01


def test_without_javascript(browser: Browser, page: Page, bike: Redbike) -> None:
    """Without JavaScript, links and forms do everything."""
    context = browser.new_context(base_url=f"http://127.0.0.1:{page.port}", java_script_enabled=False)
    tab = context.new_page()
    tab.goto("/jobs")
    tab.fill("input[name=q]", "hourly")
    tab.click("text=Filter")
    tab.click("text=hourly:A")
    tab.click("text=Run now")
    assert "Queued" in tab.inner_text("main")
    assert bike.tell("hourly:A")["status"].startswith("ENQ")  # type: ignore[union-attr]
    context.close()


def test_the_keyboard(tab: Tab) -> None:
    """The key / goes to the search, j and k go through the rows, and the first key leads past the menu."""
    tab.goto("/jobs")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("j")
    tab.keyboard.press("j")
    assert tab.evaluate("[...document.querySelectorAll('a.row')].indexOf(document.activeElement)") == 1
    tab.keyboard.press("k")
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.name") == "q"


def test_a_hidden_page_asks_nothing(tab: Tab, page: Page) -> None:
    """A page that is hidden closes its stream, and opens it again when it is shown."""
    tab.goto("/jobs")
    eventually(lambda: page.site.hub.viewers == 1)
    change = (
        "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    tab.evaluate(change % "true")
    eventually(lambda: page.site.hub.viewers == 0, 20)
    tab.evaluate(change % "false")
    eventually(lambda: page.site.hub.viewers == 1)


def test_sign_in_by_typing(browser: Browser, bike: Redbike) -> None:
    """A person signs in with the password, sees the page that was asked for, and signs out."""
    with Page(bike, password="opensesame") as page:
        for tab in opened(browser, page, "phone", "dark"):
            tab.goto("/jobs")
            tab.evaluate(axe())
            assert tab.evaluate("axe.run()")["violations"] == []
            tab.fill("input[type=password]", "opensesame")
            tab.keyboard.press("Enter")
            tab.wait_for_selector("h1:has-text('Jobs')")
            tab.click("text=Sign out")
            tab.wait_for_selector("h1:has-text('Sign in')")
