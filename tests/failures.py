"""What the tests of failed and lost runs share: a job that raises, and what is set meanwhile."""

from collections.abc import Callable

from conftest import Fleet, Recorder
from helpers import FUTURE, HOUR_S, HOURLY, dispatch_at, raising, server_now, state_of, timeline

from redbike import Redbike

SOON_S = 0.1  # a short timeout


JOB = "j:A"


def failing(fleet: Fleet, worker: Recorder | None = None, **settings: object) -> Redbike:
    """Return a bike under HALT whose job `j:A` raises."""
    worker = worker or Recorder()
    worker.acts[JOB] = raising(ValueError("as it was told"))
    bike = fleet(worker, **settings)
    bike.control("HALT")
    return bike


def step(bike: Redbike) -> None:
    """Queue all jobs of the timeline, and run one."""
    dispatch_at(bike, FUTURE * 2)
    bike.work()


# A job that is set meanwhile

MEANWHILE: dict[str, Callable[[Redbike], object]] = {
    "STOP": lambda bike: bike.set(JOB, "STOP"),
    "unset": lambda bike: bike.unset(JOB),
    "future": lambda bike: bike.set(JOB, f"AT:{FUTURE}"),
    "hourly": lambda bike: bike.set(JOB, HOURLY),
    "NOW": lambda bike: bike.set(JOB, "NOW"),
    "enqueue": lambda bike: bike.enqueue(JOB),
}


def check_meanwhile(bike: Redbike, what: str) -> None:
    """Check that the new schedule holds, and that nothing of a retry is left."""
    found = state_of(bike)
    assert ":retries" not in found
    planned, queued = timeline(bike), found.get("-work-A", [])
    match what:
        case "STOP":
            assert (planned, queued, found["-schedules"]) == ({}, [], {JOB: "STOP"})
        case "unset":
            assert set(found) <= {"-control", ":bell:work-A"}
        case "future":
            assert (planned, queued) == ({JOB: FUTURE}, [])
        case "hourly":
            assert planned[JOB] % HOUR_S == 0
            assert queued == []
        case _:
            # It is due at once, and only once.
            assert queued == [JOB] or planned[JOB] <= server_now(bike)
            assert len(queued) + len(planned) == 1


def is_index_empty(bike: Redbike) -> bool:
    return not bike.redis.exists(f"{bike.prefix}:running")


# A run that exceeds its timeout


def lose(bike: Redbike, *jobids: str) -> None:
    """Take these jobs like a worker that dies during their runs."""
    for jobid in jobids:
        assert next(bike.consumer)[0] == jobid
