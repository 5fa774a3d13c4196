"""Serve the page with uvicorn, on a socket of our own."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn

from redbike.bike import Redbike
from redbike.errors import RedbikeError
from redbike.web.app import Made
from redbike.web.manners import Manners

_MOST_CONNECTIONS = 1000
_ENDS_WITHIN_S = 1


class PortTaken(RedbikeError):
    """The port cannot be used."""


class Server(uvicorn.Server):
    """A server that the caller stops: it leaves signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command line."""
        yield


class Serving:
    """One page that is served."""

    def __init__(self, bike: Redbike, manners: Manners, log: logging.Logger) -> None:
        """Make the page, and take its port. Raise ConfigError for an address without protection, and PortTaken."""
        manners.check()
        self._socket = _listen(manners)
        self.port: int = self._socket.getsockname()[1]
        self.made = Made(bike, replace(manners, port=self.port), log)
        config = uvicorn.Config(
            self.made.app,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="on",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_ENDS_WITHIN_S,
        )
        self._server = Server(config)

    def run(self) -> None:
        """Serve until `stop`."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        serving = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        while not self._server.should_exit and not serving.done():
            await asyncio.sleep(0.1)
        await self.made.site.hub.stop()  # ends the streams, for which uvicorn would wait
        await serving

    def stop(self) -> None:
        """End `run` within a second. May be called from a signal handler, or from another thread."""
        self._server.should_exit = True


def _listen(manners: Manners) -> socket.socket:
    host = manners.host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, manners.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(128)
        except BaseException:
            made.close()
            raise
    except OSError as error:
        raise PortTaken(
            f"{manners.host}:{manners.port} cannot be used ({error.strerror}): choose another port with --port"
        ) from None
    return made
