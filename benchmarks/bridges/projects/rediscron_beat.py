"""The scheduler of rq-rediscron."""

import logging
import os

import redis
from rediscron import RedisCronScheduler

RedisCronScheduler(redis.Redis.from_url(os.environ["BROKER"]), logging_level=logging.WARNING).start()
