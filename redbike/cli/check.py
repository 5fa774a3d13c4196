"""The command `redbike check`: one line and an exit code for a monitoring system. Nothing else is printed."""

import contextlib
import io
import logging
import re
from collections.abc import Iterator

from redbike import streams
from redbike.cli.opening import Arguments, Failure, opened
from redbike.errors import ConfigError, ServerError, WorkerError
from redbike.logs import printable
from redbike.looking import check
from redbike.looking.check import CRITICAL, OK, UNKNOWN, Limits, Verdict

_MOST = 1_000_000_000


def do_check(arguments: Arguments) -> int:
    """Print the line, and return 0 if all is well, 1 for a warning, 2 if critical, 3 for wrong arguments."""
    output = streams.output()
    with _silence():
        verdict = _verdict(arguments)
    print(printable(verdict.line()), file=output)
    return verdict.code


def _verdict(arguments: Arguments) -> Verdict:
    try:
        limits = _limits(arguments)
        with opened(arguments, looks=True) as bike:
            return check.check_host(bike) if arguments["--self"] else check.check(bike, limits)
    except (Failure, ConfigError, WorkerError) as error:
        return Verdict(UNKNOWN, text=_first_line(error))
    except ServerError as error:
        if arguments["--self"]:
            # A probe that failed now would kill the fleet, which only waits until Redis is back.
            return Verdict(OK, text=f"not known, because Redis is away: {_first_line(error)}")
        return Verdict(CRITICAL, text=_first_line(error))
    except Exception as error:  # the user's worker, or a state that nobody has expected: never a traceback
        return Verdict(CRITICAL, text=f"the check failed: {type(error).__name__}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _limits(arguments: Arguments) -> Limits:
    late_s = _number(arguments, "--max-late")
    failing, lost = _number(arguments, "--max-failing"), _number(arguments, "--max-lost")
    return Limits(
        Limits().late_s if late_s is None else late_s,
        _number(arguments, "--max-wait"),
        None if failing is None else int(failing),
        None if lost is None else int(lost),
    )


def _number(arguments: Arguments, option: str) -> float | None:
    text: str | None = arguments[option]
    if text is None:
        return None
    whole = option in ("--max-failing", "--max-lost")
    if not re.fullmatch(r"[0-9]{1,10}" if whole else r"[0-9]{1,10}(\.[0-9]+)?", text) or float(text) > _MOST:
        noun = "a whole number" if whole else "a number of seconds"
        raise Failure(f"{option}: {text[:40]!r} is not {noun} from 0 to {_MOST}")
    return float(text)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """In this block, let neither log lines nor the user's modules print: a plugin prints one line."""
    former = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(former)
