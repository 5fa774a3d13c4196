"""Schedule the functions of jobs.py, and send them to RQ until a signal comes. Any number of these programs may run.

rq worker reports
python cron.py
"""

import logging
import os

from redis import Redis

from redbike.bridges.rq import RedbikeCronScheduler

logging.basicConfig(level=logging.INFO)
scheduler = RedbikeCronScheduler(Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0")))
# Functions travel by name: this program does not import jobs.py.
scheduler.register("jobs.report", "reports", id="report", args=("sales",), interval=3)
scheduler.register("jobs.tidy_up", "reports", id="tidy up each minute", cron="* * * * *", zone="Europe/Berlin")
scheduler.start()
