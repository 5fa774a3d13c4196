"""A signal that arrives while Python runs a finalizer still ends a waiting process, quietly."""

import os
import signal
import sys
import time

import pytest

from redbike import Redbike, RoundRobin
from redbike.cli.stopping import StopFlag, stopping


class Finalized:
    """Its finalizer gets the signal."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(100))  # Python runs the handler here


def test_a_signal_in_a_finalizer_ends_a_wait(capfd: pytest.CaptureFixture[str]) -> None:
    """E3: a finalizer swallows the exception that ends a wait; the wait ends nevertheless, without a traceback."""
    stop, bike = StopFlag(), Redbike(RoundRobin("A"))

    def wait() -> bool:
        Finalized()
        time.sleep(20)
        return True

    began = time.monotonic()
    with stopping(stop, bike):
        assert bike.interruptible_wait.take(wait) is None
    assert stop.is_set()
    assert time.monotonic() - began < 10
    assert capfd.readouterr().err == ""


def test_other_faults_of_a_finalizer_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in a finalizer of the user still reaches the hook that was there before."""
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))

    class Broken:
        def __del__(self) -> None:
            raise ValueError("of the user")

    with stopping(StopFlag(), Redbike(RoundRobin("A"))):
        Broken()
    assert seen == [ValueError]
