"""A network that fails: a TCP proxy before a server, which loses its connections at a chosen moment."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from types import TracebackType
from urllib.parse import urlsplit

PIECE_BYTES = 65_536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing drops what is on its way, and the other side sees a reset


class LossyProxy:
    """Hands on every byte until `fatal` passes in either direction: that piece and all that follows are lost.

    All connections are reset then and new ones too, until `restore()`; with `silent` they stay open and nothing comes
    any more, as where a computer has slept or a router has forgotten, and new ones work. It happens once.

    Args:
        url: the server's.
        fatal: bytes to wait for.
        silent: connections die without a sign.
    """

    def __init__(self, url: str, fatal: bytes, *, silent: bool = False) -> None:
        target = urlsplit(url)
        self._target = (target.hostname, target.port)
        self._fatal = fatal
        self._silent = silent
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._doomed: set[socket.socket] = set()
        self._is_down = False
        self.lost = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> LossyProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._reset_all()

    def restore(self) -> None:
        """The network is back."""
        self._is_down = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed at the end
            while True:
                client, _ = self._listener.accept()
                if self._is_down:
                    _reset(client)
                    continue
                server = socket.create_connection(self._target)
                with self._lock:
                    self._open += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._hand_on, args=(source, sink), daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        """One direction of one connection."""
        for piece in self._pieces(source):
            if source not in self._doomed:
                with contextlib.suppress(OSError):  # the other side has gone
                    sink.sendall(piece)
        if source not in self._doomed:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    def _pieces(self, source: socket.socket) -> Iterator[bytes]:
        before = b""
        with contextlib.suppress(OSError):  # reset from outside or by us
            while piece := source.recv(PIECE_BYTES):
                if self._fatal in before + piece and not self.lost.is_set():
                    self._lose()
                before = piece[-len(self._fatal) :]
                yield piece

    def _lose(self) -> None:
        with self._lock:
            self._doomed.update(self._open)
        if not self._silent:
            self._is_down = True
            self._reset_all()
        self.lost.set()

    def _reset_all(self) -> None:
        with self._lock:
            gone, self._open = self._open, []
        for one in gone:
            _reset(one)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
        connection.close()
