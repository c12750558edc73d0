"""Who may ask: this machine's programs, and pages of this server."""

import json
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = frozenset({"127.0.0.1", "localhost"})
_OWN = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
_NONE = "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
POLICY = f"{_OWN}{_NONE}"
# Swagger's page begins with a script of its own, and styles elements
_DOCS = _OWN.replace("'self';", "'self' 'unsafe-inline';", 2)
DOCS_POLICY = f"{_DOCS}{_NONE}"

HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Refuses requests for other hosts, as a rebound name of a foreign page would send them, and
    those of foreign pages; adds ``HEADERS`` where the answer has none of the name.

    Without CORS headers no foreign page can read an answer; this also keeps it from making the
    model work.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        reason = refusal(headers.get("host", ""), headers.get("origin"))
        if reason:
            await _refuse(reason, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    own.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_guarded)


def refusal(host: str, origin: str | None) -> str:
    """Why a request with these headers is refused; empty: it is not."""
    if _name_of(f"//{host}") not in NAMES:
        return f"the request is for the host {host[:100]!r}; ask for 127.0.0.1 or localhost"
    if origin is not None and (not origin.startswith("http://") or _place_of(origin) != host):
        return f"the request comes from a page of {origin[:100]!r}, not from this server's own"
    return ""


def _name_of(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        return None if parts.username is not None or parts.path else parts.hostname
    except ValueError:
        return None


def _place_of(address: str) -> str | None:
    """Host and port."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return None


async def _refuse(reason: str, send: Send) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
