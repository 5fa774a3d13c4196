"""Write placements as the keys and the arguments of the script `place`. This module does not call Redis."""

from collections.abc import Sequence

from redbike.schedule.plan import Action
from redbike.store.keys import Keys
from redbike.store.messages import Placement
from redbike.store.text import encode

_NEED_THEIR_QUEUE = (Action.QUEUE, Action.PAUSE)


def packed(
    placements: Sequence[Placement], keys: Keys, *, all_queues: bool = False
) -> tuple[list[bytes], list[bytes], int]:
    """Return the keys after the memo, the arguments for the jobs, and the number of queues.

    `all_queues`: give the script the queue of every job, not only of jobs that enter or leave it.
    """
    number_of: dict[str, bytes] = {}
    queues: list[bytes] = []
    tags: list[bytes] = []
    jobs: list[bytes] = []
    has_notes = bool(placements[0].note)
    for jobid, queue_key, text, action, due_at, _, payload, note, former in placements:
        number = b""
        if action in _NEED_THEIR_QUEUE or all_queues:
            known = number_of.get(queue_key)
            if known is None:
                known = number_of[queue_key] = b"%d" % (len(number_of) + 1)
                queues += keys.triple(queue_key)
            number = known
            tags.append(encode(keys.tag(queue_key, jobid)))
        carried = b"" if payload is None else b"+" + encode(payload) if payload else b"-"
        jobs += (encode(jobid), encode(text or ""), action.encode(), optional(due_at), number, carried)
        if has_notes:
            jobs += (encode(note), b"*" if former is None else encode(former))
    if has_notes:
        tags.append(encode(keys.loaded))
    return [*queues, *tags], jobs, len(number_of)


def optional(number: float | None) -> bytes:
    """Return a number as a script reads it; nothing for None."""
    return b"" if number is None else repr(float(number)).encode()
