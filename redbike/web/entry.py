"""Sign in and out. A try is counted before the password is compared, and the comparison takes the same time always."""

import hashlib
import hmac

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from redbike.web.pages import PageHandlers, query
from redbike.web.site import Site


class EntryHandlers:
    """The handlers of /login and /logout."""

    def __init__(self, site: Site, pages: PageHandlers) -> None:
        self._site = site
        self._pages = pages

    async def show(self, request: Request) -> Response:
        """Ask for the password."""
        target = _target(query(request).get("next", ""))
        if self._site.manners.password is None:
            return RedirectResponse(target, 303)
        return self._pages.plain(request, "login.html", {"next": target})

    async def sign_in(self, request: Request) -> Response:
        """Check the password, and make a session."""
        password, form = self._site.manners.password, request.state.form
        target = _target(form.get("next", ""))
        if password is None:
            return RedirectResponse(target, 303)
        client = request.client.host if request.client else ""
        wait_s = self._site.tries.wait_s(client)
        if wait_s:
            text = "Too many tries. Wait a minute.\n"
            return PlainTextResponse(text, 429, {"Retry-After": str(round(wait_s))})
        if not hmac.compare_digest(_digest(form.get("password", "")), _digest(password)):
            self._site.log.warning("redbike web: a login from %s has failed", client)
            values = {"next": target, "messages": [("bad", "This is not the password.")]}
            return self._pages.plain(request, "login.html", values, 403)
        self._site.tries.forgive(client)
        self._site.sessions.end(request.state.cookie)
        request.state.new_cookie, _ = self._site.sessions.make(is_signed_in=True)
        return RedirectResponse(target, 303)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        self._site.sessions.end(request.state.cookie)
        request.state.new_cookie = ""
        return RedirectResponse("/login", 303)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _target(address: str) -> str:
    """Return the address if it leads to a page of ours."""
    is_ours = address.startswith("/") and not address.startswith("//") and "\\" not in address and address.isprintable()
    return address if is_ours else "/"
