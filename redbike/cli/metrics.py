"""The command `redbike metrics`: print the metrics once, or serve them until a signal."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from redbike import streams
from redbike.cli.opening import Arguments, Failure, opened, read_option
from redbike.engine.signals import STOP_SIGNALS
from redbike.errors import ConfigError
from redbike.settings import read_whole_number

try:
    from redbike.looking.exporter import Exporter
    from redbike.looking.scrape import Latest
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("prometheus_client"):
        raise
    raise ConfigError(
        "redbike metrics needs the package prometheus_client: install the extra metrics, as in"
        " pip install 'redbike[metrics]'"
    ) from None

_POLL_S = 0.1


def do_metrics(arguments: Arguments) -> None:
    """Print the metrics, or serve them with --port. A signal ends the server."""
    port = read_option(arguments, "--port", partial(read_whole_number, least=1, most=65535))
    if port is None:
        if arguments["--host"] is not None:
            raise Failure("--host: the metrics are served only with --port: name one, such as --port=9109")
        output = streams.output()
        with opened(arguments, looks=True) as bike:
            print(Latest(bike).print_out(), end="", file=output)
        return
    host = arguments["--host"] or "127.0.0.1"
    with opened(arguments, looks=True) as bike, _until_signal() as wait:
        latest = Latest(bike)
        with Exporter(host, port, latest.answer, bike.log) as exporter, latest.counting():
            bike.log.info("serving metrics at http://%s:%d/metrics", host, exporter.port)
            threading.Thread(target=exporter.serve_forever, args=(_POLL_S,), daemon=True).start()
            wait()
            exporter.shutdown()


@contextmanager
def _until_signal() -> Iterator[Callable[[], object]]:
    """In this block, signals to stop do not end the process. Yield a function that waits for one of them."""
    # Not a threading.Event: its lock may be held by the code that the handler interrupts.
    end, start = os.pipe()
    os.set_blocking(start, False)
    former = {number: signal.signal(number, lambda *_: None) for number in STOP_SIGNALS}
    former_fd = signal.set_wakeup_fd(start)
    try:
        yield partial(os.read, end, 1)
    finally:
        signal.set_wakeup_fd(former_fd)
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(end)
        os.close(start)
