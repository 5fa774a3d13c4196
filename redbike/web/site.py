"""What the handlers of one page share."""

import logging
import time
from typing import Any

from redbike.bike import Redbike
from redbike.looking.overview import Queue, Running
from redbike.web.hub import Hub
from redbike.web.manners import Manners
from redbike.web.sessions import Sessions, Tries
from redbike.web.sight import Sight
from redbike.web.things import queues, running
from redbike.web.views import Views


class Site:
    """The state of the page of one prefix, and how it is served."""

    def __init__(self, bike: Redbike, manners: Manners, log: logging.Logger) -> None:
        self.manners = manners
        self.log = log
        self.sight = Sight(bike, manners.hides_payloads)
        self.hub = Hub(self.sight, log)
        self.views = Views(self.sight)
        self.sessions = Sessions()
        self.tries = Tries()

    def now(self) -> float:
        """Return the present time by the server's clock, as far as it is known."""
        overview, looked_at = self.sight.overview, self.sight.looked_at
        return time.time() if overview is None or looked_at is None else overview.now + time.time() - looked_at

    def queues(self) -> list[Queue]:
        """Return the queues."""
        return queues(self.sight.overview)

    def running(self) -> list[Running]:
        """Return the runs in progress."""
        return running(self.sight.overview)

    def shown(self) -> dict[str, Any]:
        """Return what every page shows above its content."""
        overview = self.sight.overview
        return {
            "away_since": self.hub.away_since,
            "faulty_since": min(self.hub.faulty_since.values(), default=None),
            "looked_at": self.sight.looked_at,
            "is_halted": overview is not None and overview.is_halted,
            "hold": None if overview is None else overview.hold,
            "troubles": len(self.views.troubles() or ()),
        }
