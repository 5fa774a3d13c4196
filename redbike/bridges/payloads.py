"""What the payloads of all bridges share: a JSON object."""

import json
from typing import Any

from redbike.worker import BadJob


def object_of(payload: str, form: str, further: str = "") -> dict[str, Any]:
    """Return the JSON object of a payload. Raise BadJob for another text, with the fault and the way out.

    `form`: the shortest payload. `further`: what may be written beside it.
    """
    if not payload:
        raise BadJob(f"the job has no payload: write {form}{further}")
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise BadJob(f"the payload is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadJob(f"the payload is not a JSON object: write {form}, not {payload[:40]!r}")
    return found
