"""The Celery app that the benchmark schedules. It is copied into a temporary folder."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["BROKER"])
app.conf.redbike_url = os.environ["HOME_URL"]
app.conf.redbike_lease = float(os.environ["LEASE"])
app.conf.broker_transport_options = {"socket_timeout": float(os.environ["SOCKET_TIMEOUT"])}
app.conf.redbeat_redis_url = os.environ["HOME_URL"]
app.conf.redbeat_lock_timeout = 60


@app.task(name="proj.add")  # type: ignore[misc]
def add(left: int, right: int) -> int:
    """Return the sum."""
    return left + right
