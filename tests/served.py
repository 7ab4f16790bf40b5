"""Files served over HTTP by this machine, and what may go wrong on their way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fate = Literal["whole", "cut", "altered", "longer", "redirected"]
FATES: tuple[Fate, ...] = ("cut", "altered", "longer", "redirected")


@dataclass
class Served:
    """A file, the same at every address.

    Attributes:
        content: of the file.
        fate: on its way; ``redirected`` leads to another host name, with another file.
        headers: of each answer, besides its length.
    """

    content: bytes
    fate: Fate = "whole"
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, host: str) -> bytes:
        """Content as it is sent from a host."""
        half = len(self.content) // 2
        if self.fate == "longer":
            return self.content + b"more"
        if self.fate == "altered" or (self.fate == "redirected" and host == "127.0.0.1"):
            return self.content[:half] + bytes(len(self.content) - half)
        return self.content[:half] if self.fate == "cut" else self.content


@contextmanager
def served(file: Served) -> Iterator[str]:
    """Serve a file; yield the address of the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = file.body(self.headers["Host"].partition(":")[0])
            length = len(file.content) if file.fate == "cut" else len(body)
            if file.fate == "redirected" and self.headers["Host"].startswith("localhost"):
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/other")
                body = b""
                length = 0
            else:
                self.send_response(200)
            for name, value in file.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *given: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        thread = threading.Thread(
            target=server.serve_forever,
            kwargs={"poll_interval": 0.02},  # sees a shutdown so soon
        )
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
