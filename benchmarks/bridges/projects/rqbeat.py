"""A beat for RQ, with its entries on one server and RQ's queues on another."""

import os
import signal
import threading
from types import FrameType

from redbike import Redbike
from redbike.bridges.rq import RQWorker

stop_event = threading.Event()
worker = RQWorker(os.environ["BROKER"], float(os.environ["LEASE"]), socket_timeout=float(os.environ["SOCKET_TIMEOUT"]))
bike = Redbike(
    worker,
    os.environ["PREFIX"],
    {"url": os.environ["HOME_URL"]},
    timefile=os.devnull,
    stop_event=stop_event,
    default_timeout=worker.lease_s,
    on_timeout="retry",
    on_error="reschedule",
)


def stop(_signal: int, _frame: FrameType | None) -> None:
    """End both loops."""
    stop_event.set()


signal.signal(signal.SIGTERM, stop)
threads = [threading.Thread(target=loop) for loop in (bike.work, bike.dispatch)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    threads[0].join(0.2)
