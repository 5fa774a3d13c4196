"""The settings of the bridge in a Celery app, and the `Redbike` that they describe.

The settings have names as Celery's own settings: `redbike_url` in lower case, or with the namespace of the app.
"""

import logging
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from redbike.bike import Redbike, StopEvent
from redbike.bridges.celery.worker import PREFIX, CeleryWorker
from redbike.bridges.sending import LEASE_S
from redbike.errors import ConfigError
from redbike.logs import RUNS
from redbike.settings import default

if TYPE_CHECKING:
    import celery

_SCHEMES = {"redis": "redis", "rediss": "rediss", "redis+socket": "unix", "unix": "unix"}
_ATTRIBUTE = "_redbike"  # of an app: its Redbike lives as long as the app
_CERTIFICATES = {"CERT_REQUIRED": "required", "CERT_OPTIONAL": "optional", "CERT_NONE": "none"}
_lock = threading.Lock()


class Settings(NamedTuple):
    """The settings of one app."""

    redis_config: dict[str, Any]
    prefix: str
    lease_s: float
    history: int
    dead_after_s: float
    metrics: bool

    @classmethod
    def of(cls, app: "celery.Celery") -> "Settings":
        """Read the settings of an app. Raise ConfigError for a setting that cannot be used."""
        return cls(
            _redis_config(app),
            str(_setting(app, "redbike_key_prefix") or PREFIX),
            lease_of(app),
            _setting(app, "redbike_history", default("history")),
            _setting(app, "redbike_dead_after", default("dead_after")),
            bool(_setting(app, "redbike_metrics", default("metrics"))),
        )


def lease_of(app: "celery.Celery") -> float:
    """Return the lease of a run in seconds."""
    lease_s: float = _setting(app, "redbike_lease", LEASE_S)
    return lease_s


def make_bike(app: "celery.Celery", worker: CeleryWorker, stop_event: StopEvent | None = None) -> Redbike:
    """Make the `Redbike` of an app. It does not connect yet.

    What it does with lost and failed runs is in `Sender.conf_defaults`.
    """
    settings = Settings.of(app)
    return Redbike(
        worker,
        redis_config=settings.redis_config,
        log=_log(),
        stop_event=stop_event,
        **{**worker.conf_defaults, "prefix": settings.prefix, "default_timeout": settings.lease_s},
        history=settings.history,
        dead_after=settings.dead_after_s,
        metrics=settings.metrics,
    )


def bike_of(app: "celery.Celery") -> Redbike:
    """Return the `Redbike` for the entries of an app. There is one per app."""
    with _lock:
        bike: Redbike | None = vars(app).get(_ATTRIBUTE)
        if bike is None:
            bike = make_bike(app, CeleryWorker(app))
            setattr(app, _ATTRIBUTE, bike)
        return bike


def _log() -> logging.Logger:
    """Return the logger of the bridge. Celery logs each task that it sends, so a second line per run is not needed."""
    log = logging.getLogger("redbike.bridges")
    runs = log.getChild(RUNS)
    if runs.level == logging.NOTSET:
        runs.setLevel(logging.WARNING)
    return log


def _setting(app: "celery.Celery", name: str, fallback: Any = None) -> Any:
    value = app.conf.first(name, name.upper())
    return fallback if value is None else value


def _redis_config(app: "celery.Celery") -> dict[str, Any]:
    options = _setting(app, "redbike_redis_options", {})
    if not isinstance(options, dict):
        raise ConfigError(
            f"redbike_redis_options: a dict is needed, not {type(options).__name__}: write arguments of redis.Redis,"
            ' such as {"socket_timeout": 5}'
        )
    url = _setting(app, "redbike_url")
    if url is not None:
        return {"url": _translated(str(url), "redbike_url"), **options}
    if not {"host", "unix_socket_path", "sentinels", "embedded", "connection_pool", "url"}.isdisjoint(options):
        return dict(options)
    broker = app.conf.broker_write_url or app.conf.broker_url
    first = broker[0] if isinstance(broker, list | tuple) and broker else str(broker or "").split(";")[0]
    if str(first).partition("://")[0] not in _SCHEMES:
        raise ConfigError(
            "redbike_url: is not set, and the broker is not a Redis that could hold the schedule: write"
            ' redbike_url = "redis://HOST:PORT/DB" into the settings of the Celery app'
        )
    translated = _translated(str(first), "broker_url")
    if app.conf.broker_use_ssl and translated.startswith("redis://"):  # kombu uses TLS then
        translated = f"rediss{translated.removeprefix('redis')}"
    return {"url": translated, **_ssl(app), **options}


def _translated(url: str, name: str) -> str:
    """Return a URL of Celery as Redbike reads it. Do not quote it in an error: it may hold a password."""
    scheme, colon, rest = url.partition("://")
    if not colon or scheme not in _SCHEMES:
        raise ConfigError(
            f"{name}: does not begin with redis://, rediss:// or unix://; for a Cluster or a Sentinel, write"
            ' redbike_redis_options = {"cluster": True, …} or {"sentinels": …, …}'
        )
    if scheme == "redis+socket":
        rest = rest.replace("?virtual_host=", "?db=").replace("&virtual_host=", "&db=")
    for name_of_kombu, name_of_redis in _CERTIFICATES.items():
        rest = rest.replace(f"ssl_cert_reqs={name_of_kombu}", f"ssl_cert_reqs={name_of_redis}")
    return f"{_SCHEMES[scheme]}://{rest}"


def _ssl(app: "celery.Celery") -> dict[str, Any]:
    given = app.conf.broker_use_ssl
    return {name: value for name, value in given.items() if name.startswith("ssl_")} if isinstance(given, dict) else {}
