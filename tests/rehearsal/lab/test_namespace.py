"""The lab's own network: who may not have one is told why, who is inside already stays where they are."""

import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rehearsal.lab import namespace
from rehearsal.lab.namespace import NamespaceError

Tool = Callable[[str, str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Nothing is on PATH but what a test puts there: scripts of a shell."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLIPWAY_LAB_NAMESPACE", raising=False)

    def put(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return put


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Mapping[str, str]]]:
    """What the process would have become: command and environment."""
    found: list[tuple[list[str], Mapping[str, str]]] = []

    def become(file: str, arguments: Sequence[str], environment: Mapping[str, Any]) -> None:
        assert file == arguments[0]
        found.append((list(arguments), environment))

    monkeypatch.setattr(os, "execvpe", become)
    return found


@pytest.mark.parametrize(
    ("there", "missing"), [((), "unshare is missing: install util-linux"), (("unshare",), "ip is missing: install iproute2")]
)
def test_a_tool_that_is_missing_is_named_with_its_package(tool: Tool, there: Sequence[str], missing: str) -> None:
    for each in there:
        tool(each, "exit 0")
    with pytest.raises(NamespaceError, match=missing):
        namespace.enter("rehearsal.engine", [])


def test_a_machine_that_refuses_is_quoted_and_a_way_out_is_named(
    tool: Tool, became: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("ip", "exit 0")
    tool("unshare", "echo 'unshare failed: Operation not permitted' >&2; exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NamespaceError) as caught:
        namespace.enter("rehearsal.engine", [])
    assert "`unshare --map-root-user --net` was refused: unshare failed: Operation not permitted. Run it as root" in str(
        caught.value
    )
    assert became == []


def test_who_may_becomes_the_same_program_inside_with_a_mark_and_its_arguments(
    tool: Tool, became: list[tuple[list[str], Mapping[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("ip", "exit 0")
    tool("unshare", '[ "$*" = "--net ip link set lo up" ]')
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    namespace.enter("rehearsal.engine", ["--quick", "two words"])
    ((command, environment),) = became
    assert command[:3] == ["unshare", "--net", "sh"]
    assert command[-5:] == [sys.executable, "-m", "rehearsal.engine", "--quick", "two words"]
    assert f"address add {namespace.METRICS_ADDRESS}/32 dev lo" in command[4]
    assert not namespace.inside()
    monkeypatch.setenv("SLIPWAY_LAB_NAMESPACE", environment["SLIPWAY_LAB_NAMESPACE"])
    assert namespace.inside()


def test_who_is_inside_already_stays(tool: Tool, became: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is on PATH: looking for a tool would fail.
    del tool
    monkeypatch.setenv("SLIPWAY_LAB_NAMESPACE", "1")
    namespace.enter("rehearsal.engine", [])
    assert became == []
