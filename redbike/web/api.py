"""The JSON interface: exactly what the commands print with --json, and its description as OpenAPI."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from redbike.engine.outcome import Outcome
from redbike.errors import RedbikeError
from redbike.looking.answer import LIMIT, Asked, info_as_json
from redbike.looking.overview import Overview
from redbike.looking.troubles import troubles_as_json
from redbike.schedule.forms import read_time
from redbike.web.digest import Digest
from redbike.web.fields import unquoted
from redbike.web.openapi import described
from redbike.web.pages import query
from redbike.web.site import Site

MOST_RECORDS = 10_000
_JOBS = b"/api/jobs/"


class ApiHandlers:
    """The handlers below /api/."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def info(self, request: Request) -> Response:
        """Return what `redbike info --json` prints."""
        asked = _asked(query(request), self._site.sight.calls.heads)
        await self._site.hub.fresh()
        overview = self._site.sight.overview
        if overview is None:
            raise HTTPException(503, "nothing is known yet")
        # In another thread: the more jobs, the longer it takes.
        return await asyncio.to_thread(self._info, asked, overview, self._site.sight.digest)

    def _info(self, asked: Asked, overview: Overview, digest: Digest) -> Response:
        jobs, rows = digest.jobs, digest.rows
        counted = replace(overview, states=jobs.states, failing=jobs.failing, lost=jobs.lost)
        found = list(asked.chosen(rows))
        told = info_as_json(counted, asked.in_order(found), len(found))
        return answer({**told, "jobs": [self._without_secrets(job) for job in told["jobs"]]})

    async def job(self, request: Request) -> Response:
        """Return what `redbike show JOBID --json` prints."""
        jobid = unquoted(request.scope["raw_path"].removeprefix(_JOBS))
        found = await self._site.hub.ask(self._site.sight.details, jobid)
        if found["status"] is None and found["schedule"] is None and not found["working"]:
            raise HTTPException(404, f"there is no job {jobid[:200]!r}")
        return answer(self._without_secrets(found))

    async def why(self, request: Request) -> Response:
        """Return what `redbike why --json` prints: of the prefix, of a job, or of a run of it at a time."""
        given, site = query(request), self._site
        if not given.get("job"):
            await site.hub.fresh()
            if site.sight.overview is None:
                raise HTTPException(503, "nothing is known yet")
            return answer(troubles_as_json(site.sight.overview, site.views.told_troubles()))
        if site.manners.hides_payloads:
            raise HTTPException(403, "the sentences quote errors, and web-hide-payloads is set")
        return answer(await site.hub.ask(site.sight.explain, given["job"], _time(given, "time")))

    async def history(self, request: Request) -> Response:
        """Return what `redbike history --json` prints: one object per line, the latest last."""
        given = query(request)
        outcome = given.get("outcome") or None
        if outcome is not None and outcome not in list(Outcome):
            raise HTTPException(400, f"outcome: {outcome[:40]!r} is not one of {', '.join(Outcome)}")
        text = given.get("count", "20")
        count = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MOST_RECORDS)) else 0
        if not 1 <= count <= MOST_RECORDS:
            raise HTTPException(400, f"count: {text[:40]!r} is not a number from 1 to {MOST_RECORDS}")
        since = _time(given, "since")
        bike, jobid = self._site.sight.bike, given.get("job") or None
        records = await self._site.hub.ask(lambda: list(islice(bike.get_history(jobid, since, outcome), count)))
        lines = [written(self._without_secrets(record._asdict())) for record in reversed(records)]
        return Response("".join(f"{line}\n" for line in lines), media_type="application/x-ndjson")

    async def openapi(self, _request: Request) -> Response:
        """Return the description of this interface."""
        return answer(described())

    def _without_secrets(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return the same without payload and errors if the page hides them."""
        if not self._site.manners.hides_payloads:
            return found
        hidden = {name: None if name in ("payload", "error") else value for name, value in found.items()}
        if isinstance(last := hidden.get("last_run"), dict):
            hidden["last_run"] = {**last, "error": None}
        return hidden


def _time(given: dict[str, str], name: str) -> float | None:
    """Return the Unix time of a field of a query; None without it."""
    try:
        return read_time(given[name]) if given.get(name) else None
    except ValueError as error:
        raise HTTPException(400, f"{name}: {error}") from None


def _asked(given: dict[str, str], heads: Sequence[str]) -> Asked:
    """Return what the fields of a query ask for. `heads`: the names of the columns of the worker."""
    limit = given.get("limit", str(LIMIT))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 9):
        raise HTTPException(400, f"limit: {limit[:40]!r} is not a number; 0 returns all jobs")
    asked = Asked(
        queue=given.get("queue") or None,
        state=given.get("status") or None,
        match=given.get("match") or None,
        sort=given.get("sort") or Asked().sort,
        limit=int(limit),
    )
    try:
        asked.check(heads)
    except ValueError as error:
        raise HTTPException(400, str(error).removeprefix("--")) from None
    return asked


def written(found: object, indent: int | None = None) -> str:
    """Return JSON as the commands write it. Bytes that are not UTF-8 become escapes of lone surrogates."""
    text = json.dumps(found, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(found, indent=indent, allow_nan=False)
    return text


def answer(found: object, status: int = 200) -> Response:
    """Return JSON with a final line break, as a command prints it."""
    return Response(f"{written(found, 2)}\n", status, media_type="application/json")


def failed(error: RedbikeError | HTTPException) -> Response:
    """Return an error as JSON."""
    if isinstance(error, HTTPException):
        return answer({"error": error.detail}, error.status_code)
    return answer({"error": str(error)}, 503)
