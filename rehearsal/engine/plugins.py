"""Plugins for the engine: what it finds on PATH, and the servers behind it.

The engine starts one process for each provider that a program configures, reads a port from its output and speaks gRPC with
it (https://github.com/pulumi/pulumi/tree/master/proto). Here that process is a shim: it asks the broker for a server of its
own, prints the port, and holds the line; when the engine ends it, the server ends too.
"""

import contextlib
import json
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc

_SHIM: Final = """#!{python} -ISE
# A plugin of the engine: its server runs in the process that listens here.
import json, os, signal, socket, sys
# So the engine ends its plugins: at once, and without a word.
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
line = socket.socket(socket.AF_UNIX)
line.connect({address!r})
said = {{"plugin": os.path.basename(sys.argv[0]), "arguments": sys.argv[1:], "folder": os.getcwd()}}
line.sendall(json.dumps({{**said, "environment": dict(os.environ)}}).encode() + b"\\n")
for text in line.makefile("r", encoding="utf-8"):
    sys.stdout.write(text)
    sys.stdout.flush()
"""
# The engine asks for many resources at once; more threads than it has operations do no harm.
_THREADS: Final = 16
# State and archives travel whole.
_OPTIONS: Final = (("grpc.max_receive_message_length", 400 * 1024 * 1024), ("grpc.max_send_message_length", 400 * 1024 * 1024))


@dataclass(frozen=True, kw_only=True)
class Start:
    """A plugin as the engine has started it.

    Attributes:
        plugin: Name of the executable.
        arguments: Its arguments; the last is the engine's address.
        environment: Its environment: the credentials of who runs the engine.
        folder: Where it runs: the program's folder.
        write: Sends a line to its output.
    """

    plugin: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    write: Callable[[str], None]

    @property
    def engine(self) -> str:
        """Address of the engine that started it."""
        return self.arguments[-1] if self.arguments else ""


Serve = Callable[[Start, grpc.Server], None]
"""Adds the servicer of a started plugin to its server."""


@dataclass(kw_only=True)
class Broker:
    """Serves plugins, from entering to leaving the context.

    Attributes:
        folder: Where the shims and the socket are; new and empty.
        plugins: How each executable is served, by its name.
        failures: What went wrong in a plugin's start, in its own words.
    """

    folder: Path
    plugins: Mapping[str, Serve]
    failures: list[str] = field(default_factory=list[str])
    _listener: socket.socket = field(init=False)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])
    _lines: set[socket.socket] = field(default_factory=set[socket.socket])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def bin(self) -> Path:
        """What goes in front of the engine's PATH."""
        return self.folder / "bin"

    def __enter__(self) -> Self:
        """Listen, and put the shims up."""
        self.bin.mkdir(parents=True)
        address = str(self.folder / "plugins")
        for name in self.plugins:
            shim = self.bin / name
            shim.write_text(_SHIM.format(python=sys.executable, address=address), encoding="utf-8")
            shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(64)
        self._begin(self._accept, "plugins")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End every plugin."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            lines = list(self._lines)
        for each in lines:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for each in list(self._threads):
            each.join()

    def _begin(self, work: Callable[..., None], name: str, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name=name)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._lines.add(line)
            self._begin(self._serve, "plugin", line)

    def _serve(self, line: socket.socket) -> None:
        """One plugin, from its first word until its process is gone."""
        server: grpc.Server | None = None
        try:
            with line, line.makefile("r", encoding="utf-8") as heard:
                said: Any = json.loads(heard.readline() or "null")
                if said is None:
                    return
                start = Start(
                    plugin=said["plugin"],
                    arguments=tuple(said["arguments"]),
                    environment=said["environment"],
                    folder=Path(said["folder"]),
                    write=lambda text: _send(line, text),
                )
                server = grpc.server(futures.ThreadPoolExecutor(_THREADS, thread_name_prefix=start.plugin), options=_OPTIONS)
                self.plugins[start.plugin](start, server)
                port = server.add_insecure_port("127.0.0.1:0")
                server.start()
                start.write(f"{port}\n")
                heard.read()
        except Exception as error:  # noqa: BLE001 — kept, and the engine reports that the plugin ended
            self.failures.append(f"{type(error).__name__}: {error}")
        finally:
            if server is not None:
                server.stop(grace=None).wait()
            with self._lock:
                self._lines.discard(line)


def _send(line: socket.socket, text: str) -> None:
    # Gone with its engine: nobody is there to read it.
    with contextlib.suppress(OSError):
        line.sendall(text.encode())


def path_with(folder: Path, *others: Path) -> str:
    """PATH with folders in front."""
    return os.pathsep.join([*map(str, (folder, *others)), os.environ.get("PATH", os.defpath)])


__all__ = ["Broker", "Serve", "Start", "path_with"]
