"""Headers that keep browsers from doing harm, on every answer; and no request that another site's page sends.

A service on a laptop is in reach of every page in its browser. Such a page cannot read an answer of another origin, but
it could make the service work: a changing request whose Origin is not the service's own host is refused.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = "/demo"
COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
ALONE = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cache-Control": "no-store"}
# gradio's page is made of inline scripts and styles, and compiles templates; nothing from elsewhere is loaded.
OF_THE_PAGE = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'"
    )
}
SAFE = ("GET", "HEAD", "OPTIONS")


class SafeHeaders:
    """An ASGI layer around the application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        page = scope["path"] == PAGE or scope["path"].startswith(f"{PAGE}/")
        added = {**COMMON, **(OF_THE_PAGE if page else ALONE)}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", [])}
                new = [(n.lower().encode(), v.encode()) for n, v in added.items() if n.lower().encode() not in there]
                message = {**message, "headers": [*message.get("headers", []), *new]}
            await send(message)

        if scope["method"] not in SAFE and _of_another_site(scope):
            content = json.dumps({"detail": "Origin: pages of other sites may not use this service"}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
            await with_headers({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": content})
            return
        await self.app(scope, receive, with_headers)


def _of_another_site(scope: Scope) -> bool:
    found = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"origin", b"host")}
    origin = found.get(b"origin")
    return origin is not None and urlsplit(origin).netloc != found.get(b"host")
