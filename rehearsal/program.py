"""Evaluates the real program, `__main__.py`, under the Pulumi SDK's own test monitor.

No engine, no provider, no account. Every registration goes to a *world*, which answers with the resource's id and
outputs: `Imagined` makes them up from the inputs (for tests), the rehearsal's world creates the thing in an emulator.
All registrations come back with what the engine would have been told about them.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import re
import runpy
import sys
import threading
import types
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, cast

import grpc
import pulumi
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import mocks, set_all_config, set_mocks
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.rpc import (
    _special_resource_sig,  # pyright: ignore[reportPrivateUsage] — the wire's own constants
    _special_secret_sig,  # pyright: ignore[reportPrivateUsage] — same
    _special_sig_key,  # pyright: ignore[reportPrivateUsage] — same
)
from pulumi.runtime.settings import reset_options
from pulumi.runtime.stack import run_pulumi_func

from components import regions
from components.settings import read_stack_file

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT: Final = "slipway"
PLATFORM: Final = "SLIPWAY_PLATFORM"
"""Environment variable with the folder of the stack files and services.py, where it is not the repository's root."""


def platform_folder() -> Path:
    """Return the folder of the stack files and services.py: the repository's root, or what `SLIPWAY_PLATFORM` names.

    The library's tests name a platform of their own (tests/example), so that a team's settings never decide them.
    """
    return Path(os.environ.get(PLATFORM) or ROOT).resolve()


@dataclass(frozen=True, kw_only=True)
class Request:
    """One resource that the program asks for.

    Attributes:
        stack: Stack under evaluation.
        type: Pulumi type token, such as `aws:ecr/repository:Repository`.
        name: Logical name.
        inputs: Properties as the engine gets them: camelCase keys, secrets unwrapped, unknowns as None in a preview. A
            resource stands there as `{"urn", "id"}`, an archive or asset on disk as `{"path"}`.
        custom: False for components, remote ones among them.
        parent: URN of the parent.
        import_id: Id of an existing resource that is read or imported, else "".
    """

    stack: str
    type: str
    name: str
    inputs: dict[str, Any]
    custom: bool
    parent: str
    import_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Created:
    """What a world answers: the physical id and the outputs (the inputs among them)."""

    id: str
    outputs: dict[str, Any]


class World(Protocol):
    """Where a registration becomes a resource. Called from several threads, in the order of dependencies."""

    def create(self, request: Request) -> Created:
        """Make the resource."""
        ...

    def call(self, stack: str, token: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a provider function (an invoke).

        Raises:
            InvokeError: the provider refuses.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Declared(Request):
    """A resource as it was registered.

    Attributes:
        urn: Its URN.
        id: Physical id that the world gave.
        outputs: Outputs that the world gave.
        protect: Whether the engine refuses to delete it.
        retain_on_delete: Whether deleting leaves it in the account.
        ignore_changes: Property paths that no update touches.
        delete_before_replace: Whether a replacement deletes first.
        aliases: Earlier URNs or names.
        dependencies: URNs that it waits for.
        property_dependencies: URNs by input.
        secrets: Top-level inputs that hold a secret.
        provider: Provider reference (`urn::id`), "" for the default one.
        remote: Whether another process constructs it (pulumi_eks.Cluster).
        transforms: What the program wants done to it and what stands below it.
    """

    urn: str
    id: str
    outputs: dict[str, Any]
    protect: bool = False
    retain_on_delete: bool = False
    ignore_changes: Sequence[str] = ()
    delete_before_replace: bool = False
    aliases: Sequence[str] = ()
    dependencies: Sequence[str] = ()
    property_dependencies: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    secrets: frozenset[str] = frozenset()
    provider: str = ""
    remote: bool = False
    transforms: Sequence[pulumi.ResourceTransform] = ()


@dataclass(frozen=True, kw_only=True)
class Call:
    """A provider function that the program called."""

    token: str
    args: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Program:
    """All that one stack declares, after the last registration has landed.

    Attributes:
        stack: Its name.
        resources: Registrations in the order in which they landed.
        calls: Invokes in their order.
        exports: Stack outputs.
        warnings: What the program logged as warning or error.
    """

    stack: str
    resources: Sequence[Declared]
    calls: Sequence[Call]
    exports: Mapping[str, Any]
    warnings: Sequence[str]

    def of(self, type_: str) -> list[Declared]:
        """Every resource of a type token; an ending such as `Repository` or `ecr/repository:Repository` is enough."""
        return [each for each in self.resources if each.type == type_ or each.type.endswith((f":{type_}", f"/{type_}"))]

    def one(self, type_: str, name_part: str = "") -> Declared:
        """The only resource of a type whose logical name holds `name_part`.

        Raises:
            LookupError: there is none, or more than one; the message lists what there is.
        """
        found = [each for each in self.of(type_) if name_part in each.name]
        if len(found) != 1:
            there = ", ".join(each.name for each in self.of(type_)) or "none"
            msg = f"{len(found)} resources of {type_} named like {name_part!r} in {self.stack}, not one; there are: {there}"
            raise LookupError(msg)
        return found[0]

    def urns(self) -> dict[str, Declared]:
        """Resources by URN.

        Raises:
            LookupError: two resources share a URN, which the engine would refuse.
        """
        found: dict[str, Declared] = {}
        for each in self.resources:
            if each.urn in found:
                msg = f"two resources share the URN {each.urn}: the engine refuses the second. Give one another name"
                raise LookupError(msg)
            found[each.urn] = each
        return found

    def children(self, urn: str) -> list[Declared]:
        """Direct children of a resource."""
        return [each for each in self.resources if each.parent == urn]


class InvokeError(Exception):
    """What a provider answers a function with when it fails, for worlds to raise: the program sees what the engine would show."""


class _RpcError(grpc.RpcError):
    """An `InvokeError` on the wire. Any other exception ends the whole evaluation."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._text = text

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        return self._text


class ProgramError(Exception):
    """The program raised; `registered` tells what had been registered by then."""

    def __init__(self, cause: BaseException, registered: Sequence[Declared]) -> None:
        """Keep the cause's own words as the message."""
        super().__init__(str(cause))
        self.cause = cause
        self.registered = registered


def stack_config(stack: str, overrides: Mapping[str, object] | None = None, *, folder: Path | None = None) -> dict[str, str]:
    """A stack's configuration as the engine hands it to a program: plain strings, structures as JSON.

    Args:
        stack: Name of the stack; its file is `Pulumi.<stack>.yaml`.
        overrides: Full keys (`slipway:clusters`) to other values; None removes the key.
        folder: Folder of the stack files; `platform_folder()` unless given.
    """
    given = read_stack_file(stack, folder or platform_folder()).config
    merged: dict[str, object] = {**given, **(overrides or {})}
    return {
        key: value if isinstance(value, str) else json.dumps(value, default=str)
        for key, value in merged.items()
        if value is not None
    }


def evaluate(  # noqa: PLR0913 — each is one way in which a caller's evaluation differs
    stack: str,
    *,
    config: Mapping[str, object] | None = None,
    catalogue: Callable[[Any], None] | None = None,
    preview: bool = False,
    world: World | None = None,
    folder: Path | None = None,
) -> Program:
    """Run the whole program for `stack`.

    Args:
        stack: `dev`, `stg` or `prd`, or any stack that the folder has a file for.
        config: Overrides of the stack file, see `stack_config`.
        catalogue: Stands in for `services.services`, to add or leave out services.
        preview: Whether outputs of resources are unknown, as in a first `pulumi preview`.
        world: Who answers registrations; `Imagined` unless given.
        folder: Folder of the stack files and of services.py; `platform_folder()` unless given.

    Raises:
        ProgramError: the program raised.
    """
    place = folder or platform_folder()

    def run() -> None:
        with _services(catalogue or read_services(place)):
            runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")

    return _evaluate(run, stack, stack_config(stack, config, folder=place), preview=preview, world=world)


def read_services(folder: Path) -> Callable[[Any], None]:
    """Return the function `services` of a platform's services.py."""
    return cast("Callable[[Any], None]", runpy.run_path(str(folder / "services.py"), run_name="services")["services"])


def evaluate_component(
    declare: Callable[[], object],
    stack: str = "dev",
    *,
    config: Mapping[str, object] | None = None,
    preview: bool = False,
    world: World | None = None,
) -> Program:
    """Run only `declare`, with the configuration of `stack`; else as `evaluate`."""

    def run() -> None:
        declare()

    return _evaluate(run, stack, stack_config(stack, config), preview=preview, world=world)


class Imagined:
    """Outputs made up from the inputs: each what AWS would give to a reader of the same inputs, nothing random."""

    # What a type's ARN looks like, from region, account, and its name; the rest of AWS's ARNs follow `service:…:name`.
    # https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
    ARNS: Final[Mapping[str, str]] = {
        "aws:acm/certificate:Certificate": "arn:aws:acm:{region}:{account}:certificate/{name}",
        "aws:cloudwatch/eventRule:EventRule": "arn:aws:events:{region}:{account}:rule/{name}",
        "aws:cloudwatch/logGroup:LogGroup": "arn:aws:logs:{region}:{account}:log-group:{name}",
        "aws:cloudwatch/metricAlarm:MetricAlarm": "arn:aws:cloudwatch:{region}:{account}:alarm:{name}",
        "aws:codebuild/project:Project": "arn:aws:codebuild:{region}:{account}:project/{name}",
        "aws:codepipeline/pipeline:Pipeline": "arn:aws:codepipeline:{region}:{account}:{name}",
        "aws:ecr/repository:Repository": "arn:aws:ecr:{region}:{account}:repository/{name}",
        "aws:iam/policy:Policy": "arn:aws:iam::{account}:policy/{name}",
        "aws:iam/role:Role": "arn:aws:iam::{account}:role/{name}",
        "aws:kms/key:Key": "arn:aws:kms:{region}:{account}:key/{name}",
        "aws:lambda/function:Function": "arn:aws:lambda:{region}:{account}:function:{name}",
        "aws:lb/listener:Listener": "arn:aws:elasticloadbalancing:{region}:{account}:listener/app/{name}",
        "aws:lb/listenerRule:ListenerRule": "arn:aws:elasticloadbalancing:{region}:{account}:listener-rule/app/{name}",
        "aws:lb/loadBalancer:LoadBalancer": "arn:aws:elasticloadbalancing:{region}:{account}:loadbalancer/app/{name}",
        "aws:lb/targetGroup:TargetGroup": "arn:aws:elasticloadbalancing:{region}:{account}:targetgroup/{name}",
        "aws:s3/bucket:Bucket": "arn:aws:s3:::{name}",
        "aws:scheduler/schedule:Schedule": "arn:aws:scheduler:{region}:{account}:schedule/default/{name}",
        "aws:secretsmanager/secret:Secret": "arn:aws:secretsmanager:{region}:{account}:secret:{name}",
        "aws:sns/topic:Topic": "arn:aws:sns:{region}:{account}:{name}",
        "aws:sqs/queue:Queue": "arn:aws:sqs:{region}:{account}:{name}",
        "aws:ssm/parameter:Parameter": "arn:aws:ssm:{region}:{account}:parameter{name}",
    }

    def __init__(
        self,
        account: str = "111111111111",
        region: str = "eu-central-1",
        *,
        caller: str | None = None,
        answers: Mapping[str, Mapping[str, Any] | InvokeError] | None = None,
    ) -> None:
        """Imagine an account.

        Args:
            account: Who `get_caller_identity` says is calling.
            region: Its region.
            caller: ARN of the caller; the stack's deploy role unless given.
            answers: Functions by token that are answered otherwise, or fail: what another account would say.
        """
        self.account = account
        self.region = region
        self.caller = caller
        self.answers = answers or {}

    def create(self, request: Request) -> Created:
        """Make up an id and outputs."""
        inputs = request.inputs
        physical = str(inputs.get("name") or inputs.get("bucket") or inputs.get("identifier") or request.name)
        outputs: dict[str, Any] = {**inputs, "name": inputs.get("name", physical)}
        where = {"account": self.account, "region": self.region, "name": physical}
        if request.type.startswith("aws:"):
            service = request.type.split(":")[1].split("/")[0]
            form = self.ARNS.get(request.type, f"arn:aws:{service}:{{region}}:{{account}}:{request.name}")
            outputs.setdefault("arn", form.format(**where))
        outputs.update(
            _EXTRA.get(request.type, _nothing)(request, {"region": self.region, "account": self.account, "name": physical})
        )
        return Created(id=self._id(request, physical, outputs), outputs=outputs)

    def call(self, stack: str, token: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the functions that the program calls; an unknown one is an error, never an empty answer."""
        answer = self.answers.get(token)
        if isinstance(answer, InvokeError):
            raise answer
        if answer is not None:
            return {**args, **answer}
        return {**args, **(self._place(stack, token, args) or self._other(token, args))}

    def _place(self, stack: str, token: str, args: Mapping[str, Any]) -> dict[str, Any] | None:
        """Answer what tells one account and region from another: whose it is, and what is offered there."""
        zones = regions.default_zones(self.region)
        match token:
            case "aws:index/getCallerIdentity:getCallerIdentity":
                arn = self.caller or f"arn:aws:sts::{self.account}:assumed-role/slipway-{stack}-deploy/test"
                return {"accountId": self.account, "arn": arn, "id": self.account, "userId": "AROAEXAMPLE:test"}
            case "aws:index/getAvailabilityZones:getAvailabilityZones":
                ids = [f"{_zone_prefix(self.region)}-az{number}" for number in (4, 5, 6)]
                return {"id": self.region, "names": list(zones), "zoneIds": ids[: len(zones)], "state": "available"}
            case "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings":
                types = [value for each in args.get("filters") or () for value in each["values"]]
                offered = [(instance_type, zone) for instance_type in types for zone in zones]
                return {
                    "id": self.region,
                    "instanceTypes": [instance_type for instance_type, _ in offered],
                    "locations": [zone for _, zone in offered],
                    "locationTypes": ["availability-zone"] * len(offered),
                }
            case "aws:iam/getRole:getRole":
                name = str(args["name"])
                return {"id": name, "arn": f"arn:aws:iam::{self.account}:role/{name}", "path": "/"}
            case _:
                return None

    def _other(self, token: str, args: Mapping[str, Any]) -> dict[str, Any]:
        match token:
            case "aws:route53/getZone:getZone":
                return {
                    **args,
                    "id": "Z0123456789EXAMPLE",
                    "zoneId": "Z0123456789EXAMPLE",
                    "arn": "arn:aws:route53:::hostedzone/Z0123456789EXAMPLE",
                }
            case "aws:secretsmanager/getRandomPassword:getRandomPassword":
                return {**args, "id": self.region, "randomPassword": "imagined-random-password-of-forty-letters"}
            case "aws:iam/getOpenIdConnectProvider:getOpenIdConnectProvider":
                host = str(args.get("url", "")).removeprefix("https://")
                return {**args, "id": host, "arn": f"arn:aws:iam::{self.account}:oidc-provider/{host}"}
            case _:
                msg = f"the program called {token}, which no world answers: add it to rehearsal/program.py, Imagined.call"
                raise LookupError(msg)

    @staticmethod
    def _id(request: Request, physical: str, outputs: Mapping[str, Any]) -> str:
        match request.type:
            case "aws:sqs/queue:Queue":
                return str(outputs["url"])
            case type_ if type_.startswith(("aws:lb/", "aws:acm/", "aws:sns/", "aws:secretsmanager/")) and "arn" in outputs:
                return str(outputs["arn"])
            case type_ if type_.startswith("aws:ec2/"):
                return f"{type_.rsplit(':', 1)[1].lower()}-{request.name}"
            case _:
                return physical


def _zone_prefix(region: str) -> str:
    """Return what a region's zone ids begin with: euc1 for eu-central-1."""
    area, *place, number = region.split("-")
    compass = "".join(each[0] for part in place for each in re.findall("north|south|east|west|central", part))
    return f"{area}{compass}{number}"


def _nothing(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del request, where
    return {}


def _repository(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del request
    address = "{account}.dkr.ecr.{region}.amazonaws.com/{name}".format_map(where)
    return {"repositoryUrl": address, "registryId": where["account"]}


def _queue(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del request
    return {"url": "https://sqs.{region}.amazonaws.com/{account}/{name}".format_map(where)}


def _load_balancer(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del request
    name = where["name"]
    return {
        "dnsName": "{name}.{region}.elb.amazonaws.com".format_map(where),
        "zoneId": "Z215JYRZR1TBD5",
        "arnSuffix": f"app/{name}/0",
    }


def _target_group(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del request
    return {"arnSuffix": "targetgroup/{name}/0".format_map(where)}


def _certificate(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del where
    domain = str(request.inputs["domainName"])
    return {
        "domainValidationOptions": [
            {
                "domainName": domain,
                "resourceRecordName": f"_validation.{domain.removeprefix('*.')}",
                "resourceRecordType": "CNAME",
                "resourceRecordValue": "_answer.acm-validations.aws",
            }
        ]
    }


def _validation(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del where
    return {"certificateArn": request.inputs["certificateArn"]}


def _address(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del where
    return {"allocationId": f"eipalloc-{request.name}", "publicIp": "198.51.100.7"}


def _launch_template(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del request, where
    return {"defaultVersion": 1, "latestVersion": 1}


def _record(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del where
    return {"fqdn": str(request.inputs["name"]).rstrip(".")}


def _bucket(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del request
    return {"bucket": where["name"], "bucketRegionalDomainName": "{name}.s3.{region}.amazonaws.com".format_map(where)}


def _cluster(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del request
    name = where["name"]
    return {
        "kubeconfig": {"clusters": [{"name": name}]},
        "kubeconfigJson": json.dumps({"clusters": [{"name": name}]}),
        "clusterSecurityGroupId": f"sg-{name}-control",
        "nodeSecurityGroupId": f"sg-{name}-nodes",
    }


def _github_repository(request: Request, where: Mapping[str, str]) -> dict[str, Any]:
    del request
    return {"fullName": where["name"], "nodeId": f"R_{where['name']}", "repoId": 1, "defaultBranch": "main"}


# Outputs that are more than inputs and ARN, by type.
_EXTRA: Final[Mapping[str, Callable[[Request, Mapping[str, str]], dict[str, Any]]]] = {
    "aws:acm/certificate:Certificate": _certificate,
    "aws:acm/certificateValidation:CertificateValidation": _validation,
    "aws:ec2/eip:Eip": _address,
    "aws:ec2/launchTemplate:LaunchTemplate": _launch_template,
    "aws:ecr/repository:Repository": _repository,
    "aws:lb/loadBalancer:LoadBalancer": _load_balancer,
    "aws:lb/targetGroup:TargetGroup": _target_group,
    "aws:route53/record:Record": _record,
    "aws:s3/bucket:Bucket": _bucket,
    "aws:sqs/queue:Queue": _queue,
    "eks:index:Cluster": _cluster,
    "github:index/repository:Repository": _github_repository,
}


_FILES: Final = (pulumi.Asset, pulumi.Archive)


class _Recorder(mocks.Mocks):
    """Joins the SDK's mock interface with a world; `_Monitor` fills in what mocks are not told."""

    def __init__(self, stack: str, world: World, *, preview: bool) -> None:
        self.stack = stack
        self.world = world
        self.preview = preview
        self.calls: list[Call] = []
        self.request = threading.local()

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        given = cast("dict[str, Any]", args.args)
        self.calls.append(Call(token=args.token, args=given))
        return self.world.call(self.stack, args.token, given), []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        request = Request(
            stack=self.stack,
            type=args.typ,
            name=args.name,
            inputs=cast("dict[str, Any]", _plain(cast("dict[str, Any]", args.inputs))),
            custom=bool(args.custom),
            parent=getattr(self.request, "parent", ""),
            import_id=args.resource_id or "",
        )
        if self.preview or not (request.custom or self.request.remote):
            # The engine's preview knows no more of a new resource than its inputs: all else is unknown to the program.
            created = Created(id="", outputs=request.inputs if request.custom else {})
        else:
            created = self.world.create(request)
        self.request.made = (request, created, tuple(args.transforms or ()))
        # What went in as a secret comes out as one, as from the engine.
        secrets = {key: value for key, value in cast("dict[str, Any]", args.inputs).items() if _is_secret(value)}
        # An archive or asset, which is a plain path to a world, comes back as the object that the SDK sent.
        files = {key: value for key, value in cast("dict[str, Any]", args.inputs).items() if isinstance(value, _FILES)}
        return created.id, {**created.outputs, **{key: _secret(created.outputs.get(key)) for key in secrets}, **files}


class _Monitor(mocks.MockMonitor):
    """The SDK's test monitor, which also keeps the options that mocks do not see, and refuses a URN taken twice."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__(recorder)
        self.recorder = recorder
        self.declared: list[Declared] = []
        self.outputs: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self.loops: list[asyncio.AbstractEventLoop] = []

    def Invoke(self, request: Any) -> Any:  # noqa: ANN401, N802 — the protocol's own name and untyped messages
        self._loop()
        try:
            return super().Invoke(request)  # pyright: ignore[reportUnknownMemberType] — untyped in the SDK
        except InvokeError as error:
            raise _RpcError(str(error)) from None

    def _loop(self) -> None:
        """Give this worker thread an event loop that is closed in the end: the SDK would make one and leave it open."""
        local = self.recorder.request
        if not hasattr(local, "loop"):
            local.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(local.loop)
            with self.lock:
                self.loops.append(local.loop)

    def RegisterResource(self, request: Any) -> Any:  # noqa: ANN401, N802 — the protocol's own name and untyped messages
        self._loop()
        local = self.recorder.request
        local.parent, local.remote = request.parent, bool(request.remote)
        _flatten(request.object)
        response = super().RegisterResource(request)  # pyright: ignore[reportUnknownMemberType] — untyped in the SDK
        if request.type == "pulumi:pulumi:Stack":
            return response
        made, created, transforms = local.made
        declared = Declared(
            **{key: getattr(made, key) for key in Request.__dataclass_fields__},
            urn=response.urn,
            id=created.id,
            outputs=created.outputs,
            protect=bool(request.protect),
            retain_on_delete=bool(request.retainOnDelete),
            ignore_changes=tuple(request.ignoreChanges),
            delete_before_replace=bool(request.deleteBeforeReplace),
            aliases=tuple(str(each) for each in request.aliases),
            dependencies=tuple(sorted(request.dependencies)),
            property_dependencies={key: tuple(value.urns) for key, value in request.propertyDependencies.items()},
            secrets=_secret_keys(request),
            provider=request.provider,
            remote=bool(request.remote),
            transforms=transforms,
        )
        with self.lock:
            if any(each.urn == declared.urn for each in self.declared):
                msg = f"two resources share the URN {declared.urn}: the engine refuses the second. Give one another name"
                raise LookupError(msg)
            self.declared.append(declared)
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: ANN401, N802 — as above
        with self.lock:
            self.outputs[request.urn] = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)  # pyright: ignore[reportUnknownMemberType] — untyped in the SDK


def _flatten(struct: struct_pb2.Struct) -> None:
    """Turn resources inside `struct` into plain data.

    The SDK's mocks would make objects of them, which ask this monitor for themselves on a loop of their own.
    """
    if _special_sig_key in struct.fields and struct.fields[_special_sig_key].string_value == _special_resource_sig:
        kept = {key: struct.fields[key].string_value for key in ("urn", "id") if key in struct.fields}
        struct.Clear()
        struct.update(kept)
        return
    for value in struct.fields.values():
        _flatten_value(value)


def _flatten_value(value: struct_pb2.Value) -> None:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        _flatten(value.struct_value)
    elif kind == "list_value":
        for each in value.list_value.values:
            _flatten_value(each)


def _secret_keys(request: resource_pb2.RegisterResourceRequest) -> frozenset[str]:
    inputs = cast("dict[str, object]", json_format.MessageToDict(request.object))
    return frozenset(key for key, value in inputs.items() if _is_secret(value))


def _is_secret(value: object) -> bool:
    """Whether a secret stands anywhere in `value`, as the wire marks it."""
    if isinstance(value, dict):
        found = cast("dict[str, object]", value)
        return found.get(_special_sig_key) == _special_secret_sig or any(map(_is_secret, found.values()))
    return isinstance(value, list) and any(map(_is_secret, cast("list[object]", value)))


def _secret(value: object) -> dict[str, object]:
    return {_special_sig_key: _special_secret_sig, "value": value}


def _plain(value: object) -> object:
    """`value` with its secrets unwrapped, and archives and assets as what they are on disk."""
    if isinstance(value, _FILES):
        return {"path": str(getattr(value, "path", ""))}
    if isinstance(value, dict):
        found = cast("dict[str, object]", value)
        if found.get(_special_sig_key) == _special_secret_sig:
            return _plain(found["value"])
        return {key: _plain(each) for key, each in found.items()}
    if isinstance(value, list):
        return [_plain(each) for each in cast("list[object]", value)]
    return value


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _evaluate(run: Callable[[], None], stack: str, config: Mapping[str, str], *, preview: bool, world: World | None) -> Program:
    # The runtime keeps settings, configuration and root resource in context variables: a thread of its own keeps one
    # evaluation from seeing another's, and gives it an event loop of its own.
    result: list[Program | BaseException] = []

    def work() -> None:
        try:
            result.append(_in_this_thread(run, stack, config, preview=preview, world=world))
        except BaseException as error:  # noqa: BLE001 — handed to the caller's thread below
            result.append(error)

    thread = threading.Thread(target=work, name=f"evaluate-{stack}")
    thread.start()
    thread.join()
    (outcome,) = result
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _in_this_thread(
    run: Callable[[], None], stack: str, config: Mapping[str, str], *, preview: bool, world: World | None
) -> Program:
    region = config.get("aws:region", "eu-central-1")
    accounts = json.loads(config.get("aws:allowedAccountIds", "[]")) or ["111111111111"]
    recorder = _Recorder(stack, world or Imagined(account=accounts[0], region=region), preview=preview)
    monitor = _Monitor(recorder)
    handler = _Warnings()
    logger = logging.Logger(f"pulumi.{stack}")  # noqa: LOG001 — its own, so that two evaluations do not share handlers
    logger.addHandler(handler)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    exports: dict[str, Any] = {}
    try:
        reset_options(project=PROJECT, stack=stack, preview=preview)
        set_all_config(dict(config))
        set_mocks(recorder, project=PROJECT, stack=stack, preview=preview, logger=logger, monitor=monitor)
        try:
            with _strict_outputs(), _no_collection():
                loop.run_until_complete(run_pulumi_func(run))
        except Exception as error:
            raise ProgramError(error, tuple(monitor.declared)) from error
        root = pulumi.runtime.get_root_resource()
        exports = dict(cast("dict[str, Any]", getattr(root, "outputs", {})))
    finally:
        _close(loop)
        for each in monitor.loops:
            each.close()
    return Program(
        stack=stack,
        resources=tuple(monitor.declared),
        calls=tuple(recorder.calls),
        exports=exports,
        warnings=tuple(handler.lines),
    )


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """End what a failed program left unfinished, and its loop."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    # Its worker threads end first: they may still hold loops of their own.
    loop.run_until_complete(loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    loop.close()


@contextlib.contextmanager
def _strict_outputs() -> Generator[None]:
    """Make an f-string over an Output an error (https://www.pulumi.com/docs/iac/cli/environment-variables/)."""
    name = "PULUMI_ERROR_OUTPUT_STRING"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _no_collection() -> Generator[None]:
    """Let no garbage be looked for meanwhile: a program only makes objects, and looking takes two fifths of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextlib.contextmanager
def _services(catalogue: Callable[[Any], None]) -> Generator[None]:
    """Let `from services import services` find `catalogue`."""
    stand_in = types.ModuleType("services")
    vars(stand_in)["services"] = catalogue
    before = sys.modules.get("services")
    sys.modules["services"] = stand_in
    try:
        yield
    finally:
        if before is None:
            del sys.modules["services"]
        else:
            sys.modules["services"] = before


__all__ = [
    "Call",
    "Created",
    "Declared",
    "Imagined",
    "InvokeError",
    "Program",
    "ProgramError",
    "Request",
    "World",
    "evaluate",
    "evaluate_component",
    "platform_folder",
    "read_services",
    "stack_config",
]
