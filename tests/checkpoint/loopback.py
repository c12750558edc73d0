"""An HTTP server on this machine that a test breaks as it likes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Loopback(ThreadingHTTPServer):
    """Serves the bytes ``content`` under any path that does not begin with /missing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = b""
        self.etag = '"1"'
        self.content_type = "application/octet-stream"
        self.takes_ranges = True
        self.break_after: list[int] = []  # bytes, of the next answers
        self.requests: list[str] = []  # the Range of each, or "all"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Loopback

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted or "all")
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        body, start = server.content, 0
        fits = self.headers.get("If-Range") in (None, server.etag)
        if wanted and server.takes_ranges and fits:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Content-Type", server.content_type)
        self.send_header("ETag", server.etag)
        self.end_headers()
        end = start + server.break_after.pop(0) if server.break_after else None
        self.wfile.write(body[start:end])

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def loopback() -> Iterator[Loopback]:
    with Loopback() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
