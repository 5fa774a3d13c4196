"""The outermost layer of the page: it checks every request, and adds headers to every response.

Each request passes here before any page sees it, so no page can forget a check.
"""

import logging
import re
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from redbike.web.fields import fields, quoted
from redbike.web.manners import Manners
from redbike.web.sessions import Session, Sessions

MOST_BODY_BYTES = 65_536
MOST_ADDRESS_BYTES = 20_000  # a job id of 4,096 bytes has 12,288 in an address
TOKEN = "token"
FAULT = "The page failed; the log of redbike web says why.\n"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: then a browser sends `Origin: null` with a form, and we could not tell where the form is from.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_OTHER_NAME = "without a password, this page answers only to localhost, 127.0.0.1, [::1] and the names in web-hosts"
_WAYS_OUT = {
    False: "set web-password, or add the name to web-hosts",
    True: "behind a reverse proxy, add the public name of the page to web-hosts",
}
_WITHOUT_SESSION = ("/login", "/static/")
_WHEN_READ_ONLY = ("/login", "/logout")


class Refused(Exception):
    """The request is refused."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Guard:
    """Lets a request through to the app, with its session and its form in `request.state`, or refuses it."""

    def __init__(self, app: ASGIApp, manners: Manners, sessions: Sessions, log: logging.Logger) -> None:
        self._app = app
        self._manners = manners
        self._sessions = sessions
        self._log = log
        self._cookie = f"redbike-{manners.port}"  # browsers send cookies to all ports of a host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        has_begun = False
        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                if (cookie := state.get("new_cookie")) is not None:
                    headers.append("set-cookie", self._set_cookie(scope, cookie))
            await send(message)

        try:
            response = await self._check(scope, receive)
            await (response or self._app)(scope, receive, send_with_headers)
        except Refused as refusal:
            response = PlainTextResponse(f"{refusal}\n", refusal.status)
            await response(scope, receive, send_with_headers)
        except Exception:
            self._log.exception("the page %s failed", scope["path"][:200])
            if not has_begun:
                response = PlainTextResponse(FAULT, 500)
                await response(scope, receive, send_with_headers)

    async def _check(self, scope: Scope, receive: Receive) -> Response | None:
        """Return None if the app may handle the request, or a response in its place. Raise Refused."""
        manners, path, method, headers = self._manners, scope["path"], scope["method"], Headers(scope=scope)
        if method not in ("GET", "HEAD", "POST"):
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "this page knows GET and POST")
        if len(scope.get("raw_path", b"")) + len(scope["query_string"]) > MOST_ADDRESS_BYTES:
            raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long")
        if not manners.answers_to(headers.get("host", "")):
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, f"{_OTHER_NAME}: {_WAYS_OUT[manners.is_guarded]}")
        if manners.user_header is not None and not headers.get(manners.user_header):
            raise Refused(HTTPStatus.FORBIDDEN, f"the header {manners.user_header} of the reverse proxy is missing")
        state = scope["state"]
        state["cookie"] = cookie = self._cookie_of(headers)
        state["session"] = session = self._sessions.find(cookie)
        if manners.password is not None and not (session and session.is_signed_in):
            if not path.startswith(_WITHOUT_SESSION):
                if method != "GET" or path.startswith(("/api", "/events")) or "x-redbike-live" in headers:
                    raise Refused(HTTPStatus.UNAUTHORIZED, "sign in at /login first")
                target = quoted(f"{path}?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else path)
                return RedirectResponse(f"/login?next={target}", HTTPStatus.SEE_OTHER)
        elif session is None and manners.password is None and method == "GET" and _shows_forms(path):
            # With a password, only a login makes a session.
            state["new_cookie"], state["session"] = self._sessions.make(is_signed_in=True)
        if method == "POST":
            await self._check_post(scope, receive, headers, session)
        return None

    async def _check_post(self, scope: Scope, receive: Receive, headers: Headers, session: Session | None) -> None:
        path, state = scope["path"], scope["state"]
        if self._manners.is_read_only and path not in _WHEN_READ_ONLY:
            raise Refused(HTTPStatus.FORBIDDEN, "this page is read-only: it was started with --read-only")
        if not _is_from_here(headers):
            raise Refused(HTTPStatus.FORBIDDEN, "the form is from another site")
        state["form"] = form = await _form(scope, receive, headers)
        if path != "/login" and (session is None or not session.holds(form.get(TOKEN, ""))):
            raise Refused(HTTPStatus.FORBIDDEN, "the form is too old: load the page again, and repeat the action")

    def _cookie_of(self, headers: Headers) -> str | None:
        found = re.search(rf"(?:^|;\s*){re.escape(self._cookie)}=([\w-]{{1,100}})(?:;|$)", headers.get("cookie", ""))
        return found and found[1]

    def _set_cookie(self, scope: Scope, cookie: str) -> str:
        is_secure = scope["scheme"] == "https" or Headers(scope=scope).get("x-forwarded-proto") == "https"
        lasts = "; Max-Age=0" if not cookie else ""
        return f"{self._cookie}={cookie}; Path=/; HttpOnly; SameSite=Strict{lasts}{'; Secure' if is_secure else ''}"


def _shows_forms(path: str) -> bool:
    return not path.startswith(("/api", "/static/", "/events", "/check"))


def _is_from_here(headers: Headers) -> bool:
    """Return False if the browser says that another site has sent the form."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    if origin is None or site == "same-origin":
        return True
    named = {headers.get("host"), headers.get("x-forwarded-host")}
    return urlsplit(origin).netloc in named - {None, ""}


async def _form(scope: Scope, receive: Receive, headers: Headers) -> dict[str, str]:
    """Return the fields of the form that the request holds."""
    if headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a form is needed")
    body = b""
    async for piece in Request(scope, receive).stream():
        body += piece
        if len(body) > MOST_BODY_BYTES:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the form is too large")
    try:
        return fields(body)
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, "the form has too many fields") from None
