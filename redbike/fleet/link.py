"""What a parent and its child agree on: an environment variable, one channel, and exit codes.

The channel is a pair of sockets. The child writes signs into it. If the parent dies, the child reads its end.
"""

import os
from collections.abc import MutableMapping
from typing import NamedTuple

from redbike.errors import ConfigError

VARIABLE = "REDBIKE_CHILD"

READY = b"r"
"""The child has reached the server, and a dispatcher has loaded its file of schedules."""
HALTED = b"h"
"""The child ends because the prefix is halted."""
EMPTY = b"e"
"""The child ends because the queues are empty."""

REPLACE = 79
"""The exit code of a child that wants to be replaced at once: it has reached a limit, or somebody sent it a signal."""
NOT_MENDED = os.EX_CONFIG
"""The exit code of a child that a restart does not mend."""


class Link(NamedTuple):
    """The side of the child."""

    channel: int  # file descriptor
    page: int | None  # file descriptor, if the parent wants to know the present run
    clears: bool  # whether to clear the control key, as the first child does
    name: str

    def text(self) -> str:
        """Return the value of the environment variable."""
        return f"{self.channel},{-1 if self.page is None else self.page},{int(self.clears)},{self.name}"


def take(environment: MutableMapping[str, str]) -> Link | None:
    """Return the link of this process, None without one. Jobs inherit neither the variable nor the descriptors."""
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    try:
        channel, page, clears, name = text.split(",", 3)
        link = Link(int(channel), None if page == "-1" else int(page), clears == "1", name)
        for descriptor in (link.channel, *([] if link.page is None else [link.page])):
            os.set_inheritable(descriptor, False)
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{VARIABLE}={text!r}: redbike sets this variable for its own processes; unset it") from None
    return link
