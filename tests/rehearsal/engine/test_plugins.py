"""Plugins: what the engine finds on PATH is served from here, for as long as its process runs."""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc

from rehearsal.engine.plugins import Broker, Start, path_with

PLUGIN: Final = "pulumi-resource-tiny"
LIMIT: Final = 10


class Tiny(provider_pb2_grpc.ResourceProviderServicer):
    """Knows how it was started."""

    def __init__(self, start: Start) -> None:
        """Keep it."""
        self._start = start

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 — the protocol's own
        """Tell it."""
        del request, context
        start = self._start
        return plugin_pb2.PluginInfo(version=f"{start.plugin} {start.engine} {start.environment['COLOUR']} {start.folder.name}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's is limited."""
    with tempfile.TemporaryDirectory(prefix="slipway-") as made:
        yield Path(made)


@pytest.fixture
def broker(folder: Path) -> Iterator[Broker]:
    """Serves the tiny plugin, and one that cannot be."""

    def tiny(start: Start, server: grpc.Server) -> None:
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(Tiny(start), server)

    def broken(start: Start, server: grpc.Server) -> None:
        del server
        msg = f"nobody knows {start.plugin}"
        raise LookupError(msg)

    with Broker(folder=folder / "broker", plugins={PLUGIN: tiny, "pulumi-resource-broken": broken}) as made:
        yield made


@contextmanager
def started(broker: Broker, folder: Path, name: str = PLUGIN) -> Generator["subprocess.Popen[str]"]:
    """A plugin as the engine starts it."""
    with subprocess.Popen(  # noqa: S603 — the broker's own
        [name, "127.0.0.1:7"],
        executable=broker.bin / name,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={"PATH": path_with(broker.bin), "COLOUR": "blue"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def port(process: "subprocess.Popen[str]") -> int:
    """What the plugin says first."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def asked(channel: grpc.Channel) -> str:
    """What the servicer tells."""
    stub: Any = provider_pb2_grpc.ResourceProviderStub(channel)
    return str(stub.GetPluginInfo(empty_pb2.Empty(), timeout=LIMIT).version)


def test_a_plugin_says_its_port_and_serves_with_all_that_it_was_started_with(broker: Broker, folder: Path) -> None:
    with started(broker, folder) as process, grpc.insecure_channel(f"127.0.0.1:{port(process)}") as channel:
        assert asked(channel) == f"{PLUGIN} 127.0.0.1:7 blue {folder.name}"
    assert broker.failures == []


def test_every_start_has_a_server_of_its_own(broker: Broker, folder: Path) -> None:
    with started(broker, folder) as one, started(broker, folder) as other:
        assert port(one) != port(other)


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGKILL])
def test_a_server_ends_with_its_process(broker: Broker, folder: Path, word: signal.Signals) -> None:
    gone = threading.Event()
    with started(broker, folder) as process, grpc.insecure_channel(f"127.0.0.1:{port(process)}") as channel:
        assert asked(channel)
        channel.subscribe(lambda state: None if state is grpc.ChannelConnectivity.READY else gone.set())
        process.send_signal(word)
        assert process.wait(LIMIT) == (0 if word is signal.SIGINT else -word)
        assert gone.wait(LIMIT)


def test_a_plugin_ends_with_the_broker(folder: Path) -> None:
    def nothing(start: Start, server: grpc.Server) -> None:
        del start, server

    with Broker(folder=folder / "broker", plugins={PLUGIN: nothing}) as broker, started(broker, folder) as process:
        assert port(process)
        broker.__exit__(None, None, None)
        assert process.wait(LIMIT) == 0


def test_a_plugin_that_cannot_be_served_ends_without_a_port_and_the_reason_is_kept(broker: Broker, folder: Path) -> None:
    with started(broker, folder, "pulumi-resource-broken") as process:
        assert process.communicate(timeout=LIMIT) == ("", None)
    assert broker.failures == ["LookupError: nobody knows pulumi-resource-broken"]


def test_plugins_stand_in_front_of_all_else_on_path(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    assert path_with(broker.bin, tmp_path).split(os.pathsep) == [str(broker.bin), str(tmp_path), "/usr/bin"]
