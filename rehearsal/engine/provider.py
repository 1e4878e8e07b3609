"""A stand-in provider: the engine's protocol on one side, the rehearsal's table on the other.

What is declared is checked before anything is made: by the SDK's own classes (names, required properties, types), by what
AWS's service models or the API server refuse. What has been made is read back, and later diffs compare with that, as the
providers that bridge Terraform do: what an API hands back otherwise than it was declared differs at every preview here too.
"""

import contextlib
import json
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from rehearsal import schema
from rehearsal.cloud.caller import Caller, by_account
from rehearsal.cloud.declared import reduced
from rehearsal.cloud.row import Place, RealiseError, Where, same
from rehearsal.engine import wire
from rehearsal.engine.package import Package
from rehearsal.engine.plugins import Start
from rehearsal.program import Created, InvokeError, Request

Callers = Callable[[Mapping[str, str]], Caller]
"""Whose credentials an environment holds."""


class Realm(Protocol):
    """What answers for every resource: `CloudWorld`, or something lighter where only the engine is of interest."""

    def create(self, request: Request, *, where: Where | None = None) -> Created:
        """Make it."""
        ...

    def read(self, request: Request, id_: str, *, where: Where | None = None) -> Mapping[str, Any] | None:
        """Its properties as they are; None if it is gone."""
        ...

    def update(self, request: Request, id_: str, old: Mapping[str, Any], *, where: Where | None = None) -> Created:
        """Change it."""
        ...

    def delete(self, request: Request, id_: str, *, where: Where | None = None) -> None:
        """Take it away."""
        ...

    def check(self, request: Request, *, where: Where | None = None) -> Sequence[str]:
        """Why it would be refused, as far as that can be known beforehand."""
        ...

    def call(self, stack: str, token: str, args: Mapping[str, Any], *, where: Where | None = None) -> Mapping[str, Any]:
        """Answer a function."""
        ...

    def attempt(self, request: Request, *, where: Where | None = None) -> None:
        """Ask what the real provider asks to preview a creation or change."""
        ...

    def replaced(
        self, request: Request, changed: Sequence[str], old: Mapping[str, Any], *, where: Where | None = None
    ) -> Sequence[str]:
        """Which of the changed inputs cannot be changed in place."""
        ...


@dataclass(kw_only=True)
class Meddler:
    """Stands between engine and world, to see and to break.

    Attributes:
        before_create: By stack, called with every resource before it is made; what it raises is the provider's error.
        counts: Operations so far, by stack and name (`create`, `update`…).
        making: Creations under way, by stack.
    """

    before_create: dict[str, Callable[[Request], None]] = field(default_factory=dict[str, Callable[[Request], None]])
    counts: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    making: Counter[str] = field(default_factory=Counter[str])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def under_way(self, stack: str) -> Generator[None]:
        """Count a creation as under way until it has ended."""
        with self._lock:
            self.making[stack] += 1
        try:
            yield
        finally:
            with self._lock:
                self.making[stack] -= 1

    def count(self, stack: str, operation: str) -> None:
        """Count one operation."""
        with self._lock:
            self.counts[stack, operation] += 1


class Provider(Package):
    """One configured provider of a package."""

    def __init__(self, package: str, start: Start, realm: Realm, meddler: Meddler, callers: Callers = by_account) -> None:
        """Serve `package` (aws, github, kubernetes) for the engine that asked, with the credentials that the engine has."""
        super().__init__(package, start)
        self._realm, self._meddler = realm, meddler
        self._caller = callers(start.environment)
        self._config: dict[str, Any] = {}
        self._stack = ""

    # The protocol's own names and untyped messages; https://github.com/pulumi/pulumi/blob/master/proto/pulumi/provider.proto

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: ANN401, D102, N802
        del request, context
        return provider_pb2.ProviderHandshakeResponse()

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Hold the provider's configuration to its class."""
        del context
        # As they travel: what is secret is not shown in a fault.
        found = schema.faults(f"pulumi:providers:{self._package}", wire.read(request.news))
        return provider_pb2.CheckResponse(inputs=request.news, failures=[_failure(each) for each in found])

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: ANN401, D102, N802
        del context
        changed = _changed(wire.read(request.old_inputs), wire.read(request.news))
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE, diffs=changed
        )

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Take the configuration; refuse credentials of an account that it does not allow."""
        self._stack = _stack(request.urn)
        self._config = {key: _decoded(value) for key, value in self._plain(request.args).items()}
        accounts: list[Any] = self._config.get("allowedAccountIds") or []
        allowed = [str(each) for each in accounts]
        account = self._caller.account
        if self._package == "aws" and allowed and account not in allowed:
            context.abort(grpc.StatusCode.UNKNOWN, f"AWS account ID not allowed: {account}")
        return provider_pb2.ConfigureResponse(acceptSecrets=False, supportsPreview=True, acceptResources=False)

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Answer a function of the package."""
        with _told(context):
            answer = self._realm.call(self._stack, request.tok, self._plain(request.args), where=self._where())
        # A keyword of Python's, which the stubs know no way around.
        named: dict[str, Any] = {"return": wire.write(answer)}
        return provider_pb2.InvokeResponse(**named)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Refuse what cannot be made as declared, before anything is."""
        del context
        news = wire.read(request.news)
        inputs = wire.plain(news, self._start.folder)
        asked = self._request(request.urn, inputs)
        # As they travel: what is secret is not shown in a fault.
        failures = [_failure(each) for each in schema.faults(asked.type, news)]
        if not failures and not wire.has_unknown([inputs, self._config]):
            refused = self._realm.check(asked, where=self._where())
            failures = [provider_pb2.CheckFailure(property="", reason=each) for each in refused]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """What differs between what stands and what is declared, and whether it can be changed in place."""
        del context
        old, before, news = (wire.read(each) for each in (request.olds, request.old_inputs, request.news))
        # What nobody declares is the resource's own affair.
        stands = {key: reduced(value, before.get(key, news.get(key))) for key, value in old.items() if key in {*before, *news}}
        changed = _changed(stands, news)
        asked = self._request(request.urn, self._plain(request.news))
        replaces = self._realm.replaced(asked, changed, self._plain(request.old_inputs), where=self._where()) if changed else ()
        kinds = {
            key: provider_pb2.PropertyDiff(
                kind=provider_pb2.PropertyDiff.UPDATE_REPLACE if key in replaces else provider_pb2.PropertyDiff.UPDATE
            )
            for key in changed
        }
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=replaces,
            detailedDiff=kinds,
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Make it, and read it back."""
        news = wire.read(request.properties)
        asked = self._request(request.urn, self._plain(request.properties))
        if request.preview:
            self._attempt(asked, news, context)
            return provider_pb2.CreateResponse(properties=request.properties)
        with _told(context):
            if (meet := self._meddler.before_create.get(asked.stack)) is not None:
                meet(asked)
            if not context.is_active():
                # The engine is gone: nobody would know of what is made now.
                context.abort(grpc.StatusCode.CANCELLED, f"{asked.name} was not made: nobody waits for it")
            self._meddler.count(asked.stack, "create")
            with self._meddler.under_way(asked.stack):
                created = self._realm.create(asked, where=self._where())
                state = self._state(asked, created, news)
        return provider_pb2.CreateResponse(id=created.id, properties=wire.write(state))

    def Update(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Change it, and read it back."""
        news = wire.read(request.news)
        asked = self._request(request.urn, self._plain(request.news))
        if request.preview:
            self._attempt(asked, news, context)
            return provider_pb2.UpdateResponse(properties=wire.write({**wire.read(request.olds), **news}))
        with _told(context):
            self._meddler.count(asked.stack, "update")
            changed = self._realm.update(asked, request.id, self._plain(request.old_inputs), where=self._where())
            # What an update does not speak of is as it was.
            declared = wire.read(request.old_inputs)
            kept = {key: value for key, value in wire.read(request.olds).items() if key not in declared}
            outputs = Created(id=request.id, outputs={**kept, **changed.outputs})
            state = self._state(asked, outputs, news)
        return provider_pb2.UpdateResponse(properties=wire.write(state))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Look it up: for a refresh, an import, or a `get`."""
        inputs = self._plain(request.inputs)
        asked = self._request(request.urn, inputs)
        with _told(context):
            self._meddler.count(asked.stack, "read")
            found = self._realm.read(asked, request.id, where=self._where())
        if found is None:
            return provider_pb2.ReadResponse()
        there = _whole(found)
        if not inputs:
            known = {key: value for key, value in there.items() if schema.is_input(asked.type, key)}
            return provider_pb2.ReadResponse(id=request.id, inputs=wire.write(known), properties=wire.write(there))
        raw = wire.read(request.inputs)
        drifted = {key: there[key] for key in raw if key in there and not same(wire.known(inputs[key]), there[key])}
        return provider_pb2.ReadResponse(
            id=request.id,
            inputs=wire.write({**raw, **drifted}),
            properties=wire.write({**wire.read(request.properties), **raw, **drifted}),
        )

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Take it away."""
        inputs = self._plain(request.old_inputs) or self._plain(request.properties)
        with _told(context):
            self._meddler.count(_stack(request.urn), "delete")
            self._realm.delete(self._request(request.urn, inputs), request.id, where=self._where())
        return empty_pb2.Empty()

    # Parts

    def _plain(self, struct: Any) -> dict[str, Any]:  # noqa: ANN401 — a Struct
        return cast("dict[str, Any]", wire.plain(wire.read(struct), self._start.folder))

    def _request(self, urn: str, inputs: dict[str, Any]) -> Request:
        declared = {key: value for key, value in inputs.items() if not key.startswith("__")}
        return Request(
            stack=_stack(urn),
            type=_type(urn),
            name=urn.rpartition("::")[2],
            inputs=cast("dict[str, Any]", wire.known(declared)),
            custom=True,
            parent="",
        )

    def _where(self) -> Where:
        region = str(self._config.get("region") or self._start.environment.get("AWS_REGION", ""))
        return Where(place=Place(account=self._caller.account, region=region), provider=self._config, caller=self._caller)

    def _attempt(self, asked: Request, news: Mapping[str, Any], context: Any) -> None:  # noqa: ANN401 — as above
        """Preview a change as the real provider does; what is not known yet cannot be tried."""
        if not wire.has_unknown([news, self._config]):
            with _told(context):
                self._realm.attempt(asked, where=self._where())

    def _state(self, asked: Request, created: Created, news: Mapping[str, Any]) -> dict[str, Any]:
        """What is kept of a resource: its outputs, its inputs as they travelled, and what was read back otherwise."""
        found = self._realm.read(asked, created.id, where=self._where()) or {}
        otherwise = {key: found[key] for key in asked.inputs if key in found and not same(asked.inputs[key], found[key])}
        return {**_merged(_whole(created.outputs), news), **_whole(otherwise)}


@contextlib.contextmanager
def _told(context: grpc.ServicerContext) -> Generator[None]:
    """Tell the engine what went wrong, in its own words."""
    try:
        yield
    except (RealiseError, InvokeError) as error:
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
    except Exception as error:
        # What `abort` itself raises says nothing, and has told already.
        if str(error):
            # A fault of the stand-in's own: with the way to it.
            context.abort(grpc.StatusCode.INTERNAL, "".join(traceback.format_exception(error)))
        raise


def _failure(fault: schema.Fault) -> Any:  # noqa: ANN401 — untyped messages
    return provider_pb2.CheckFailure(property=fault.property, reason=fault.problem)


def _merged(outputs: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs with the inputs as they travelled: what AWS has added inside a block stays."""
    merged = {**outputs, **news}
    for key in outputs.keys() & news.keys():
        if isinstance(outputs[key], dict) and isinstance(news[key], dict) and not wire.is_marked(news[key]):
            merged[key] = _merged(outputs[key], news[key])
    return merged


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    keys = sorted({*old, *new})
    return [
        key for key in keys if not key.startswith("__") and not same(wire.comparable(old.get(key)), wire.comparable(new.get(key)))
    ]


def _whole(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them: dates and the like as text."""
    return cast("dict[str, Any]", json.loads(json.dumps(dict(values), default=str)))


def _decoded(value: Any) -> Any:  # noqa: ANN401 — JSON
    """A provider's structured settings travel as JSON in strings, but a kubeconfig is one."""
    if isinstance(value, str) and value.startswith("["):
        return json.loads(value)
    return value


def _type(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _stack(urn: str) -> str:
    return urn.split("::", maxsplit=1)[0].rpartition(":")[2]


def serve(package: str, realm: Realm, meddler: Meddler, callers: Callers = by_account) -> Callable[[Start, grpc.Server], None]:
    """How the broker serves a package."""

    def add(start: Start, server: grpc.Server) -> None:
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(package, start, realm, meddler, callers), server)

    return add


__all__ = ["Callers", "Meddler", "Provider", "Realm", "serve"]
