"""One connection to Celery's broker, and the sending of one task.

kombu and redis-py would repeat a failed call by themselves, so a message could arrive twice without our knowing. Here
each call is made once, and the worker decides what comes next.
"""

import logging
from typing import TYPE_CHECKING, Any

import redis
from celery.app.utils import find_app
from celery.exceptions import CeleryError
from celery.utils.imports import import_from_cwd
from kombu.connection import Connection
from kombu.exceptions import KombuError, OperationalError
from kombu.messaging import Producer
from redis.backoff import NoBackoff
from redis.retry import Retry

from redbike.bridges.sending import SOCKET_TIMEOUT_S, Away
from redbike.errors import ConfigError, WorkerError
from redbike.logs import RateLimitedLog, plain
from redbike.worker import BadJob, Later

if TYPE_CHECKING:
    import celery

    from redbike.bridges.celery.due import DueEntry

_LOG = RateLimitedLog(plain(logging.getLogger("redbike.bridges")))
_REFUSED_LATER_S = 10.0
_AWAY = ("LOADING", "READONLY", "OOM", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "NOAUTH", "NOPERM", "BUSY")
"""The codes of Redis for a server that takes no messages at all now. An error with another code is of one queue."""
_OF_THE_JOB = (
    *(TypeError, ValueError, LookupError, AttributeError, ArithmeticError),
    *(KombuError, CeleryError, redis.DataError),
)
"""What Celery and kombu raise for a message that cannot be made, each time again."""


def find(app: "str | celery.Celery") -> "celery.Celery":
    """Return the app, after loading its tasks. Raise WorkerError if no app has this name."""
    if isinstance(app, str):
        try:
            found = find_app(app, imp=import_from_cwd)
        except (ImportError, AttributeError, ValueError) as error:
            raise WorkerError(
                f"Celery app {app!r} is not found ({error}): write its module, as after `celery -A`, such as proj or"
                " proj.celery:app"
            ) from error
        found.loader.import_default_modules()
    else:
        found = app
    found.finalize()
    return found


class _Producer(Producer):  # type: ignore[misc]
    """A producer that notes when a message leaves: what fails before is a fault of the message."""

    has_begun = False

    def _publish(self, *args: Any, **kwargs: Any) -> Any:
        self.has_begun = True
        return super()._publish(*args, **kwargs)


class Broker:
    """The broker of one app. `connect`, then `apply` entries."""

    def __init__(self, app: "celery.Celery") -> None:
        """Connect to nothing yet."""
        self.app = app
        self._connection: Connection | None = None
        self._producer: _Producer | None = None

    @property
    def name(self) -> str:
        """The broker and its address for log lines. The password is hidden."""
        connection = self._connection or self.app.connection_for_write()
        return f"Celery's broker at {connection.as_uri()}"

    @property
    def socket_timeout_s(self) -> float:
        """The time limit of one reply of the broker, in seconds."""
        return float((self.app.conf.broker_transport_options or {}).get("socket_timeout") or SOCKET_TIMEOUT_S)

    def check(self) -> None:
        """Raise ConfigError if the app runs tasks in place of sending them."""
        if self.app.conf.task_always_eager:
            raise ConfigError(
                "task_always_eager: is set, so tasks would run inside the beat: remove it from the settings of the app"
            )

    def connect(self) -> None:
        """Connect, unless there is a connection. Raise Away."""
        if self._producer is not None:
            return
        app = self.app
        app.set_current()
        connection = self._connection
        if connection is None:
            connection = self._connection = app.connection_for_write()
            connection.transport_options = {**self._options(connection), **(connection.transport_options or {})}
        _call_redis_once(connection.transport)
        # A result backend would listen for the result of each task, which nobody here waits for.
        app.backend.on_task_call = lambda *_args, **_kwargs: {}
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, interval_max=0)
            self._producer = _Producer(connection.channel(), auto_declare=False)
        except Exception as error:
            if not self._is_of_broker(error):
                raise
            raise Away(_reason(error)) from error

    def apply(self, entry: "DueEntry") -> object:
        """Send the task of an entry once. Return Celery's result object.

        Raise Away if the broker is away, BadJob for a task that cannot be sent, and Later if only the entry's own
        queue refuses messages. Other exceptions come from code of the project, such as an `apply_async` of its own.
        They pass, so this run fails and the schedule decides.
        """
        producer = self._producer
        assert producer is not None
        producer.has_begun = False
        task = self.app.tasks.get(entry.task)
        try:
            options = {**entry.options, "task_id": entry.run_id, "producer": producer, "retry": False}
            options["headers"] = {**(options.get("headers") or {}), "celery_beat_task": True}
            if task is None:
                return self.app.send_task(entry.task, entry.args, entry.kwargs, **options)
            return task.apply_async(entry.args, entry.kwargs, **options)
        except Exception as error:
            if self._is_of_broker(error) and not _is_of_one_queue(error):
                raise Away(_reason(error)) from error
            if isinstance(_cause(error), _OF_THE_JOB):
                raise BadJob(f"task {entry.task} cannot be sent: {_fault(error)}") from error
            if producer.has_begun:
                _LOG.report(f"job {entry.name!r}", f"the broker refuses its message: {_reason(error)}")
                raise Later(_REFUSED_LATER_S) from None
            raise

    def disconnect(self) -> None:
        """Close the connection. If the broker has several addresses, the next connection is to the next address."""
        self._producer = None
        connection = self._connection
        if connection is not None:
            try:
                connection.close()
            except Exception as error:  # the connection is broken already
                logging.getLogger("redbike.bridges").debug("closing the connection failed: %s", type(error).__name__)
            connection.maybe_switch_next()

    def _options(self, connection: Connection) -> dict[str, Any]:
        """Return options of the transport that the app may override."""
        limit_s = SOCKET_TIMEOUT_S
        if connection.transport.driver_type == "amqp":
            # The broker confirms each message. Without this, a message into a broken connection is lost.
            return {"confirm_publish": True, "read_timeout": limit_s, "write_timeout": limit_s}
        return {"socket_timeout": limit_s, "socket_connect_timeout": limit_s}

    def _is_of_broker(self, error: Exception) -> bool:
        """Return True if the broker caused an error. kombu also lists errors of Python itself, such as KeyError."""
        connection = self._connection
        assert connection is not None
        cause = _cause(error)
        if isinstance(cause, LookupError | redis.DataError):
            return False
        known = (*connection.recoverable_connection_errors, *connection.recoverable_channel_errors)
        return isinstance(error, OperationalError) or isinstance(cause, known)


def _call_redis_once(transport: Any) -> None:
    """Turn off the retries of redis-py in the channels of a transport. It would repeat a push whose reply is lost.

    Also let a channel make its client once. kombu makes a client per message, which takes a tenth of the time of a run.
    """
    channel: Any = getattr(transport, "Channel", None)
    if channel is None or not hasattr(channel, "_connparams"):
        return

    class Channel(channel):  # type: ignore[misc]
        def _connparams(self, *args: Any, **kwargs: Any) -> Any:
            return {**super()._connparams(*args, **kwargs), "retry": Retry(NoBackoff(), 0)}

        def _create_client(self, asynchronous: bool = False) -> Any:
            if asynchronous:
                return super()._create_client(asynchronous=True)
            made, pool = self.__dict__.get("_made", (None, None))
            if made is None or pool is not self.pool:
                made = super()._create_client()
                self._made = made, self.pool
            return made

    transport.Channel = Channel


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ or error


def _is_of_one_queue(error: Exception) -> bool:
    """Return True for an error of Redis that says nothing about the other queues, such as a key of a wrong type."""
    cause = _cause(error)
    return isinstance(cause, redis.ResponseError) and not str(cause).startswith(_AWAY)


def _fault(error: Exception) -> str:
    """Return what is wrong with a message, in one line of limited length."""
    cause = _cause(error) if isinstance(error, OperationalError) else error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]


def _reason(error: Exception) -> str:
    """Return why the broker did not take a message, in a few words. Texts of other libraries may hold a secret."""
    cause = _cause(error)
    text = getattr(cause, "strerror", None) or ""
    code = str(cause).partition(" ")[0]
    if not text and code.isupper():
        text = code
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
