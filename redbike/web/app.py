"""Put the page together: its addresses, their handlers, and what happens to errors."""

import hashlib
import logging
from asyncio import CancelledError, create_task
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from redbike.bike import Redbike
from redbike.errors import RedbikeError
from redbike.web.api import ApiHandlers, failed
from redbike.web.entry import EntryHandlers
from redbike.web.guard import FAULT, Guard
from redbike.web.live import LiveHandlers
from redbike.web.manners import Manners
from redbike.web.openapi import PATHS
from redbike.web.pages import PageHandlers, make_pages
from redbike.web.site import Site

_STATIC = Path(__file__).parent / "static"
_TYPES = {"app.css": "text/css", "app.js": "text/javascript"}
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><g fill="none" stroke="#d0342c" stroke-width="2">'
    '<circle cx="6" cy="15" r="4.5"/><circle cx="18" cy="15" r="4.5"/><path d="M6 15l4-8h5l3 8"/></g></svg>'
)
_FOREVER = "private, max-age=31536000, immutable"
_TITLES = {403: "Refused", 404: "Not found", 503: "Not now"}


class Made:
    """The app and its parts."""

    def __init__(self, bike: Redbike, manners: Manners, log: logging.Logger) -> None:
        manners.check()
        self.site = site = Site(bike, manners, log)
        self._files = {name: (_STATIC / name).read_bytes() for name in _TYPES}
        pages = make_pages(
            site,
            {
                "css": self._address("app.css"),
                "js": self._address("app.js"),
                "icon": f"data:image/svg+xml;base64,{b64encode(_ICON.encode()).decode()}",
            },
        )
        self._pages = page = PageHandlers(site, pages)
        api, live, entry = ApiHandlers(site), LiveHandlers(site), EntryHandlers(site, page)
        routes = [
            *(Route("/", page.overview), Route("/jobs", page.jobs), Route("/history", page.history)),
            *(Route("/fleet", page.fleet), Route("/queues", page.queues), Route("/queue", page.queue)),
            *(Route("/troubles", page.troubles), Route("/job", page.job), Route("/check", page.check)),
            Route("/job/unset", page.ask_unset, methods=["GET"]),
            Route("/job/{action}", page.act_on_job, methods=["POST"]),
            Route("/hold", page.hold, methods=["POST"]),
            *(Route("/login", entry.show), Route("/login", entry.sign_in, methods=["POST"])),
            Route("/logout", entry.sign_out, methods=["POST"]),
            Route("/events", live.events, methods=["GET"]),
            *(Route("/api", self._api_page), Route("/api/openapi.json", api.openapi), Route("/api/info", api.info)),
            *(Route("/api/jobs/{jobid:path}", api.job), Route("/api/history", api.history)),
            Route("/api/why", api.why),
            Route("/static/{name}", self._static),
        ]
        inner = Starlette(
            routes=routes,
            lifespan=self._life,
            exception_handlers={HTTPException: self._error, RedbikeError: self._error, Exception: _fault},
        )
        inner.router.redirect_slashes = False
        self.app: ASGIApp = Guard(inner, manners, site.sessions, log)

    def _address(self, name: str) -> str:
        return f"/static/{name}?{hashlib.sha256(self._files[name]).hexdigest()[:16]}"

    @asynccontextmanager
    async def _life(self, _app: Starlette) -> AsyncIterator[None]:
        looks = create_task(self.site.hub.run())
        await self.site.hub.fresh()
        try:
            yield
        finally:
            await self.site.hub.stop()
            looks.cancel()
            with suppress(CancelledError):
                await looks

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404, "There is no such file.")
        return Response(self._files[name], media_type=_TYPES[name], headers={"Cache-Control": _FOREVER})

    async def _api_page(self, request: Request) -> Response:
        return await self._pages.page_of(request, "api.html", {"paths": PATHS})

    async def _error(self, request: Request, error: Any) -> Response:
        """Show an error in the form in which the answer was expected."""
        path = request.url.path
        if path.startswith("/api/"):
            return failed(error)
        status = error.status_code if isinstance(error, HTTPException) else 503
        text = error.detail if isinstance(error, HTTPException) else str(error)
        values = {"title": _TITLES.get(status, "Error"), "text": text}
        response = self._pages.plain(request, "error.html", values, status)
        for name, value in (getattr(error, "headers", None) or {}).items():
            response.headers[name] = value
        return response


async def _fault(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse(FAULT, 500)  # the guard logs the error
