"""An address that only leads to a server, as many an `http://` does to its `https://`."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def leading_to(url: str) -> Iterator[str]:
    """The address; it answers every request with where the server is, which clients follow by GET."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", url + self.path)
            self.end_headers()

        do_POST = do_GET  # noqa: N815  (the library's name)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_address[1]}"
        listener.shutdown()
