"""Ends the idle loops of a prefix at once, so that a test does not wait for them to look by themselves."""

from redbike import Redbike
from redbike.keys import Keys


def halt_at_once(bike: Redbike) -> None:
    """Halt the prefix, wake its dispatchers, and ring the bells of this worker's queues until each idler has heard."""
    bike.control("HALT")
    keys = Keys(bike.prefix)
    bike.redis.publish(keys.wake, "nobody:A")
    for queue_key in bike.queue_names():
        bike.redis.lpush(keys.bell(queue_key), *["1"] * 16)
