"""The description of the JSON interface. The page /api shows it, and /api/openapi.json holds it."""

from typing import Any

from redbike.looking.answer import LIMIT
from redbike.looking.rows import STATES
from redbike.looking.table import SORTS

_JOBID = ("jobid", "The id of the job. Percent-encode its bytes, also a slash.")
PATHS: dict[str, tuple[str, str, str, list[tuple[str, str]]]] = {
    "/api/info": (
        *("The jobs, and an overview of queues, runs and processes", "redbike info --json", "application/json"),
        [
            ("queue", "Only jobs of this queue."),
            ("status", f"Only jobs in this state: {', '.join(STATES)}."),
            ("match", "Only jobs whose id matches this pattern, as in report*."),
            ("sort", f"The order: {', '.join(SORTS)}; with - before it, the other direction."),
            ("limit", f"The most jobs; 0 for all (default: {LIMIT}). left_out is the number of the other jobs."),
        ],
    ),
    "/api/jobs/{jobid}": (
        *("All that is known of one job", "redbike show JOBID --json", "application/json"),
        [_JOBID],
    ),
    "/api/why": (
        *("All that is wrong now, or why a job does what it does", "redbike why --json", "application/json"),
        [
            (
                "job",
                "Why this job does what it does. Refused if web-hide-payloads is set, because errors are quoted.",
            ),
            ("time", "With a job: what became of its run at this time, in Unix seconds or ISO 8601."),
        ],
    ),
    "/api/history": (
        *("Past runs, one JSON object per line, the latest last", "redbike history --json", "application/x-ndjson"),
        [
            ("job", "Only runs of the job with this id."),
            ("since", "Only runs that ended at or after this time: Unix seconds, or ISO 8601."),
            ("outcome", "Only runs with this outcome: done, failed, lost and so on."),
            ("count", "The most runs, from 1 to 10000 (default: 20)."),
        ],
    ),
}
"""Path -> what it returns, the command that prints the same, the media type, and its parameters."""


def described() -> dict[str, Any]:
    """Return the description as OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Redbike",
            "version": "1",
            "description": "Each address returns exactly what the command prints. All of them only read.",
        },
        "paths": {path: {"get": _operation(path)} for path in PATHS},
        "components": {"schemas": {"Error": {"type": "object", "properties": {"error": {"type": "string"}}}}},
    }


def _operation(path: str) -> dict[str, Any]:
    summary, command, media, parameters = PATHS[path]
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "summary": summary,
        "description": f"The same as: {command}",
        "operationId": path.split("/")[2],
        "parameters": [
            {
                "name": name,
                "in": "path" if f"{{{name}}}" in path else "query",
                "required": f"{{{name}}}" in path,
                "description": text,
                "schema": {"type": "string"},
            }
            for name, text in parameters
        ],
        "responses": {
            "200": {"description": summary, "content": {media: {"schema": {"type": "object"}}}},
            "400": {"description": "A parameter cannot be read.", "content": error},
            "404": {"description": "There is no such job.", "content": error},
            "503": {"description": "Redis does not answer.", "content": error},
        },
    }
