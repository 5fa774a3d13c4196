"""Redbike as the scheduler of `celery beat`: `celery -A proj beat -S redbike`.

Celery keeps its command line, pidfile, logging, signals and remote control. It makes its scheduler twice, and closes
it twice. So the constructor connects to nothing; the first `tick` starts a dispatcher and a worker in threads.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery.beat import Scheduler

from redbike.bridges.celery import static
from redbike.bridges.celery.conf import Settings, lease_of, make_bike
from redbike.bridges.celery.entry import RedbikeEntry
from redbike.bridges.celery.worker import CeleryWorker
from redbike.bridges.running import Running
from redbike.errors import ConfigError, RedbikeError
from redbike.logs import plain
from redbike.server.client import Client

if TYPE_CHECKING:
    import celery

    from redbike.bike import Redbike
    from redbike.bridges.celery.due import DueEntry

_LOG = plain(logging.getLogger("redbike.bridges"))
_TICK_S = 1.0
_BAD_CONFIG = 78  # as for the commands of Redbike: a restart does not mend it


class RedbikeScheduler(Scheduler):  # type: ignore[misc]
    """A scheduler of Celery whose entries are jobs of Redbike. Any number of beats may run."""

    Entry = RedbikeEntry

    def __init__(self, app: "celery.Celery", *args: Any, lazy: bool = False, **kwargs: Any) -> None:
        """Check the settings, without connecting. For a setting that cannot be used, log it and exit with 78.

        `lazy`: Celery makes a scheduler only to show it.
        """
        super().__init__(app, *args, lazy=True, **kwargs)
        self._static: dict[str, Mapping[str, Any]] = {}
        self._running: Running | None = None
        self._bike: Redbike | None = None
        self._raised: Exception | None = None
        if not lazy:
            try:
                self._worker = CeleryWorker(app, lease_of(app))
                self._worker.apply = self._apply
                self._worker.check()
                self._running = Running(self._prepare)
                self._bike = make_bike(app, self._worker, self._running.stop_event)
            except RedbikeError as error:
                _LOG.critical("%s", error)
                raise SystemExit(_BAD_CONFIG) from None

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """Start the threads, the first time. Return the seconds until the next tick.

        Raise the exception that ended a thread. After a halt, end the process with exit code 0.
        """
        running = self._running
        assert running is not None
        assert self._bike is not None
        failure = running.failure
        if failure is not None:
            raise failure if isinstance(failure, Exception) else RuntimeError(f"a thread was ended by {failure!r}")
        if not running.has_started:
            running.start(self._bike)
        elif running.is_over and running.failure is None:
            _LOG.warning("the prefix %s is halted: this beat ends", self._bike.prefix)
            raise SystemExit
        return _TICK_S

    def close(self) -> None:
        """Let the threads end the run that they are sending, and close the connections. A second call does nothing."""
        running, bike = self._running, self._bike
        if running is None or bike is None:
            return
        self._running = self._bike = None
        if not running.stop(self._worker.lease_s):
            _LOG.warning(
                "the run that this beat was sending has not ended within %g s; another beat sends it again",
                self._worker.lease_s,
            )
        self._worker.disconnect()
        bike.close()

    def setup_schedule(self) -> None:
        """Collect the static entries: `beat_schedule` of the app, and Celery's own entries."""
        self._static = {}
        self.install_default_entries(self.app.conf.beat_schedule)
        self._static.update(self.app.conf.beat_schedule)

    def update_from_dict(self, dict_: Mapping[str, Mapping[str, Any]]) -> None:
        """Add static entries."""
        self._static.update(dict_)

    def should_sync(self) -> bool:
        """Return False: Redis always has the state."""
        return False

    def add(self, **kwargs: Any) -> RedbikeEntry:
        """Save an entry with these fields, and return it."""
        return RedbikeEntry(app=self.app, **kwargs).save()

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:  # noqa: ARG002
        """Send the task of an entry that is due. Celery's `apply_entry` calls this, and would log an error itself."""
        try:
            return self._worker.sender.apply(entry)
        except Exception as error:
            self._raised = error
            return None

    def _apply(self, entry: "DueEntry") -> None:
        """Send an entry through `apply_entry`, because Sentry and other tools hook in there."""
        self._raised = None
        self.apply_entry(entry)
        if self._raised is not None:
            raise self._raised

    def _prepare(self) -> None:
        """Make the jobs of the static entries, and let the loops start again after a halt."""
        assert self._bike is not None
        self._bike.clear_control()
        self.setup_schedule()
        static.sync(self.app, self._bike, self._static)
        _LOG.info("beat: %s", self._bike.describe())

    @property
    def info(self) -> str:
        """Where the entries are, for the banner of `celery beat`."""
        try:
            settings = Settings.of(self.app)
            where = Client(settings.redis_config).where
        except ConfigError as error:
            return f"    . redbike -> {error}"
        return f"    . redis -> {where}\n    . prefix -> {settings.prefix}"

    def get_schedule(self) -> dict[str, RedbikeEntry]:
        """Return all entries that can be read, by name. This method reads all jobs: it is meant for tools and tests."""
        return {entry.key: entry for entry in RedbikeEntry.all(self.app)}

    def set_schedule(self, schedule: Any) -> None:
        """Ignore what Celery keeps in memory: Redis has the entries."""

    schedule = property(get_schedule, set_schedule)
