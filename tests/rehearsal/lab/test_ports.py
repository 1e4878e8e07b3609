"""Ports for the lab's servers: free, below those of connections, and never the same twice in a row."""

import itertools
import socket
from pathlib import Path

import pytest

from rehearsal.lab import processes
from rehearsal.lab.processes import ProcessError, free_port


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """Two neighbouring ports are all there is: the first of them."""
    ports = [free_port(), free_port()]
    while ports[1] != ports[0] + 1:
        ports = [ports[1], free_port()]
    limits = tmp_path / "range"
    limits.write_text(f"{ports[1] + 1}\t65535\n", encoding="ascii")
    monkeypatch.setattr(processes, "_LOWEST_PORT", ports[0])
    monkeypatch.setattr(processes, "_EPHEMERAL", limits)
    monkeypatch.setattr(processes, "_PORT_NUMBERS", itertools.count())
    return ports[0]


def test_ports_lie_below_those_that_connections_are_given() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    found = [free_port() for _ in range(50)]
    assert all(10_000 <= each < lowest for each in found)
    assert len({*found}) == 50


def test_a_port_that_is_taken_is_passed_over(first: int) -> None:
    assert free_port() == first
    assert free_port() == first + 1
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        assert free_port() == first + 1


def test_no_port_left_is_an_error_that_says_where_was_looked(first: int) -> None:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", first))
        two.bind(("127.0.0.1", first + 1))
        with pytest.raises(ProcessError, match=f"no port from {first} to {first + 1} is free on loopback"):
            free_port()


def test_a_system_that_leaves_no_room_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limits = tmp_path / "range"
    limits.write_text("1024\t65535\n", encoding="ascii")
    monkeypatch.setattr(processes, "_EPHEMERAL", limits)
    with pytest.raises(ProcessError, match="begins at 1024: the lab's servers need ports from 10000"):
        free_port()
