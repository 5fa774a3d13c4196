"""The worker that sends Celery tasks. Making it imports neither Celery nor the application; its first run does."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redbike.bridges.celery import payload
from redbike.bridges.sending import LEASE_S, Sender
from redbike.errors import RedbikeError
from redbike.worker import BadJob, Later, Run, StopWork, UnsetJob

if TYPE_CHECKING:
    import celery

    from redbike.bridges.celery.broker import Broker
    from redbike.bridges.celery.due import DueEntry

PREFIX = "redbike:celery"
"""The default prefix of the bridge."""
QUEUE = "celery"
"""The queue of Redbike for runs that wait to be sent. It is not a queue of Celery."""


class CeleryWorker(Sender):
    """A worker that sends the task of each run to Celery's broker.

    `redbike work "redbike.bridges.celery:CeleryWorker('proj')"` sends, beside any number of other workers and beats.
    The payload of a job says which task, with which arguments (payload.py). Each try to send a run has the same
    `task_id` (identity.py).
    """

    default_prefix = PREFIX
    lease_name = "lease (setting redbike_lease)"

    def __init__(self, app: "str | celery.Celery", lease: float = LEASE_S) -> None:
        """Send for this app: its name, as after `celery -A`, or the app itself.

        `lease`: the seconds within which a run is handed over, at least twice the socket timeout of the broker.
        """
        super().__init__(QUEUE, lease)
        self._app = app
        self._broker: Broker | None = None
        self.apply: Callable[[DueEntry], object] | None = None
        """Called in place of `Broker.apply`, with the entry that is due. A beat passes it on to Celery's hooks."""

    @staticmethod
    def columns(text: str) -> dict[str, str]:
        """Return what a payload calls, for `redbike info`: the task, and the queue of Celery if it is named."""
        return payload.columns(text)

    @property
    def sender(self) -> "Broker":
        """The connection to the broker. Raise ConfigError or WorkerError for an app that cannot be used."""
        if self._broker is None:
            self.check_installed("Celery", "celery")
            broker = importlib.import_module("redbike.bridges.celery.broker")
            self._broker = broker.Broker(broker.find(self._app))
        return self._broker

    @property
    def broker(self) -> str:
        """The broker and its address for log lines, without a password."""
        return self.sender.name

    def check(self) -> None:
        """Load the app. Raise ConfigError if it runs tasks at once, or if its socket timeout is too long."""
        self.sender.check()
        name = "socket_timeout or socket_connect_timeout of broker_transport_options"
        self.check_timeout(name, self.sender.socket_timeout_s)

    def perform(self, run: Run) -> object:
        """Send a run as `Sender.perform` does. If code of the project fails, the schedule still decides the next run.

        That code is a lazy argument, or an `apply_async`. Its exception is raised if the schedule is in a text. If not,
        log it, and return the next run.
        """
        try:
            return super().perform(run)
        except (RedbikeError, BadJob, Later, StopWork, UnsetJob):
            raise
        except Exception as error:
            due = importlib.import_module("redbike.bridges.celery.due")
            return due.after_failure(self.sender.app, run, error)

    def prepare(self, run: Run) -> Any:
        """Return the entry that is due, or None if the run is too late to be sent. Raise BadJob."""
        due = importlib.import_module("redbike.bridges.celery.due")
        return due.entry_of(self.sender.app, run)

    def send(self, prepared: Any, run: Run) -> object:  # noqa: ARG002 - part of the protocol
        """Send the task. Return when the job runs next, if its schedule is not in a text."""
        entry: DueEntry = prepared
        if not entry.is_too_late:
            self.sender.connect()
            if not self.may_begin:  # connecting took long
                raise Later(0)
            if self.apply is None:
                self.sender.apply(entry)
            else:
                self.apply(entry)
        return entry.next_run

    def disconnect(self) -> None:
        """Close the connection to the broker."""
        if self._broker is not None:
            self._broker.disconnect()
