"""Workers that say what their jobs call, as the bridges to Celery and RQ do."""

import json

from conftest import Recorder

CALLERS = """
import json

from workers import Scribe


class Caller(Scribe):
    def columns(self, payload):
        call = json.loads(payload or "{}")
        return {"TASK": call.get("task", ""), "QUEUE": call.get("options", {}).get("queue", "")}
"""


def call(task: str, queue: str = "", **more: object) -> str:
    """Return the payload of a job that calls a task."""
    return json.dumps({"task": task, "args": ["secret"], "options": {"queue": queue} if queue else {}, **more})


class Caller(Recorder):
    """A worker whose payloads name a task and the queue of a broker."""

    def columns(self, payload: str) -> dict[str, str]:
        try:
            found = json.loads(payload)
            return {"TASK": found["task"], "QUEUE": found["options"].get("queue", "")}
        except (ValueError, KeyError, TypeError):
            return {"TASK": "", "QUEUE": ""}
