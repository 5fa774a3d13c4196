"""The id of one planned run. Every try to send the run has the same id, so a receiver recognises a duplicate."""

import uuid

NAMESPACE = uuid.UUID("5f4d3a0e-6a0c-5c5e-9d1f-6b1d8c7b2e90")
"""The namespace of the ids. It must never change: ids before and after the change would differ."""


def run_id(prefix: str, jobid: str, due_at: float) -> str:
    """Return the id of the run of a job that was due at this Unix time (seconds, to the microsecond).

    It is a UUID of version 5 (RFC 9562, section 5.5): the same job and time always have the same id. The prefix counts
    as a part of the job, because two prefixes may send jobs of the same name to one broker.
    """
    return str(uuid.uuid5(NAMESPACE, f"{due_at:.6f}\n{prefix}\n{jobid}"))
