"""Run the command `redbike`: its arguments, errors and exit codes. commands.py has the commands."""

import logging
import os
import sys
import traceback

import docopt

from redbike import streams
from redbike.cli.commands import COMMANDS
from redbike.cli.opening import Arguments
from redbike.errors import ConfigError, RedbikeError, ScheduleFileError, WorkerError
from redbike.logs import PlainFormatter, printable
from redbike.usage import USAGE

__all__ = ["COMMANDS", "main", "run"]

_NOT_MENDED_BY_A_RESTART = (ConfigError, WorkerError, ScheduleFileError)
"""The exit code 78 tells a supervisor not to start the process again."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    streams.prepare()
    try:
        return _obey(sys.argv[1:] if argv is None else argv)
    except RedbikeError as error:
        streams.complain(f"redbike: {printable(str(error))}")
        return os.EX_CONFIG if isinstance(error, _NOT_MENDED_BY_A_RESTART) else 1
    except (ImportError, SyntaxError):
        # The module of the worker, or a module that it imports. The user needs the traceback to find the place.
        traceback.print_exc()
        return os.EX_CONFIG
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        streams.drop()  # the reader has read enough (`redbike statuses | head`)
        return 0
    except OSError as error:
        fault = streams.fault(error)
        if fault is None:
            raise
        streams.complain(f"redbike: {printable(fault)}")
        streams.drop()
        return 1


def _obey(argv: list[str]) -> int:
    try:
        arguments: Arguments = docopt.docopt(USAGE, argv, version=_Version())
    except SystemExit as end:
        # Help and version print to stdout. A mistake in the arguments prints one line to stderr.
        if end.code is None:
            streams.output().flush()
            return 0
        from redbike.cli import misuse

        fault = printable(misuse.fault(argv))
        if next((word for word in argv if word in COMMANDS), None) == "check":
            # A plugin for monitoring says so on stdout, and 1 would be a warning.
            print(f"REDBIKE UNKNOWN - {fault}", file=streams.output())
            return 3
        streams.complain(f"redbike: {fault}")
        return 1
    handler = streams.LogHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    command = next(name for name in COMMANDS if arguments[name])
    code = COMMANDS[command](arguments)
    streams.flush()
    return code or 0


class _Version:
    """The version as text. It is looked up when docopt prints it."""

    def __str__(self) -> str:
        from importlib.metadata import version

        return version("redbike")


def run() -> None:
    """Run the command `redbike` and exit with its exit code."""
    sys.exit(main())
