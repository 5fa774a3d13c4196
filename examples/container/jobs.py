"""The jobs of the example: replace this module by yours. The first part of a job id says what the job does."""

import time

from redbike import RoundRobin


class Jobs(RoundRobin):
    """`hello:world:A` greets, `nap:30:A` takes 30 seconds, `fail:once:B` fails. The last part names the queue."""

    def work(self, jobid: str) -> None:
        """Do one job."""
        what, argument, *_ = [*jobid.split(":"), "", ""]
        if what == "nap":
            time.sleep(float(argument))
        elif what == "fail":
            raise ValueError(f"{jobid} fails on purpose")
        print(f"{jobid} is done", flush=True)
