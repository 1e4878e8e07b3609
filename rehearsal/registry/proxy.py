"""The door's socket side: an HTTP server on loopback that is also a proxy, and ends the TLS of those whom it lets through.

A client that asks for `CONNECT host:443` speaks TLS with this server from then on, as if it were the host; what it asks
inside goes to the same WSGI application, with the host's name in `TUNNEL`. No connection ever leaves for that host.
"""

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

TUNNEL: Final = "slipway.tunnel"
"""Key of a WSGI environment: the host that the client believes to talk to, "" outside a tunnel."""

# Asked for a tunnel to `host:port`: the TLS context to answer with, or the refusal to send.
Gate = Callable[[str], ssl.SSLContext | str]

_LOG: Final = logging.getLogger(__name__)


class Handler(WSGIRequestHandler):
    """A connection, plain or inside a tunnel."""

    disable_nagle_algorithm = True
    server: "Server"  # pyright: ignore[reportIncompatibleVariableOverride] — the only server that uses this handler
    _tunnel = ""

    def do_CONNECT(self) -> None:  # noqa: N802 — http.server finds it by this name
        """Open a tunnel, or refuse."""
        answer = self.server.gate(self.path)
        if isinstance(answer, str):
            # The reason phrase is all that Go's clients show of a refusal.
            head = f"HTTP/1.1 403 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            self.connection.sendall(head.encode("ascii", "replace"))
            self.close_connection = True
            return
        self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        plain = self.connection
        try:
            self.connection = answer.wrap_socket(plain, server_side=True)
        except OSError as error:
            # A client that does not trust the authority hangs up here.
            _LOG.warning("TLS with %s: %s", self.path, error)
            self.close_connection = True
            return
        self.server.follow(plain, self.connection)
        self.rfile.close()
        self.rfile = self.connection.makefile("rb", self.rbufsize)
        self.wfile = self.connection.makefile("wb", 0)
        self._tunnel = self.path.rpartition(":")[0]
        self.close_connection = False

    def make_environ(self) -> "WSGIEnvironment":
        """Tell the application of the tunnel."""
        return {**super().make_environ(), TUNNEL: self._tunnel, "wsgi.url_scheme": "https" if self._tunnel else "http"}

    def finish(self) -> None:
        """Close the tunnel's socket as well, which the server does not know."""
        with contextlib.suppress(OSError):
            super().finish()
        if self._tunnel:
            self.server.forget(self.connection)
            self.connection.close()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: `RegistryDoor.passages` holds the record."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002, ANN401 — werkzeug's signature
        """Use this module's logger: werkzeug's own writes to the terminal."""
        _LOG.log(logging.ERROR if type == "error" else logging.DEBUG, message.rstrip(), *args)


class Server(ThreadedWSGIServer):
    """The threaded server; closing it also closes connections that clients keep open.

    Attributes:
        gate: Decides about tunnels.
    """

    def __init__(self, application: "WSGIApplication", gate: Gate) -> None:
        """Listen on a free port of 127.0.0.1."""
        self.gate = gate
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__("127.0.0.1", 0, application, handler=Handler)
        self.daemon_threads = False  # joined when the server is closed: nothing outlives the door

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 — socketserver's signature
        """Note the connection."""
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 — socketserver's signature
        """Forget the connection."""
        self.forget(request)
        super().shutdown_request(request)

    def follow(self, plain: socket.socket, tunnel: socket.socket) -> None:
        """The connection goes on as another socket."""
        with self._guard:
            self._open.discard(plain)
            self._open.add(tunnel)

    def forget(self, connection: socket.socket) -> None:
        """The connection has ended."""
        with self._guard:
            self._open.discard(connection)

    def server_close(self) -> None:
        """Close every connection and wait for their threads."""
        with self._guard:
            for connection in self._open:
                # A client that is gone already has closed its side.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()
