"""One application, from its repository's branches to its pods in every colour: the only call a service needs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import pulumi
import pulumi_github as github

from components import iam
from components.application import Application, ApplicationArgs
from components.catalogue import Declaration, check_arguments
from components.edge import Route, RouteArgs
from components.image_hook import ImageRule, ImageRuleArgs
from components.pipeline import Builds, Pipeline, PipelineArgs
from components.platform import Platform
from components.registry import Registry, RegistryArgs

_MERGE_METHODS: Final = ("merge", "rebase", "squash")


@dataclass(frozen=True, kw_only=True)
class ServiceArgs:
    """Arguments of `Service`.

    Attributes:
        platform: What it stands on, as `services` is given it.
        repository: Its application repository, within the organization of the settings.
        port: Port that its container listens on, 1024 to 65535. None makes it a worker: no Service, no edge, and it runs in
            the active colour only.
        public: Whether the edge forwards to it. A service with a port that is not public is reached inside the cluster.
        host: First label of its host name below the environment's zone; the service's name unless given.
        health_path: Path that answers 200 when it can take traffic.
        dockerfile: Path of its Dockerfile in the repository.
        context: Folder that is sent to the build.
        build_timeout_minutes: When a build is given up, 5 to 2160.
        priority: Listener priority; follows from the name unless given.
        permissions: What its pods may do in AWS, as statements of `components.iam`; nothing unless given.
        smoke_test: Whether its image brings `/smoke-test`, which Argo CD runs after each sync. Counts when its directory is made.
        protect_repository: Whether the branches whose images reach production take reviewed pull requests only. Without it,
            whoever can push there decides what runs in production: every developer, and each account whose CodeConnections
            connection can write to the repository, dev's too.
    """

    platform: Platform
    repository: str
    port: int | None = None
    public: bool = True
    host: str = ""
    health_path: str = "/healthz"
    dockerfile: str = "Dockerfile"
    context: str = "."
    build_timeout_minutes: int = 30
    priority: int | None = None
    permissions: Sequence[iam.Statement] = ()
    smoke_test: bool = False
    protect_repository: bool = True


class Service(pulumi.ComponentResource):
    """A service: what it needs on the tracks hosted here, at the edge, and in every cluster.

    Attributes:
        url: Where the environment's users reach it; "" for a worker or an internal service.
        registries: Its ECR repository by track hosted here.
    """

    url: str
    registries: dict[str, Registry]

    def __init__(self, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the service `name`; under a draft platform only check it.

        Raises:
            CatalogueError: the name or an argument has the wrong type, or AWS, DNS, GitHub or Kubernetes would refuse it.
        """
        platform = args.platform
        if platform.draft:
            given = {each.name: getattr(args, each.name) for each in fields(args) if each.name != "platform"}
            check_arguments(name, given)
        declaration = _declaration(name, args)
        self.url = f"https://{declaration.label}.{platform.settings.environment.zone}" if declaration.public else ""
        self.registries = {}
        if platform.draft:
            platform.catalogue.admit(declaration)
            return

        super().__init__("slipway:service:Service", name, None, opts)
        if platform.builds is not None:
            for track in platform.hooks:
                self.registries[track] = self._supply(track, declaration, args, platform.builds)
        if args.protect_repository and platform.settings.owns_gitops:
            self._rule(declaration, platform)
        route = self._route(declaration, platform)
        for colour, argocd in platform.argocds.items():
            # Nothing holds a worker back in a colour without traffic: it would do its work twice.
            if declaration.port is None and colour != platform.settings.active_colour:
                continue
            Application(
                f"{name}-{colour}",
                ApplicationArgs(
                    argocd=argocd,
                    settings=platform.settings,
                    service=name,
                    route=route,
                    permissions=args.permissions,
                ),
                pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({"url": self.url})

    def _supply(self, track_name: str, declaration: Declaration, args: ServiceArgs, builds: Builds) -> Registry:
        """Registry, event rule and pipeline on one hosted track, in the order in which an image needs them."""
        settings = args.platform.settings
        track = settings.tracks[track_name]
        name = declaration.name
        own = pulumi.ResourceOptions(parent=self)
        registry = Registry(
            f"{name}-{track_name}",
            RegistryArgs(
                service=name,
                track=track_name,
                lifecycle=track.lifecycle,
                pull_accounts=sorted(
                    {settings.environments[each].account for each in track.environments} - {settings.environment.account}
                ),
            ),
            own,
        )
        rule = ImageRule(
            f"{name}-{track_name}",
            ImageRuleArgs(hook=args.platform.hooks[track_name], registry=registry, declaration=declaration.for_writer(settings)),
            own,
        )
        # A pipeline runs once when it is made: its first image must find rule, queue and function in place.
        Pipeline(
            f"{name}-{track_name}",
            PipelineArgs(
                builds=builds,
                registry=registry,
                repository=f"{settings.organization.name}/{declaration.repository}",
                branch=track.application_branch,
                architecture=track.architecture,
                dockerfile=args.dockerfile,
                context=args.context,
                timeout_minutes=args.build_timeout_minutes,
                depends=rule.ready,
            ),
            own,
        )
        return registry

    def _rule(self, declaration: Declaration, platform: Platform) -> None:
        """Rules for the branches whose images reach production; the rest of the repository is its owners'.

        Declared by the stack that owns the GitOps repository: no other one's credentials can loosen what guards production.
        https://docs.github.com/en/rest/repos/rules#create-a-repository-ruleset
        """
        branches = platform.settings.guarded_branches
        github.RepositoryRuleset(
            declaration.name,
            # Several services may come from one repository, where a ruleset's name is taken once.
            name=f"slipway {declaration.name}",
            repository=declaration.repository,
            target="branch",
            enforcement="active",
            conditions={"ref_name": {"includes": [f"refs/heads/{branch}" for branch in branches], "excludes": []}},
            rules={
                "deletion": True,
                "non_fast_forward": True,
                "pull_request": {
                    "required_approving_review_count": 1,
                    # Or what is merged need not be what was read.
                    "dismiss_stale_reviews_on_push": True,
                    "allowed_merge_methods": list(_MERGE_METHODS),
                },
            },
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _route(self, declaration: Declaration, platform: Platform) -> Route | None:
        if platform.edge is None or not declaration.public or declaration.port is None:
            return None
        return Route(
            declaration.name,
            RouteArgs(
                edge=platform.edge,
                service=declaration.name,
                host=f"{declaration.label}.{platform.settings.environment.zone}",
                priority=declaration.listener_priority,
                target_port=declaration.port,
                health_path=declaration.health_path,
                weights=platform.settings.weights,
            ),
            pulumi.ResourceOptions(parent=self),
        )


def _declaration(name: str, args: ServiceArgs) -> Declaration:
    public = args.port is not None and args.public
    return Declaration(
        name=name,
        repository=args.repository,
        port=args.port,
        # A host on a worker is a contradiction that the catalogue refuses: it must not be dropped here.
        label=(args.host or name) if public else args.host,
        health_path=args.health_path,
        priority=args.priority,
        smoke_test=args.smoke_test,
        protect_repository=args.protect_repository,
    )
