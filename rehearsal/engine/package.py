"""What the engine asks of every package's plugin alike."""

import importlib.metadata
import json
from typing import Any

from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from rehearsal.engine.plugins import Start


class Package(provider_pb2_grpc.ResourceProviderServicer):
    """A plugin of one package, for the engine that has started it."""

    def __init__(self, package: str, start: Start) -> None:
        """Serve `package`, by the name that its SDK has after `pulumi-`."""
        self._package, self._start = package, start

    # The protocol's own names and untyped messages; https://github.com/pulumi/pulumi/blob/master/proto/pulumi/provider.proto

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ANN401, D102, N802
        del request, context
        return plugin_pb2.PluginInfo(version=importlib.metadata.version(f"pulumi-{self._package}"))

    def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: ANN401, D102, N802
        del request, context
        return provider_pb2.GetSchemaResponse(schema=json.dumps({"name": self._package}))

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ANN401, D102, N802
        del request, context
        return empty_pb2.Empty()


__all__ = ["Package"]
