"""The stage of `make e2e`: the same world, where the real engine makes what is declared and real Argo CD what is committed."""

import contextlib
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Self, cast

import urllib3
from werkzeug.wrappers import Request, Response

from components import naming
from rehearsal.cast import appended
from rehearsal.cloud.world import CloudWorld
from rehearsal.edge_door import Behind
from rehearsal.engine import provider, served
from rehearsal.engine.cli import ADMINISTRATOR, DEPLOY, Engine, Outcome, Role
from rehearsal.engine.plugins import Broker
from rehearsal.lab import bindings
from rehearsal.lab.argocd import NAMESPACE
from rehearsal.lab.build import Binaries
from rehearsal.lab.clusters import Clusters, LabCluster
from rehearsal.program import Program, platform_folder
from rehearsal.stage import Stage, StageError

_WAIT_SECONDS: Final = 60.0
_SAMPLE_SECONDS: Final = 2.0
# Often enough for what is told in tenths of seconds; every look is four requests.
_LOOK_SECONDS: Final = 0.1
_KEPT_HEADERS: Final = ("Content-Type", "User-Agent")


@dataclass(frozen=True, kw_only=True)
class State:
    """A service in a cluster, as Argo CD and the API server show it.

    Attributes:
        environment: Where.
        service: Which.
        sync: Argo CD's word for it: `Synced`, `OutOfSync`, `Unknown`.
        health: Likewise: `Healthy`, `Progressing`, `Degraded`, `Missing`.
        revision: Commit that was compared with last.
        images: Images of the Deployment's template.
        running: Pods that are ready and run exactly these, of how many there should be.
        wanted: How many there should be.
        message: What Argo CD complains of.
    """

    environment: str
    service: str
    sync: str = "Unknown"
    health: str = "Missing"
    revision: str = ""
    images: tuple[str, ...] = ()
    running: int = 0
    wanted: int = 0
    message: str = ""

    @property
    def settled(self) -> bool:
        """Whether it is as committed, and all of it runs."""
        return self.sync == "Synced" and self.health == "Healthy" and 0 < self.wanted == self.running


@dataclass(kw_only=True)
class EngineStage(Stage):
    """Adds the lab to the stage.

    Attributes:
        binaries: What the lab runs.
        stacks: Those that will be made; all unless given.
        clusters: The control planes.
        engine: The command line, over a copy of the project.
        meddler: Stands between providers and world.
        outcomes: What the command line did, in its order.
        peak: Most resident bytes of this process and all that it has started.
    """

    shows: ClassVar[str] = "Argo CD runs the image of {service} in {environment}"
    binaries: Binaries
    stacks: Sequence[str] = ()
    clusters: Clusters = field(init=False)
    engine: Engine = field(init=False)
    meddler: provider.Meddler = field(default_factory=provider.Meddler)
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    peak: int = 0
    _sessions: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        """Start every part; the control planes go on starting."""
        super().__enter__()
        try:
            plugins = served.plugins(self.world, self.meddler, self.clusters, self.identities.caller)
            broker = self._stack.enter_context(Broker(folder=self.folder / "plugins", plugins=plugins))
            accounts = {name: each.environment.account for name, each in self.settings.items()}
            self.engine = Engine(
                pulumi=self.binaries.pulumi,
                plugins=broker.bin,
                folder=self.folder / "engine",
                accounts=accounts,
                identify=self.identify,
            )
            self.engine.copy_project()
            for stack in self.flow.stacks:
                self.engine.configure(stack, self.overrides(stack))
                self.declare(stack)
            sampler = threading.Thread(target=self._sample, name="memory")
            sampler.start()
            self._stack.callback(sampler.join)
            self._stack.callback(self._over.set)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _make_world(self, stack: ExitStack) -> CloudWorld:
        self.clusters = stack.enter_context(Clusters(self.binaries, self.folder / "clusters", self.emulators, self.say))
        # Each takes seconds to start, and the first is needed soon.
        self.clusters.prewarm(
            naming.cluster(name, colour) for name in self.stacks or self.flow.stacks for colour in self.settings[name].clusters
        )
        return CloudWorld(self.emulators, github=self.host, lab=self.clusters)

    def _behind(self) -> Behind | None:
        return self._forward

    def _forward(self, environment: str, target: str, request: Request) -> Response:
        """What a target group's pods answer: Argo CD's, where its binding stands."""
        why = f"no pod is bound to {target}"
        for colour in self.settings[environment].clusters:
            found = self.clusters.find(naming.cluster(environment, colour))
            if found is None or found.argocd is None or not found.argocd.server_url:
                continue
            for each in found.kube.list(bindings.API, bindings.KIND, NAMESPACE):
                if f":targetgroup/{target}/" not in each["spec"]["targetGroupARN"]:
                    continue
                why = found.bindings.get((NAMESPACE, each["metadata"]["name"]), "nobody has looked at the binding yet")
                if not why:
                    return _forwarded(request, found.argocd.server_url)
        return Response(why, 502)

    # Who runs the engine

    def prepare_account(self, stack: str) -> str:
        """Also: there is an administrator's role, which makes the first `up`."""
        said = super().prepare_account(stack)
        arn = self.administrator(stack)
        path, _, name = arn.partition(":role")[2].rpartition("/")
        iam = self.client(stack, "iam")
        trust = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"AWS": arn.split(":")[4]}, "Action": "sts:AssumeRole"}],
        }
        # Bootstrap's run may have made the role before.
        with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_role(RoleName=name, Path=f"{path}/", AssumeRolePolicyDocument=json.dumps(trust))
        iam.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
        return said

    def administrator(self, stack: str) -> str:
        """ARN of the role that a person makes a stack's first `up` as: one of those that its clusters name.

        Raises:
            StageError: they name none of the stack's account.
        """
        settings, account = self.settings[stack], self.place(stack).account
        named = [arn for each in settings.clusters.values() for arn in each.admins]
        if not settings.clusters:
            # A tooling stack has no cluster that must admit its administrator.
            return f"arn:aws:iam::{account}:role/platform-admin"
        found = next((each for each in named if each.split(":")[4] == account), "")
        if not found:
            msg = (
                f"slipway:clusters of {stack} names no administrator of account {account} (admins): whoever makes the first `up` "
                "must be one, because the cluster admits its access entries alone"
            )
            raise StageError(msg)
        return found

    def identify(self, stack: str, role: Role) -> tuple[Mapping[str, str], str]:
        """Credentials of a new session of one of a stack's three roles, and the session's ARN.

        A person assumes the administrator's; the others are assumed by the identity token of a workflow's run.
        """
        settings, place = self.settings[stack], self.place(stack)
        session = f"{role}-{next(self._sessions)}"
        if role == ADMINISTRATOR:
            given = self.identities.assume(self.administrator(stack), place.region, session)
        else:
            organization, repository = settings.organization, settings.access.repository
            purpose = f"environment:{settings.access.deploy_environment}" if role == DEPLOY else "pull_request"
            # As https://docs.github.com/en/actions/reference/security/oidc has it.
            claims = {
                "iss": "https://token.actions.githubusercontent.com",
                "aud": "sts.amazonaws.com",
                "sub": f"repo:{organization.name}@{organization.id}/{repository.name}@{repository.id}:{purpose}",
            }
            arn = f"arn:aws:iam::{place.account}:role/{naming.role(stack, role)}"
            given = self.identities.assume_by_token(arn, place.region, session, claims)
        return given, self.identities.caller(given).arn

    # The engine

    def prepare_repository(self) -> None:
        """The GitOps repository with its branches, where the stack that owns it is not made."""
        default = self.settings[self.flow.stacks[0]].environment.gitops_branch
        self.host.create_repository(self.gitops, default_branch=default, auto_init=True)
        for name in sorted({each.environment.gitops_branch for each in self.settings.values()} - {default}):
            self.host.create_branch(self.gitops, name, source=default)
        self.hand_over()

    def declare(self, stack: str, *calls: str) -> None:
        """Let a stack's services.py declare the platform's services, the examples of the play, and `calls`."""
        path = self.engine.project(stack) / "services.py"
        own = (platform_folder() / "services.py").read_text(encoding="utf-8")
        path.write_text(own + appended([*(each.call for each in self.cast.added), *calls]), encoding="utf-8")

    def write_down_repository(self) -> None:
        """Write it into the engine's stack files too."""
        super().write_down_repository()
        for stack in self.flow.stacks:
            self.engine.configure(stack, self.overrides(stack))

    def realise(self, stack: str) -> Program:
        """`pulumi up`."""
        self.outcomes.append(self.engine.up(stack))
        return self.taken_over(stack)

    def last(self, stack: str) -> Outcome:
        """What the command line did last to a stack, of what is shown."""
        return next(each for each in reversed(self.outcomes) if each.stack == stack)

    def taken_over(self, stack: str) -> Program:
        """Take what stands in a stack's state for what is declared."""
        program = self.engine.program(stack)
        self._know(program)
        return program

    # Argo CD

    def cluster(self, environment: str) -> LabCluster:
        """The cluster of an environment's active colour.

        Raises:
            ClusterError: it does not run.
        """
        return self.clusters.get(naming.cluster(environment, self.settings[environment].active_colour))

    def state(self, environment: str, service: str) -> State:
        """A service as it stands."""
        cluster = self.cluster(environment)
        app = cluster.argocd.application(service) if cluster.argocd is not None else None
        if app is None:
            return State(environment=environment, service=service, message="there is no Application")
        status: Mapping[str, Any] = app.get("status", {})
        deployment = cluster.kube.get("apps/v1", "Deployment", service, service) or {}
        template = deployment.get("spec", {}).get("template", {}).get("spec", {})
        images = tuple(each["image"] for each in template.get("containers", ()))
        wanted = int(deployment.get("spec", {}).get("replicas", 0))
        pods = cluster.kube.list("v1", "Pod", service) if deployment else []
        alive = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
        exact = [each for each in alive if _ready(each) and tuple(one["image"] for one in each["spec"]["containers"]) == images]
        told = [f"{each['type']}: {each['message']}" for each in status.get("conditions") or ()]
        operation: Mapping[str, Any] = status.get("operationState", {})
        if operation.get("phase") in {"Failed", "Error"}:
            told.append(f"sync {operation['phase'].lower()}: {operation.get('message', '')}")
        return State(
            environment=environment,
            service=service,
            sync=status.get("sync", {}).get("status", "Unknown"),
            health=status.get("health", {}).get("status", "Missing"),
            revision=status.get("sync", {}).get("revision", ""),
            images=images,
            # Pods of an older template count against it until they are gone.
            running=len(exact) if len(exact) == len(alive) else 0,
            wanted=wanted,
            message="; ".join([*told, *_unhealthy(status), *_waiting(alive)]),
        )

    def states(self) -> list[State]:
        """Every service of every environment whose cluster runs."""
        return [
            self.state(name, service)
            for name in self.flow.environments
            if self.clusters.find(naming.cluster(name, self.settings[name].active_colour)) is not None
            for service in self.services(name)
        ]

    def services(self, environment: str) -> list[str]:
        """Names of the Applications of an environment."""
        if environment not in self.programs:
            return []
        found = self.programs[environment].of("kubernetes:argoproj.io/v1alpha1:Application")
        return sorted(each.inputs["metadata"]["name"] for each in found)

    def render(self, environment: str, service: str) -> str:
        """What the branch says, once Argo CD has brought it about.

        Raises:
            StageError: it does not come about.
        """
        rendered = super().render(environment, service)
        self.settled(environment, service, self.image_in(rendered))
        return rendered

    def settled(self, environment: str, service: str, image: str) -> float:
        """Wait until a service is synced and healthy and all its pods run an image; answers with the seconds that took.

        Raises:
            StageError: it does not come about; the message says how it stands.
        """
        return self.until(
            f"{service} in {environment} to run {image.rpartition('/')[2]}",
            lambda: self.state(environment, service),
            lambda state: state.settled and state.images == (image,),
        )

    def until(
        self, what: str, look: Callable[[], State], good: Callable[[State], bool], *, seconds: float = _WAIT_SECONDS
    ) -> float:
        """Poll a service's state until it is as wanted; answers with the seconds that took.

        Raises:
            StageError: it does not become so; the message says how it stands.
        """
        began = time.monotonic()
        while not good(state := look()):
            if time.monotonic() - began > seconds:
                msg = f"waited {seconds:.0f} s in vain for {what}; it stands so: {state}"
                raise StageError(msg)
            time.sleep(_LOOK_SECONDS)
        return time.monotonic() - began

    def _trouble(self) -> str:
        """Also what came to the edge last, and how every service stands."""
        heard = [
            f"edge: {each.host} {each.method} {each.path} → {each.target or '-'}: {each.status}" for each in self.edge.heard[-6:]
        ]
        states: list[str] = []
        with contextlib.suppress(Exception):
            states = [str(each) for each in self.states()]
        return "\n".join([*heard, *states, super()._trouble()])

    # What it takes

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, memory_below(os.getpid()))


def _forwarded(request: Request, server: str) -> Response:
    headers = {key: value for key, value in request.headers.items() if key in _KEPT_HEADERS or key.lower().startswith("x-")}
    try:
        answer = urllib3.request(
            request.method, f"{server}{request.path}", body=request.get_data(), headers=headers, retries=False
        )
    except urllib3.exceptions.HTTPError as error:
        return Response(f"{server} does not answer: {error}", 504)
    return Response(answer.data, answer.status)


def _ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _unhealthy(status: Mapping[str, Any]) -> list[str]:
    """Parts of an Application that are not well, in Argo CD's words."""
    found: list[str] = []
    for each in cast("list[dict[str, Any]]", status.get("resources") or []):
        health: dict[str, str] = each.get("health") or {}
        if health.get("status", "Healthy") != "Healthy":
            found.append(f"{each['kind']} {each['name']}: {health['status']} {health.get('message', '')}".rstrip())
    return found


def _waiting(pods: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why pods are not placed and containers wait, each reason once."""
    unplaced = {
        f"{each.get('reason', '')}: {each.get('message', '')}"
        for pod in pods
        for each in pod.get("status", {}).get("conditions") or ()
        if each["type"] == "PodScheduled" and each["status"] != "True"
    }
    found = unplaced | {
        f"{waiting['reason']}: {waiting.get('message', '')}"
        for pod in pods
        for status in pod.get("status", {}).get("containerStatuses") or ()
        if (waiting := status.get("state", {}).get("waiting"))
    }
    return sorted(found)


def memory_below(pid: int) -> int:
    """Resident bytes of a process and all its descendants."""
    parents: dict[int, int] = {}
    pages: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            number = int(entry.name)
            # The name in parentheses may hold anything: what follows it does not.
            parents[number] = int((entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            pages[number] = int((entry / "statm").read_text(encoding="ascii").split()[1])
    total, family = 0, {pid}
    grown = True
    while grown:
        more = {number for number, parent in parents.items() if parent in family} - family
        grown = bool(more)
        family |= more
    for number in family:
        total += pages.get(number, 0)
    return total * os.sysconf("SC_PAGE_SIZE")


__all__ = ["EngineStage", "State", "memory_below"]
