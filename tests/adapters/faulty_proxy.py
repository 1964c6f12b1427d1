"""An HTTP proxy that fails on purpose, reproducibly, and counts what it delivered.

Whether the n-th request for a path fails, and how, is a function of (seed, key, n): the order in which threads come
does not matter.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

FAULTS = ("drop", "error", "truncate", "stall")


@dataclass
class Proxy:
    """In front of `upstream` (host, port).

    Attributes:
        share: of requests that fail.
        kinds: how: "drop" the connection unanswered, answer with an "error" 500 or 503, "truncate" the body, "stall" in
            its middle for `stall_s`, "corrupt" one byte of it, "halve" it (truncate, but one byte comes at least),
            "drip" a byte each `drip_s` from its middle on, "trickle" the whole answer, its head too, "silence": none.
        plan: faults for certain paths, in their requests' order ("" is none), instead of drawn ones.
        delivered: path -> bytes of bodies that were sent for GETs of objects.
        requests: (method, path, Range) as they came.
        faults: path -> kinds of the faults that it met.
        deny: paths that are answered with 403.
        before: called with (method, path) before a request goes on.
    """

    upstream: tuple[str, int]
    share: float = 0.0
    seed: int = 0
    kinds: tuple[str, ...] = FAULTS
    stall_s: float = 4.0
    drip_s: float = 0.02
    plan: dict[str, list[str]] = field(default_factory=dict)
    deny: set[str] = field(default_factory=set)
    before: object = None

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.delivered: Counter[str] = Counter()
        self.requests: list[tuple[str, str, str | None]] = []
        self.faults: dict[str, list[str]] = defaultdict(list)
        self._times: Counter[str] = Counter()
        self.closed = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def answer(self) -> None:
                with contextlib.suppress(ConnectionError):
                    proxy.answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()

    def reset(self) -> None:
        """Count from nothing."""
        self.delivered.clear()
        self.requests.clear()
        self.faults.clear()

    def fault(self, path: str) -> tuple[str, float]:
        """What befalls the next request for a path, and where in the body, [0, 1)."""
        with self.lock:
            n = self._times[path]
            self._times[path] += 1
        if path in self.plan:
            planned = self.plan[path]
            return (planned[n] if n < len(planned) else ""), 0.5
        key = path.strip("/").partition("/")[2]  # without the bucket, whose name is new each time
        rng = random.Random(f"{self.seed}:{key}:{n}")
        kind = rng.choice(self.kinds) if rng.random() < self.share else ""
        return kind, rng.random()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Forward one request, or let it fail."""
        method, path = request.command, unquote(urlsplit(request.path).path)
        kind, where = self.fault(path)
        with self.lock:
            self.requests.append((method, path, request.headers.get("Range")))
            if kind:
                self.faults[path].append(kind)
        if callable(self.before):
            self.before(method, path)
        sent = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if kind in ("drop", "silence"):
            request.close_connection = True
            if kind == "silence":
                self.closed.wait(self.stall_s)
            return
        if kind == "trickle":
            request.close_connection = True
            self._drip(request, b"HTTP/1.1 200 OK\r\n" + b"X-Slow: x\r\n" * 1000)
            return
        if kind == "error" or path in self.deny:
            status, code = (500, "InternalError") if where < 0.5 else (503, "SlowDown")
            status, code = (403, "AccessDenied") if path in self.deny else (status, code)
            body = f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()
            headers = [("Content-Type", "application/xml")]
        else:
            connection = http.client.HTTPConnection(*self.upstream, timeout=60)
            connection.request(method, request.path, sent, dict(request.headers))
            response = connection.getresponse()
            status, body = response.status, response.read()
            dropped = ("content-length", "transfer-encoding", "connection", "date", "server")
            headers = [(name, value) for name, value in response.getheaders() if name.lower() not in dropped]
            length = response.getheader("Content-Length") if method == "HEAD" else None
            connection.close()
            if length is not None:
                headers.append(("Content-Length", length))
        request.send_response_only(status)
        for name, value in headers:
            request.send_header(name, value)
        if method == "HEAD":
            request.end_headers()
            return
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if kind == "corrupt" and body:
            at = int(where * len(body))
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        end = int(where * len(body)) if kind in ("truncate", "stall", "halve", "drip") else len(body)
        end = max(end, 1) if kind == "halve" else end
        counted = method == "GET" and status in (200, 206)
        self._send(request, path, body[:end], counted)
        if kind in ("truncate", "halve"):
            request.close_connection = True
        elif kind == "stall":
            time.sleep(self.stall_s)
            self._send(request, path, body[end:], False)  # nobody listens any more
        elif kind == "drip":
            self._drip(request, body[end:])

    def _drip(self, request: BaseHTTPRequestHandler, data: bytes) -> None:
        """A byte at a time, until nobody listens any more (an error that `answer` takes)."""
        for at in range(len(data)):
            request.wfile.write(data[at : at + 1])
            if self.closed.wait(self.drip_s):
                return

    def _send(self, request: BaseHTTPRequestHandler, path: str, body: bytes, counted: bool) -> None:
        request.wfile.write(body)
        request.wfile.flush()
        if counted:
            with self.lock:
                self.delivered[path] += len(body)
