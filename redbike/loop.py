"""What a loop needs of the process that it runs in: when to stop, how to wait, how to bear trouble, where to log."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from redbike.patience import Patience
from redbike.trouble import Troubles
from redbike.waiting import Nap


@dataclass(frozen=True)
class Loop:
    """The surroundings of a dispatcher's or worker's loop."""

    stop: Callable[[], bool]
    """Whether the process was told to stop."""
    nap: Nap
    patience: Patience
    troubles: Troubles
    longest_wait_s: float
    """How long a wait may last before the loop looks by itself."""
    longest_sleep_s: float
    """How long an idle worker may sleep while a dispatcher watches its queues."""
    log: logging.Logger
