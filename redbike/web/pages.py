"""The pages: each makes HTML of the data of its view."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from redbike.engine.outcome import Outcome
from redbike.errors import RedbikeError, ServerError
from redbike.looking import words
from redbike.looking.schedules import schedule_in_words
from redbike.looking.table import Column
from redbike.schedule.forms import PAUSED
from redbike.web import actions
from redbike.web.digest import BAD_STATES
from redbike.web.fields import fields, quoted
from redbike.web.hub import NotKnown
from redbike.web.outlook import Outlook, outlook
from redbike.web.pictures import durations
from redbike.web.render import Pages
from redbike.web.site import Site
from redbike.web.views import SPANS, STATES

_MOST_QUEUES = 500
_RUNS_OF_A_JOB = 60
_MENU = (
    *(("/", "Overview"), ("/jobs", "Jobs"), ("/history", "History"), ("/queues", "Queues")),
    *(("/fleet", "Fleet"), ("/troubles", "Troubles"), ("/api", "API")),
)
_ICONS = {
    "planned": "○",
    "due": "◷",
    "queued": "≡",
    "running": "▶",
    "stopped": "■",
    "failed": "✕",
    "lost": "?",
    "bad": "!",
    "timed out": "✕",
    "new": "+",
    "paused": "‖",
}
_OUTCOME_ICONS = {
    "done": "✓",
    "failed": "✕",
    "stopped": "■",
    "unset": "–",
    "later": "↻",
    "bad": "!",
    "lost": "?",
    "late": "!",
}
_KNOWN = {*_ICONS, *_OUTCOME_ICONS}


def make_pages(site: Site, shared: Mapping[str, Any]) -> Pages:
    """Return the templates of the pages."""
    hides = site.manners.hides_payloads
    heads = site.sight.calls.heads
    calls = [head for head in heads if head not in list(Column)]
    return Pages(
        {
            **shared,
            "menu": _MENU,
            "icons": _ICONS,
            "outcome_icons": _OUTCOME_ICONS,
            "columns": [(name.lower(), name) for name in (Column.JOB, *calls, *list(Column)[1:])],
            "calls": calls,
            "states": STATES,
            "bad_states": BAD_STATES,
            "outcomes": list(Outcome),
            "spans": [(key, name) for key, (_, name) in SPANS.items()],
            "prefix": site.sight.bike.prefix,
            "is_read_only": site.manners.is_read_only,
            "asks_password": site.manners.password is not None,
        },
        {
            "age": words.length,
            "ahead": words.ahead,
            "moment": words.moment,
            "duration": words.duration,
            "words": schedule_in_words,
            "secret": lambda text: "(hidden)" if hides else text,
            "classname": lambda word: str(word).replace(" ", "-") if str(word) in _KNOWN else "other",
        },
    )


class PageHandlers:
    """The handlers of the pages of one site."""

    def __init__(self, site: Site, pages: Pages) -> None:
        self._site = site
        self._pages = pages

    async def overview(self, request: Request) -> Response:
        """Answer the seven questions."""
        return await self.page_of(request, "overview.html")

    async def jobs(self, request: Request) -> Response:
        """List the jobs."""
        given = query(request)
        names = sorted({*(one.name for one in self._site.queues()), *self._site.sight.digest.brokers_queues})
        more = {
            "given": {name: given.get(name, "") for name in ("q", "status", "queue", "sort")},
            "queue_names": names[:_MOST_QUEUES],
            "read_at": self._site.sight.read_at,
        }
        return await self.page_of(request, "jobs.html", more, "/jobs")

    async def history(self, request: Request) -> Response:
        """List past runs."""
        given = query(request)
        more = {
            "given": {name: given.get(name, "") for name in ("job", "outcome", "since")},
            "reaches": self._site.sight.past.reaches(),
        }
        return await self.page_of(request, "history.html", more)

    async def fleet(self, request: Request) -> Response:
        """List the processes."""
        return await self.page_of(request, "fleet.html")

    async def queues(self, request: Request) -> Response:
        """List the queues."""
        return await self.page_of(request, "queues.html")

    async def troubles(self, request: Request) -> Response:
        """List what is wrong now."""
        return await self.page_of(request, "troubles.html", {"troubles": self._site.views.troubles()})

    async def queue(self, request: Request) -> Response:
        """Show the first jobs of a queue."""
        name = query(request).get("name", "")
        if not name:
            raise HTTPException(404, "No queue is named.")
        await self._site.hub.fresh()
        try:
            jobs = await self._site.hub.ask(self._site.sight.peek, name)
        except ServerError:
            jobs = None
        found = next((one for one in self._site.queues() if one.name == name), None)
        more = {
            "name": name,
            "jobs": jobs,
            "hold": found and found.hold,
            "workers": found.workers if found else 0,
            "depth": found.jobs if found else len(jobs or ()),
        }
        return await self.page_of(request, "queue.html", more)

    async def job(self, request: Request) -> Response:
        """Show all that is known of one job."""
        site, jobid = self._site, query(request).get("id", "")
        if not jobid:
            raise HTTPException(404, "No job is named.")
        await site.hub.fresh()
        try:
            details: dict[str, Any] = await site.hub.ask(site.sight.study, jobid)
            is_old = False
        except ServerError:
            details, is_old = {}, True
        row = site.sight.row_of(jobid)
        records = [
            record for record, _ in zip(site.sight.past.latest_first(jobid), range(_RUNS_OF_A_JOB), strict=False)
        ]
        schedule = details.get("schedule") or (row and row.schedule)
        run = next((one for one in site.running() if one.jobid == jobid), None)
        next_run = details.get("next_run", row and row.next_run)
        more = {
            "jobid": jobid,
            "is_old": is_old,
            "schedule": schedule,
            "next_run": next_run,
            "run": run,
            "is_known": bool(schedule or details.get("status") or details.get("working")),
            "state": row and str(row.state),
            "since": row and row.since,
            "pause": details.get("pause"),
            "queue": details.get("queue") or (row.queue if row else "?"),
            "position": details.get("position"),
            "queue_held": details.get("queue_held", False),
            "last": details.get("last_run") or (row and row.last),
            "payload": details.get("payload"),
            "cells": details.get("calls") or (row.calls if row else {}),
            "why": details.get("why", []),
            "records": records,
            "records_count": len(records),
            "durations": durations(records),
            "outlook": await self._outlook(schedule, next_run),
            "most": 5,
        }
        return await self.page_of(request, "job.html", more, status=200 if more["is_known"] or is_old else 404)

    async def check(self, request: Request) -> Response:
        """Say what a schedule leads to, while it is typed."""
        text = query(request).get("schedule", "").replace("\r\n", "\n").strip()
        values = {"outlook": await self._outlook(text, None), "now": self._site.now(), "most": 5}
        return self._pages.render("check.html", values)

    async def ask_unset(self, request: Request) -> Response:
        """Ask before a job is unset."""
        jobid = query(request).get("id", "")
        if self._site.manners.is_read_only:
            raise HTTPException(403, "This page is read-only.")
        row = self._site.sight.row_of(jobid)
        return await self.page_of(request, "unset.html", {"jobid": jobid, "schedule": row and row.schedule})

    async def act_on_job(self, request: Request) -> Response:
        """Do an action, and return to the page of the job."""
        name, jobid = request.path_params["action"], query(request).get("id", "")
        action = actions.OF_A_JOB.get(name)
        if action is None or not jobid:
            raise HTTPException(404, "There is no such action.")
        await self._act(request, action, jobid)
        return RedirectResponse(f"/job?id={quoted(jobid)}" if name != "unset" else "/jobs", 303)

    async def hold(self, request: Request) -> Response:
        """Hold or release a queue, and return to its page."""
        name = query(request).get("queue", "")
        await self._act(request, actions.hold, name)
        return RedirectResponse(f"/queue?name={quoted(name)}" if name else "/queues", 303)

    async def _act(self, request: Request, action: Any, name: str) -> None:
        site, session = self._site, request.state.session
        try:
            text = await site.hub.ask(action, site.sight.bike, name, request.state.form)
        except NotKnown as error:
            session.say("bad", f"{error}. Look at it again before you repeat it.")
        except (RedbikeError, ValueError) as error:
            session.say("bad", f"Not done: {error}")
        else:
            session.say("good", text)
        site.hub.expect_news()

    async def _outlook(self, schedule: str | None, next_run: float | None) -> Outlook:
        is_paused = (schedule or "").startswith(PAUSED)
        planned = None if is_paused else next_run
        # In another thread: a recurrence that somebody types may take a while.
        return await asyncio.to_thread(outlook, schedule, self._site.now(), planned)

    async def page_of(
        self,
        request: Request,
        name: str,
        more: Mapping[str, Any] | None = None,
        path: str | None = None,
        status: int = 200,
    ) -> Response:
        """Return a page with the data of its view, and more."""
        path = path or request.url.path
        site = self._site
        await site.hub.fresh()
        page = {"print": "", "is_live": False, "shows_menu": True, "path": path, **site.shown()}
        values: dict[str, Any] = {}
        if site.views.knows(path):
            data, print_ = site.views.data(path, query(request))
            values = dict(data)
            page |= {"print": print_, "is_live": True}
        session = getattr(request.state, "session", None)
        values |= {
            "page": page,
            "now": site.now(),
            "form_token": session.token if session else "",
            "messages": session.take_messages() if session and "x-redbike-live" not in request.headers else [],
            **(more or {}),
        }
        return self._pages.render(name, values, status)

    def plain(self, request: Request, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
        """Return a page that does not depend on the state, such as the login."""
        is_known = getattr(request.state, "session", None) is not None or self._site.manners.password is None
        page = {"print": "", "is_live": False, "shows_menu": is_known, "path": request.url.path}
        page |= {"away_since": None, "faulty_since": None, "looked_at": None}
        page |= {"is_halted": False, "hold": None, "troubles": 0}
        shared = {"page": page, "now": time.time(), "form_token": "", "messages": []}
        return self._pages.render(name, {**shared, **values}, status)


def query(request: Request) -> dict[str, str]:
    """Return the fields of the query of a request."""
    try:
        return fields(request.scope["query_string"])
    except ValueError:
        raise HTTPException(400, "The address has too many fields.") from None
