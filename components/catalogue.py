"""What `services.py` declares, checked as a whole before anything is registered. Pure.

A quota or a name that AWS refuses would stop an `up` half-way; here it stops before the first resource.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi

from components import arguments, naming
from components.settings import Settings

# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
TARGET_GROUPS_PER_LOAD_BALANCER: Final = 100
RULES_PER_LOAD_BALANCER: Final = 100
HIGHEST_PRIORITY: Final = 50_000
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
RULES_PER_EVENT_BUS: Final = 300
# Services' listener priorities start here: below are Argo CD's.
LOWEST_SERVICE_PRIORITY: Final = 1_000
HIGHEST_PORT: Final = 65_535
# Restricted Pod Security runs containers without NET_BIND_SERVICE: ports below are out of their reach.
# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
LOWEST_PORT: Final = 1_024
# Target groups are named after a service; these are not a service's.
_TAKEN: Final[Mapping[str, str]] = {"argocd-ui": "Argo CD's UI"}
# https://docs.github.com/en/rest/repos/repos#create-an-organization-repository
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html: HealthCheckPath; of its
# characters those that a path may hold (RFC 3986), for it also stands in the scaffolded manifests.
_HEALTH_PATH: Final = re.compile(r"/[A-Za-z0-9._~!&'()*+,;=:@%/?-]{0,1023}")

# Of the API groups ("" is the core). A service that could make these would reach what only the platform may: other stores'
# secrets, other projects, traffic of others.
FORBIDDEN_KINDS: Final = (
    ("argoproj.io", "AppProject"),
    ("argoproj.io", "Application"),
    ("argoproj.io", "ApplicationSet"),
    ("elbv2.k8s.aws", "TargetGroupBinding"),
    ("external-secrets.io", "PushSecret"),
    ("external-secrets.io", "SecretStore"),
    ("", "LimitRange"),
    ("", "ResourceQuota"),
)


class CatalogueError(pulumi.RunError):
    """Services that must not be declared so. Each line reads: what, got; allowed; fix."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One `Service` call, as data.

    Attributes:
        name: The service's name: its image, namespace, repositories and directory in the GitOps repository.
        repository: Name of its application repository within the organization.
        port: Port that its container listens on; None for a worker.
        label: First label of its host name; "" for a service that is not public.
        health_path: Path that answers 200 when the service can take traffic.
        priority: Listener priority; None derives it from the name.
        smoke_test: Whether its image brings a test that Argo CD runs after each sync.
        protect_repository: Whether its application repository gets rules.
    """

    name: str
    repository: str
    port: int | None
    label: str
    health_path: str
    priority: int | None = None
    smoke_test: bool = False
    protect_repository: bool = True

    @property
    def public(self) -> bool:
        """Whether the edge forwards to it."""
        return bool(self.label)

    @property
    def listener_priority(self) -> int:
        """The priority given, or one that follows from the name alone, so that no other service can move it."""
        if self.priority is not None:
            return self.priority
        span = HIGHEST_PRIORITY - LOWEST_SERVICE_PRIORITY + 1
        return LOWEST_SERVICE_PRIORITY + naming.number(self.name, span)

    def for_writer(self, settings: Settings) -> dict[str, Any]:
        """What the writer function needs to scaffold the service and to find its images."""
        zones = {name: each.zone for name, each in settings.environments.items()}
        return {
            "service": self.name,
            "namespace": self.name,
            "port": self.port,
            "health_path": self.health_path if self.port else None,
            "images": {
                environment: f"{registry}/{naming.repository(settings.track_of(environment), self.name)}"
                for environment, registry in settings.overlays.items()
            },
            "hosts": {each: f"{self.label}.{zones[each]}" for each in settings.overlays} if self.public else {},
            # Where the track's own branch is not read, images come by release.
            "released": [
                each
                for each in settings.overlays
                if settings.environments[each].gitops_branch != settings.tracks[settings.track_of(each)].gitops_branch
            ],
            "smoke_test": self.smoke_test,
        }


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Every declared service by name."""

    settings: Settings
    services: dict[str, Declaration] = field(default_factory=dict[str, Declaration])

    def admit(self, declaration: Declaration) -> None:
        """Take a service in.

        Raises:
            CatalogueError: AWS, Kubernetes, GitHub or DNS would refuse it, or its name is taken.
        """
        faults = list(_faults(declaration))
        if declaration.name in self.services:
            faults.append(f"service {declaration.name!r} is declared twice: each name once is allowed. Rename or remove one")
        _raise(faults)
        self.services[declaration.name] = declaration

    def check(self) -> None:
        """Check what only all services together can break.

        Raises:
            CatalogueError: two share a host or a listener priority, or a quota is exceeded.
        """
        _raise([*self._hosts(), *self._priorities(), *self._quotas()])

    @property
    def repositories(self) -> Mapping[str, str]:
        """The application repository by service, where its name is not the service's."""
        return {name: each.repository for name, each in self.services.items() if each.repository != name}

    @property
    def protected_repositories(self) -> list[str]:
        """The application repositories that get rules, sorted."""
        return sorted({each.repository for each in self.services.values() if each.protect_repository})

    @property
    def _public(self) -> list[Declaration]:
        return [each for each in self.services.values() if each.public]

    def _hosts(self) -> Iterable[str]:
        ui = self.settings.argocd.ui
        taken = {f"argocd-{colour}": "Argo CD's webhook" for colour in self.settings.clusters}
        if ui:
            taken[ui.label] = "Argo CD's UI"
        for each in self._public:
            if each.label in taken:
                yield (
                    f"service {each.name!r} has host {each.label!r}, which {taken[each.label]} has: each host once is "
                    "allowed. Give it another host="
                )
            taken.setdefault(each.label, f"service {each.name!r}")

    def _priorities(self) -> Iterable[str]:
        taken: Mapping[int, str] = {}
        for each in self._public:
            number = each.listener_priority
            if number in taken:
                free = next(candidate for candidate in range(LOWEST_SERVICE_PRIORITY, HIGHEST_PRIORITY) if candidate not in taken)
                yield (
                    f"service {each.name!r} has listener priority {number}, which {taken[number]!r} has: each once is "
                    f"allowed. Set priority={free} on the newer of the two"
                )
            taken = {number: each.name, **taken}

    def _quotas(self) -> Iterable[str]:
        colours = len(self.settings.clusters)
        own = colours + (1 if self.settings.argocd.ui else 0)
        ui_groups = colours if self.settings.argocd.ui else 0
        if colours:
            groups = len(self._public) * colours + colours + ui_groups
            room = (TARGET_GROUPS_PER_LOAD_BALANCER - colours - ui_groups) // colours
            if groups > TARGET_GROUPS_PER_LOAD_BALANCER:
                yield (
                    f"{len(self._public)} public services in {colours} colours need {groups} target groups: one load balancer "
                    f"holds {TARGET_GROUPS_PER_LOAD_BALANCER}, which is {room} services here. Set public=False on services "
                    "that only others in the cluster call, drop a colour, or move services to another environment"
                )
            rules = len(self._public) + own
            if rules > RULES_PER_LOAD_BALANCER:
                yield (
                    f"{len(self._public)} public services need {rules} listener rules: one load balancer holds "
                    f"{RULES_PER_LOAD_BALANCER}. Set public=False on services that only others in the cluster call, or move "
                    "services to another environment"
                )
        watched = len(self.services) * len(self.settings.hosted_tracks)
        if watched > RULES_PER_EVENT_BUS:
            yield (
                f"{len(self.services)} services on {len(self.settings.hosted_tracks)} tracks need {watched} event rules: an "
                f"event bus holds {RULES_PER_EVENT_BUS}. Host the tracks in different stacks, or ask AWS for a higher quota"
            )


def check_arguments(name: object, given: Mapping[str, object]) -> None:
    """Make sure that every argument of a `Service` call has the type and form that its meaning needs.

    Args:
        name: The call's first argument.
        given: The fields of `ServiceArgs` by name, without the platform.

    Raises:
        CatalogueError: with one line per argument.
    """
    _raise(list(arguments.faults(name, given)))


def _faults(declaration: Declaration) -> Iterable[str]:
    name = declaration.name
    if fault := naming.label_fault(name, naming.SERVICE_NAME_LENGTH):
        yield f"service name {name!r}: {fault}. Rename the service"
    if name in naming.RESERVED_NAMESPACES or name.startswith("kube-"):
        yield f"service name {name!r} is a namespace of the platform: any other name is allowed. Rename the service"
    if name in _TAKEN:
        yield f"service name {name!r} names target groups of {_TAKEN[name]}: any other name is allowed. Rename the service"
    if not _REPOSITORY.fullmatch(declaration.repository):
        yield (
            f"service {name!r} has repository {declaration.repository!r}: letters, digits, '.', '_' and '-', at most 100, are "
            "allowed. Give the repository's name without the organization"
        )
    yield from _port_faults(declaration)
    if declaration.public and (fault := naming.host_label_fault(declaration.label)):
        yield (
            f"service {name!r} has host {declaration.label!r}: {fault}. Give one DNS label: the zone is added, and its "
            "certificate covers one label"
        )
    if declaration.priority is not None and not LOWEST_SERVICE_PRIORITY <= declaration.priority <= HIGHEST_PRIORITY:
        yield (
            f"service {name!r} has priority {declaration.priority}: {LOWEST_SERVICE_PRIORITY} to {HIGHEST_PRIORITY} is allowed. "
            "Leave it out, or choose such a number"
        )


def _port_faults(declaration: Declaration) -> Iterable[str]:
    """What has to do with its port, or with having none."""
    name = declaration.name
    if declaration.port is not None and not LOWEST_PORT <= declaration.port <= HIGHEST_PORT:
        yield (
            f"service {name!r} has port {declaration.port}: {LOWEST_PORT} to {HIGHEST_PORT} is allowed. Let the container "
            "listen on such a port, for example 8080"
        )
    if declaration.public and declaration.port is None:
        yield f"service {name!r} has host {declaration.label!r} but no port: a public service needs one. Set port="
    if declaration.smoke_test and declaration.port is None:
        yield f"service {name!r} has a smoke test but no port: a service that can be called is needed. Set port=, or leave it out"
    if declaration.port is not None and not _HEALTH_PATH.fullmatch(declaration.health_path):
        yield (
            f"service {name!r} has health path {declaration.health_path!r}: a path starting with '/', of a URL's characters, is "
            "allowed. Give such a path, for example /healthz"
        )


def _raise(faults: list[str]) -> None:
    if faults:
        raise CatalogueError("\n".join(f"{fault}." for fault in faults))
