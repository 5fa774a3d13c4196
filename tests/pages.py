"""A page that is served in a thread, and a small browser without a screen for it."""

import http.client
import logging
import re
import threading
from contextlib import closing
from html import unescape
from typing import NamedTuple, Self
from urllib.parse import quote, urlencode

from redbike import Redbike
from redbike.store.text import encode
from redbike.web.manners import Manners
from redbike.web.serving import Serving


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def text(self) -> str:
        return self.raw.decode()


class Page:
    """A page on a free port of this machine."""

    def __init__(self, bike: Redbike, **manners: object) -> None:
        given = {"port": 0, **manners}
        self.serving = Serving(bike, Manners(**given), logging.getLogger("redbike"))  # type: ignore[arg-type]
        self.port = self.serving.port
        self.site = self.serving.made.site
        self._thread = threading.Thread(target=self.serving.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.serving.stop()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request without cookies. In the names of headers, _ stands for a dash."""
        with closing(self.connect()) as connection:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def visitor(self) -> "Visitor":
        return Visitor(self)


class Visitor:
    """A browser that keeps its cookie and sends the token of the forms."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.cookie = self.token = ""

    def get(self, path: str, **headers: str) -> Answer:
        given = {"Cookie": self.cookie} if self.cookie else {}
        answer = self._page.get(path, **given, **headers)
        self._keep(answer)
        if token := re.search(r'name="token" value="([^"]+)"', answer.raw.decode("utf-8", "replace")):
            self.token = token[1]
        return answer

    def post(self, path: str, token: str | None = None, headers: dict[str, str] | None = None, **form: str) -> Answer:
        fields = {"token": self.token if token is None else token, **form}
        given = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": self.cookie, **(headers or {})}
        answer = self._page.ask("POST", path, urlencode(fields).encode(), **given)
        self._keep(answer)
        return answer

    def _keep(self, answer: Answer) -> None:
        if (cookie := answer.headers.get("set-cookie")) is not None:
            self.cookie = cookie.partition(";")[0]


def of_job(jobid: str, path: str = "/job") -> str:
    """Return the address of the page of a job."""
    return f"{path}?id={quote(encode(jobid), safe='')}"


def words(html: str) -> str:
    """Return what a person reads of a page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())
