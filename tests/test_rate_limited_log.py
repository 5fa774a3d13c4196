"""The log of errors that last: each subject once a minute, and no memory of subjects of former minutes."""

import logging
import time

import pytest

from redbike.logs import RateLimitedLog


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the log. A test changes it."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


def remembered(log: RateLimitedLog) -> int:
    return sum(len(value) for value in vars(log).values() if isinstance(value, dict))


def test_a_subject_is_logged_once_a_minute(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the error is, and however many subjects there are in the minute."""
    log = RateLimitedLog(logging.getLogger("redbike.test"))
    for error in ("first", "second"):
        for number in range(3000):
            log.report(f"job {number}", error)
    assert len(caplog.messages) == 3000
    clock[0] += 60
    log.report("job 0", "third")
    assert caplog.messages[-1] == "job 0: third"


def test_subjects_of_former_minutes_are_forgotten(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """Jobs with ever new ids do not fill the memory of a process that runs for months."""
    log = RateLimitedLog(logging.getLogger("redbike.test"))
    for minute in range(20):
        for number in range(500):
            log.report(f"job {minute}-{number}", "error")
        clock[0] += 61
    assert len(caplog.messages) == 20 * 500
    assert remembered(log) <= 1500
