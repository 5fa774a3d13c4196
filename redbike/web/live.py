"""Tell browsers that what they show has changed. They then load the page again, and replace what differs.

The stream says nothing while nothing changes, but for one line per minute, because "in 3 h" does not stay true.
"""

import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from redbike.web.fields import fields
from redbike.web.pages import query
from redbike.web.site import Site

MOST_STREAMS = 200
_TELLS_EVERY_S = 60.0
_SHOWS_LIFE_EVERY_S = 15.0


class LiveHandlers:
    """The streams of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def events(self, request: Request) -> Response:
        """Stream one event per change."""
        if self._site.hub.viewers >= MOST_STREAMS:
            raise HTTPException(503, "Too many pages are open.", {"Retry-After": "30"})
        given = query(request)
        address = urlsplit(given.get("page", "/"))
        if not self._site.views.knows(address.path):
            raise HTTPException(404, "This page does not change.")
        try:
            asked = fields(address.query.encode("utf-8", "surrogateescape"))
        except ValueError:
            raise HTTPException(400, "The address has too many fields.") from None
        stream = self._stream(address.path, asked, given.get("seen", ""))
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _stream(self, path: str, asked: dict[str, str], seen: str) -> AsyncIterator[bytes]:
        hub, views = self._site.hub, self._site.views
        told_at = lived_at = time.monotonic()
        was_away = hub.away_since is not None, bool(hub.faulty_since)
        with hub.viewing():
            yield b"retry: 3000\n\n"
            while not hub.is_stopping:
                await hub.changed(_SHOWS_LIFE_EVERY_S)
                if hub.is_stopping:
                    return
                now, (_, found) = time.monotonic(), views.data(path, asked)
                is_away = hub.away_since is not None, bool(hub.faulty_since)
                if found != seen or is_away != was_away or now - told_at >= _TELLS_EVERY_S:
                    seen, was_away, told_at, lived_at = found, is_away, now, now
                    yield b"data: changed\n\n"
                elif now - lived_at >= _SHOWS_LIFE_EVERY_S:
                    lived_at = now
                    yield b":\n\n"
