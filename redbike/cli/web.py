"""The command `redbike web`: serve the page until Ctrl-C or a signal."""

import signal
from functools import partial
from types import FrameType

from redbike.cli.opening import Arguments, loaded, opened, read_option, say
from redbike.engine.signals import STOP_SIGNALS
from redbike.errors import ConfigError
from redbike.settings import read_whole_number

try:
    from redbike.web.manners import Manners
    from redbike.web.serving import Serving
except ImportError as error:
    if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "jinja2", "markupsafe"):
        raise
    raise ConfigError("redbike web needs the extra: pip install 'redbike[web]'") from None

DEFAULT_PORT = 8730


def do_web(arguments: Arguments) -> None:
    """Serve the page."""
    _, conf = loaded(arguments)
    port = read_option(arguments, "--port", partial(read_whole_number, most=65535))
    manners = Manners(
        host=arguments["--host"] or "127.0.0.1",
        port=DEFAULT_PORT if port is None else port,
        password=conf.web_password,
        user_header=conf.web_user_header,
        hosts=conf.web_hosts or (),
        hides_payloads=conf.web_hide_payloads,
        is_read_only=arguments["--read-only"],
    )
    manners.check()
    with opened(arguments, looks=True) as bike:
        serving = Serving(bike, manners, bike.log)

        def stop(_number: int, _frame: FrameType | None) -> None:
            serving.stop()

        former = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
        try:
            host = f"[{manners.host}]" if ":" in manners.host else manners.host
            say(f"the page is at http://{host}:{serving.port}/; Ctrl-C ends it")
            serving.run()
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
