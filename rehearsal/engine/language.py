"""What runs the program for the engine: the stand-in of its host for Python (`runtime: python` in Pulumi.yaml).

The real host is a Go program that comes with the installed command line. It starts the project's interpreter on the
program; this one starts the interpreter that it runs under itself.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from rehearsal.engine.plugins import Start

_RUNNER: Final = Path(__file__).with_name("run_program.py")
_VERSION: Final = "3.0.0"


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """Runs one program for one engine."""

    def __init__(self, start: Start) -> None:
        """Remember who asks."""
        self._start = start
        self._process: subprocess.Popen[str] | None = None

    # The protocol's own names and untyped messages.

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802, D102
        del request, context
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802, D102
        del request, context
        return plugin_pb2.PluginInfo(version=_VERSION)

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802, D102 — all stand on PATH
        del request, context
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802, D102 — same
        del request, context
        return language_pb2.GetRequiredPluginsResponse()

    def About(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802, D102
        del request, context
        return language_pb2.AboutResponse(executable=sys.executable, version=platform.python_version())

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802, D102
        del request, context
        if self._process is not None:
            self._process.terminate()
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Run the program to its end."""
        process = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", str(_RUNNER)],
            cwd=request.pwd,
            env={**self._start.environment, "PULUMI_ERROR_OUTPUT_STRING": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._process = process
        # An engine that is gone leaves no program behind.
        context.add_callback(process.kill)
        given = {
            "monitor": request.monitor_address,
            "engine": self._start.engine,
            "project": request.project,
            "stack": request.stack,
            "organization": request.organization,
            "parallel": request.parallel,
            "preview": request.dryRun,
            "config": dict(request.config),
            "secrets": list(request.configSecretKeys),
        }
        if process.stdin is None or process.stdout is None:
            context.abort(grpc.StatusCode.INTERNAL, "the program has neither input nor output")
            raise AssertionError
        process.stdin.write(json.dumps(given))
        process.stdin.close()
        for line in process.stdout:
            self._start.write(line)
        process.stdout.close()
        process.wait()
        # What went wrong has been logged by the program.
        return language_pb2.RunResponse(bail=process.returncode != 0)


def serve(start: Start, server: grpc.Server) -> None:
    """Add the host of a started plugin to its server."""
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(Host(start), server)


__all__ = ["Host", "serve"]
