"""One connection to Celery's broker, and the sending of one task.

kombu and redis-py would repeat a failed call by themselves, so a message could arrive twice, unnoticed. Here each call
is made once, and the worker decides what comes next.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import redis
from celery.app.task import Task
from celery.app.utils import find_app
from celery.exceptions import CeleryError
from celery.utils.imports import import_from_cwd
from kombu.connection import Connection
from kombu.exceptions import KombuError, OperationalError
from kombu.messaging import Producer
from redis.backoff import NoBackoff
from redis.retry import Retry

from redbike.bridges.refusals import is_of_the_server
from redbike.bridges.sending import SOCKET_TIMEOUT_S, Away
from redbike.errors import ConfigError, WorkerError
from redbike.logs import RateLimitedLog, plain
from redbike.worker import BadJob, Later

if TYPE_CHECKING:
    import celery

    from redbike.bridges.celery.due import DueEntry

_LOG = RateLimitedLog(plain(logging.getLogger("redbike.bridges")))
_REFUSED_LATER_S = 10.0
_LIMITS = ("socket_timeout", "socket_connect_timeout")
_OF_OTHER_VERSION_LATER_S = 5.0
_VERSIONS_DIFFER_S = 300.0  # so long may a run wait for a process with another version of the app
_OF_THE_JOB = (
    *(ValueError, LookupError, AttributeError, ArithmeticError),
    *(KombuError, CeleryError, redis.DataError),
)
"""The exceptions of Celery and kombu for a message that cannot be made. A further try would raise the same."""


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
    """A producer that notes what became of a message: an error that comes before or after it is not the broker's."""

    is_sent = False
    failure: Exception | None = None
    """What the broker, or the way to it, has raised."""

    def begin(self) -> None:
        """Forget the last message."""
        self.is_sent, self.failure = False, None

    def _publish(self, *args: Any, **kwargs: Any) -> Any:
        try:
            result = super()._publish(*args, **kwargs)
        except Exception as error:
            self.failure = error
            raise
        self.is_sent = True
        return result


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
        """The longest time limit of a connection or a reply of the broker, in seconds."""
        limits = _limits(self.app.conf.broker_transport_options or {})
        return max(limits.values())

    def check(self) -> None:
        """Raise ConfigError if the app runs tasks in place of sending them."""
        if self.app.conf.task_always_eager:
            raise ConfigError(
                "task_always_eager: is set, so tasks would run inside the beat: remove it from the settings of the app"
            )

    def connect(self) -> None:
        """Connect, unless there is a connection. Raise Away if the broker is away."""
        if self._producer is not None:
            return
        app = self.app
        app.set_current()
        connection = self._connection
        if connection is None:
            connection = self._connection = app.connection_for_write()
            given = {name: value for name, value in (connection.transport_options or {}).items() if value is not None}
            connection.transport_options = {**_options(connection), **given}
        _call_redis_once(connection.transport)
        # A result backend would listen for the result of each task, but nobody waits for it here.
        app.backend.on_task_call = lambda *_args, **_kwargs: {}
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, interval_max=0)
            self._producer = _Producer(connection.channel(), auto_declare=False)
        except Exception as error:
            if not (self._is_away(error) or isinstance(_cause(error), redis.ResponseError)):
                raise
            raise Away(_reason(error)) from error

    def apply(self, entry: "DueEntry") -> object:
        """Send the task of an entry once. Return Celery's result object; None if an event for it was not sent.

        Raise Away if the broker is away, BadJob for a task that cannot be sent, and Later if only the entry's own
        queue refuses messages, or if another process may have a version of the task that the arguments fit. Other
        exceptions come from code of the project, such as its own `apply_async`. They pass, so this run fails and
        the schedule decides.
        """
        producer = self._producer
        assert producer is not None
        producer.begin()
        task = self.app.tasks.get(entry.task)
        try:
            options = {**entry.options, "task_id": entry.run_id, "producer": producer, "retry": False}
            options["headers"] = {**(options.get("headers") or {}), "celery_beat_task": True}
            if task is None:
                return self.app.send_task(entry.task, entry.args, entry.kwargs, **options)
            return task.apply_async(entry.args, entry.kwargs, **options)
        except Exception as error:
            self._judge(entry, task, producer, error)
            return None

    def _judge(self, entry: "DueEntry", task: Any, producer: _Producer, error: Exception) -> None:
        """Raise what an exception of `apply_async` means for the run. Return if the task was sent all the same."""
        if producer.failure is None:
            if producer.is_sent or (task is not None and type(task).apply_async is not Task.apply_async):
                raise error
            if not _fits(task, entry) and entry.late_s < _VERSIONS_DIFFER_S:
                _LOG.report(
                    f"job {entry.name!r}",
                    f"its arguments do not fit task {entry.task} of this app ({_fault(error)}); its run waits for a"
                    f" process with another version of the app, and is BAD after {_VERSIONS_DIFFER_S:g} s",
                )
                raise Later(_OF_OTHER_VERSION_LATER_S) from None
            if isinstance(_cause(error), (TypeError, *_OF_THE_JOB)):
                raise BadJob(f"task {entry.task} cannot be sent: {_fault(error)}") from error
            raise error
        if producer.is_sent:  # the event about the task did not leave
            self.disconnect()
        elif self._is_away(producer.failure):
            raise Away(_reason(producer.failure)) from error
        elif isinstance(producer.failure, (TypeError, *_OF_THE_JOB)):
            raise BadJob(f"task {entry.task} cannot be sent: {_fault(producer.failure)}") from error
        else:
            again = f"it is tried again every {_REFUSED_LATER_S:g} s"
            _LOG.report(f"job {entry.name!r}", f"the broker refuses its message: {_reason(producer.failure)}; {again}")
            raise Later(_REFUSED_LATER_S) from None

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

    def _is_away(self, error: Exception) -> bool:
        """Return True if the broker takes no messages at all now. kombu also lists errors of Python, such as KeyError.

        An error of Redis may concern one queue only, such as a key of a wrong type.
        """
        connection = self._connection
        assert connection is not None
        cause = _cause(error)
        if isinstance(cause, redis.ResponseError) and not isinstance(cause, redis.AuthenticationError):
            return is_of_the_server(cause)
        if isinstance(cause, LookupError | redis.DataError):
            return False
        known = (*connection.recoverable_connection_errors, *connection.recoverable_channel_errors)
        return isinstance(error, OperationalError) or isinstance(cause, known)


def _options(connection: Connection) -> dict[str, Any]:
    """Return options of the transport that the app may override."""
    if connection.transport.driver_type == "amqp":
        # The broker confirms each message. Without this, a message into a broken connection is lost.
        return {"confirm_publish": True, "read_timeout": SOCKET_TIMEOUT_S, "write_timeout": SOCKET_TIMEOUT_S}
    return _limits(connection.transport_options or {})


def _limits(options: Mapping[str, Any]) -> dict[str, float]:
    """Return the time limits of a connection in seconds. A limit that is not given is as the other."""
    given = {name: float(options[name]) for name in _LIMITS if options.get(name)}
    return dict.fromkeys(_LIMITS, min(given.values(), default=SOCKET_TIMEOUT_S)) | given


def _fits(task: Any, entry: "DueEntry") -> bool:
    """Return False if the arguments do not fit the signature of a task that this app knows."""
    try:
        if task is not None and task.typing:
            task.__header__(*entry.args, **entry.kwargs)
    except TypeError:
        return False
    return True


def _call_redis_once(transport: Any) -> None:
    """Turn off the retries of redis-py in the channels of a transport. It would repeat a push whose reply is lost.

    Also let a channel make its client once. kombu makes a client per message, which takes a tenth of the time that a
    run takes.
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
