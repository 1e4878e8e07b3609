"""The door: the only reader of `pulumi.Config`. What it lets in is right; nothing behind it checks again.

Two kinds of keys. `environments`, `tracks`, `organization` and `gitops` describe the whole platform and read the same
in every stack file; the rest describes the one environment. A wrong value raises `SettingsError`, which says what is
wrong, what was given, what is allowed and how to mend it, before any resource is registered.
"""

import json
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from itertools import combinations
from typing import Annotated, Any, Final, Self

import pulumi
import pulumi_aws as aws
from pulumi.runtime.config import CONFIG, get_config_env
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from components import naming

# https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html: a VPC is a /16 to a /28. The upper bound here is
# smaller: pods take addresses from the private subnets, and below a /20 those are under 1,000 a zone.
LARGEST_PREFIX: Final = 16
SMALLEST_PREFIX: Final = 20
FULL_WEIGHT: Final = 100
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LOG_RETENTION_DAYS: Final = (
    1,
    3,
    5,
    7,
    14,
    30,
    60,
    90,
    120,
    150,
    180,
    365,
    400,
    545,
    731,
    1096,
    1827,
    2192,
    2557,
    2922,
    3288,
    3653,
)

AccountId = Annotated[str, Field(pattern=r"^\d{12}$")]
# Partitions other than `aws` name their endpoints and ARNs differently; Slipway is tried in this one only.
Region = Annotated[str, Field(pattern=r"^(af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-\d$")]
# https://docs.github.com/en/enterprise-cloud@latest/admin/managing-iam/iam-configuration-reference/username-considerations-for-external-authentication
GitHubOwner = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?$")]
GitHubRepository = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
# https://docs.github.com/en/rest/teams/teams: a team's slug
GitHubTeam = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9_-]{0,98}[a-z0-9])?$")]
GitBranch = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,100}$")]
RoleArn = Annotated[str, Field(pattern=r"^arn:aws:iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+$")]
ConnectionArn = Annotated[
    str,
    # https://docs.aws.amazon.com/dtconsole/latest/userguide/connections-permissions.html; the older service name lives on
    Field(pattern=r"^arn:aws:(codeconnections|codestar-connections):[a-z0-9-]+:\d{12}:connection/[0-9a-f-]{36}$"),
]
Weight = Annotated[int, Field(ge=0, le=FULL_WEIGHT)]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
# https://docs.aws.amazon.com/chatbot/latest/APIReference/API_CreateSlackChannelConfiguration.html takes any letters and digits,
# a channel's name too, and then no alarm arrives. Slack's own ids say by their first letter what they are:
# https://docs.slack.dev/reference/objects/conversation-object, https://docs.slack.dev/reference/objects/team-object
SlackWorkspace = Annotated[str, Field(pattern=r"^[TE][0-9A-Z]{5,254}$")]
SlackChannel = Annotated[str, Field(pattern=r"^[CG][0-9A-Z]{5,254}$")]


class SettingsError(pulumi.RunError):
    """A setting that must not be acted on. Each line reads: what, got; allowed; fix.

    A `RunError`: the engine shows the message alone, without the way through the program.
    """


class _Model(BaseModel):
    """Frozen, nothing extra; camelCase in the stack file, snake_case here."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Environment(_Model):
    """One environment as every stack must know it.

    Attributes:
        account: Twelve digits.
        region: AWS region of everything in the environment.
        zone: Name of the environment's Route53 public zone; bootstrap made and delegated it.
        gitops_branch: Branch of the GitOps repository that Argo CD reads here.
        cidr: The VPC's addresses, a /16 to a /20, apart from every other environment's.
    """

    account: AccountId
    region: Region
    zone: str
    gitops_branch: GitBranch
    cidr: IPv4Network

    @field_validator("zone")
    @classmethod
    def _zone_is_a_dns_name(cls, zone: str) -> str:
        labels = zone.split(".")
        fault = None
        if len(zone) > naming.DNS_NAME_LENGTH or len(labels) < 2:  # noqa: PLR2004 — a zone of ours lies below a registered domain
            fault = f"a name of two to many labels and at most {naming.DNS_NAME_LENGTH} characters is allowed"
        for label in labels:
            fault = fault or naming.label_fault(label)
        if fault:
            msg = f"{fault}; give the name of the Route53 zone without a dot at its end"
            raise ValueError(msg)
        return zone

    @field_validator("cidr")
    @classmethod
    def _cidr_fits_a_vpc(cls, cidr: IPv4Network) -> IPv4Network:
        if not LARGEST_PREFIX <= cidr.prefixlen <= SMALLEST_PREFIX:
            size = "small" if cidr.prefixlen > SMALLEST_PREFIX else "large"
            msg = f"too {size}: a /{LARGEST_PREFIX} to a /{SMALLEST_PREFIX} is allowed; choose such a prefix"
            raise ValueError(msg)
        if not cidr.is_private:
            msg = "public addresses: a range of RFC 1918 or RFC 6598 is allowed; choose one, for example 10.10.0.0/16"
            raise ValueError(msg)
        return cidr


class Lifecycle(_Model):
    """How long a track's images are kept: by age, or by number. Exactly one of the two.

    Attributes:
        days: Images older than this expire.
        images: More images than this, and the oldest expire.
    """

    days: Annotated[int, Field(ge=1, le=3650)] | None = None
    images: Annotated[int, Field(ge=10, le=5000)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.days is None) == (self.images is None):
            msg = "both or neither of days and images: exactly one is allowed; keep the one you mean"
            raise ValueError(msg)
        return self


class App(_Model):
    """A GitHub App and its one installation, by their public ids. The key is in Secrets Manager only."""

    app_id: Annotated[int, Field(gt=0)]
    installation_id: Annotated[int, Field(gt=0)]


class Track(_Model):
    """One branch built into one registry and one GitOps branch.

    Attributes:
        host: Stack that hosts registry, pipelines and hook.
        application_branch: Branch of every application repository that is built.
        gitops_branch: Branch of the GitOps repository that the writer commits to.
        overlay: Overlay whose image component is written; None writes the base's.
        environments: Environments that run this track's images, and so may pull them.
        lifecycle: What the registry keeps.
        writer: GitHub App of the writer.
    """

    host: str
    application_branch: GitBranch
    gitops_branch: GitBranch
    overlay: str | None = None
    environments: Annotated[tuple[str, ...], Field(min_length=1)]
    lifecycle: Lifecycle
    writer: App

    @property
    def image_file(self) -> str:
        """Path of the machine-written file in the GitOps repository; `{service}` stands for the service."""
        place = f"overlays/{self.overlay}" if self.overlay else "base"
        return f"apps/{{service}}/{place}/image/kustomization.yaml"


class Organization(_Model):
    """The GitHub organization that owns application, platform and GitOps repositories."""

    name: GitHubOwner
    id: Annotated[int, Field(gt=0)]


class GitOpsSettings(_Model):
    """The GitOps repository.

    Attributes:
        repository: Its name within the organization.
        id: The id that it keeps for ever (`gh api repos/ORG/NAME --jq .id`), known once its owner has made it. With it, the
            repository's workflows look images up in the registries; without, they cannot.
        owner: Stack that declares it: the most trusted one.
        promoter: GitHub App of the promotion and release workflows.
        reader: GitHub App that Argo CD reads with: `contents: read` on this one repository, and with `report_health` also
            `statuses: write`.
        reviewers: Approvals that a change of production needs: of the branches that releases lead to, and of the default branch.
            Two, because GitHub bars only a pull request's author from approving it. A bot is the author of each release and
            pin, so with one approval the person who started it could approve it alone.
        team: Team of the organization that answers for the repository's workflows (CODEOWNERS).
        emergency_pins: Whether the promoter may commit to the branches that releases lead to, past review and checks.
        report_health: Whether Argo CD sets each Application's health as a commit status, which releases look at.
        git_url: Where Git is served; differs from github.com only for GitHub Enterprise Server.
        api_url: Where the API is served, likewise.
    """

    repository: GitHubRepository
    id: Annotated[int, Field(gt=0)] | None = None
    owner: str
    promoter: App
    reader: App
    reviewers: Annotated[int, Field(ge=1, le=6)] = 2
    team: GitHubTeam = "platform"
    emergency_pins: bool = False
    report_health: bool = False
    git_url: str = "https://github.com"
    api_url: str = "https://api.github.com"


class NetworkSettings(_Model):
    """The environment's VPC.

    Attributes:
        nat_per_zone: A NAT gateway in each zone (True), or one for all (cheaper; its zone's loss cuts the others off).
        ecr_endpoints: Interface endpoints for ECR, so that image pulls do not go through NAT.
        flow_log_retention_days: As CloudWatch Logs allows them.
        reserved: Ranges that the VPC must not overlap: offices, peers, on-premises.
    """

    nat_per_zone: bool = False
    ecr_endpoints: bool = False
    flow_log_retention_days: int = 30
    reserved: tuple[IPv4Network, ...] = ()

    @field_validator("flow_log_retention_days")
    @classmethod
    def _retention_exists(cls, days: int) -> int:
        if days not in LOG_RETENTION_DAYS:
            msg = f"one of {', '.join(map(str, LOG_RETENTION_DAYS))} is allowed; take the next larger one"
            raise ValueError(msg)
        return days


class Nodes(_Model):
    """A cluster's private nodes: instance types of one architecture, bounds, and disk in GiB."""

    instance_types: Annotated[tuple[str, ...], Field(min_length=1)] = ("m7g.large",)
    minimum: Annotated[int, Field(ge=1, le=450)] = 3
    maximum: Annotated[int, Field(ge=1, le=450)] = 9
    disk_gib: Annotated[int, Field(ge=20, le=16384)] = 50

    @property
    def architecture(self) -> str:
        """`arm64` or `amd64`, of the machines and so of the images that run on them."""
        return naming.architecture(self.instance_types[0])

    @model_validator(mode="after")
    def _one_architecture(self) -> Self:
        if len({naming.architecture(each) for each in self.instance_types}) > 1:
            msg = f"{', '.join(self.instance_types)} are of two architectures: one is allowed. Name Graviton types alone, or none"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.minimum > self.maximum:
            msg = f"minimum {self.minimum} above maximum {self.maximum}: at most {self.maximum} is allowed; raise maximum"
            raise ValueError(msg)
        return self


class Endpoint(_Model):
    """Who reaches a cluster's API: always the VPC; from outside only the ranges in `allow` (none: private)."""

    allow: tuple[IPv4Network, ...] = ()

    @field_validator("allow")
    @classmethod
    def _never_everyone(cls, ranges: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
        if any(each.prefixlen == 0 for each in ranges):
            msg = "0.0.0.0/0 is everyone: ranges of your own are allowed; name your offices' and runners' addresses"
            raise ValueError(msg)
        return ranges


class ClusterSettings(_Model):
    """One colour.

    Attributes:
        version: Kubernetes minor version that EKS offers, such as "1.34".
        weight: Share of the traffic, in percent; over all colours 100.
        nodes: Its machines.
        endpoint: Who reaches its API.
        admins: Roles that administer it, beside the deploy role.
    """

    version: Annotated[str, Field(pattern=r"^1\.\d{2}$")]
    weight: Weight
    nodes: Nodes = Nodes()
    endpoint: Endpoint = Endpoint()
    admins: tuple[RoleArn, ...] = ()


class ArgoCdUi(_Model):
    """Argo CD's UI for application engineers.

    Attributes:
        label: Its host is `<label>.<zone>`.
        client_id: Client id of the GitHub OAuth App that Dex signs in with; its secret is in Secrets Manager.
        teams: Team of the organization to Argo CD role (`readonly`, `deployer` or `admin`).
    """

    label: str = "argocd"
    client_id: Annotated[str, Field(min_length=1)]
    teams: Mapping[str, Annotated[str, Field(pattern="^(readonly|deployer|admin)$")]]


class ArgoCdSettings(_Model):
    """Argo CD in every cluster; `ui` is off unless given."""

    ui: ArgoCdUi | None = None


class CodeRepository(_Model):
    """A GitHub repository by name and by the id that it keeps for ever (`gh api repos/ORG/NAME --jq .id`)."""

    name: GitHubRepository
    id: Annotated[int, Field(gt=0)]


class Access(_Model):
    """Who may preview and deploy this stack from GitHub Actions.

    Attributes:
        repository: The repository that holds this program.
        deploy_environment: GitHub environment whose jobs may assume the deploy role; required reviewers stand before it.
    """

    repository: CodeRepository
    deploy_environment: Annotated[str, Field(min_length=1, max_length=255)]


class Builds(_Model):
    """How images are built on the tracks hosted here.

    Attributes:
        connection_arn: The CodeConnections connection to GitHub, with its handshake done.
        architecture: `arm64` or `amd64`, of build machine and image; nodes must match.
        log_retention_days: As CloudWatch Logs allows them.
    """

    connection_arn: ConnectionArn
    architecture: Annotated[str, Field(pattern="^(arm64|amd64)$")] = "arm64"
    log_retention_days: int = 30


class Slack(_Model):
    """A Slack channel, by the ids that it keeps whatever its name; Slack's address in a browser ends with both.

    Attributes:
        workspace_id: Of the workspace, which a person has authorized once in the account's console.
        channel_id: Of the channel; into a private one the app is invited.
    """

    workspace_id: SlackWorkspace
    channel_id: SlackChannel


class Alarms(_Model):
    """Who hears of alarms; nobody unless given.

    Attributes:
        email: An address, which must confirm its subscription.
        slack: A channel of Slack.
    """

    email: Email | None = None
    slack: Slack | None = None


class Settings(_Model):
    """Everything about one environment, checked. Made by `load`.

    Attributes:
        stack: Name of the stack, which is the environment's name where the stack has clusters.
        environments: Every environment of the platform by name.
        tracks: Every track by name.
        network: The VPC; None for a tooling stack, which has no clusters.
        clusters: Colours of this environment.
        builds: Needed where a track is hosted.
        alarms: Who hears of the alarms of the tracks hosted here.
    """

    stack: str
    organization: Organization
    environments: Annotated[Mapping[str, Environment], Field(min_length=1)]
    tracks: Annotated[Mapping[str, Track], Field(min_length=1)]
    gitops: GitOpsSettings
    network: NetworkSettings | None = None
    clusters: Mapping[str, ClusterSettings] = {}
    argocd: ArgoCdSettings = ArgoCdSettings()
    builds: Builds | None = None
    access: Access
    alarms: Alarms = Alarms()

    @property
    def environment(self) -> Environment:
        """The environment this stack is."""
        return self.environments[self.stack]

    @property
    def hosted_tracks(self) -> Mapping[str, Track]:
        """The tracks that this stack hosts."""
        return {name: track for name, track in self.tracks.items() if track.host == self.stack}

    @property
    def owns_gitops(self) -> bool:
        """Whether this stack declares the GitOps repository."""
        return self.gitops.owner == self.stack

    @property
    def gitops_repository(self) -> str:
        """`owner/name` of the GitOps repository."""
        return f"{self.organization.name}/{self.gitops.repository}"

    @property
    def gitops_url(self) -> str:
        """Where Argo CD clones the GitOps repository from."""
        return f"{self.gitops.git_url}/{self.gitops_repository}.git"

    @property
    def weights(self) -> Mapping[str, int]:
        """Share of the traffic by colour, in percent."""
        return {colour: each.weight for colour, each in self.clusters.items()}

    @property
    def active_colour(self) -> str:
        """The colour with the greatest weight (of equals the first by name): there, and only there, workers run."""
        return max(sorted(self.clusters), key=lambda colour: self.clusters[colour].weight)

    @property
    def overlays(self) -> Mapping[str, str]:
        """The registry of every environment that runs images, by the environment's name."""
        return {name: self.registry_of(self.track_of(name)) for name in self.environments if self._runs_images(name)}

    def _runs_own_images(self) -> bool:
        return any(self.stack in track.environments for track in self.hosted_tracks.values())

    def _runs_images(self, environment: str) -> bool:
        return any(environment in track.environments for track in self.tracks.values())

    def track_of(self, environment: str) -> str:
        """Name of the track whose images `environment` runs."""
        return next(name for name, track in self.tracks.items() if environment in track.environments)

    def registry_of(self, track: str) -> str:
        """Address of the registry that hosts `track`."""
        host = self.environments[self.tracks[track].host]
        return naming.registry_address(host.account, host.region)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        faults = [
            *self._odd_names(),
            *self._unknown_names(),
            *self._crossed_tracks(),
            *self._gitops_branches(),
            *self._overlaps(),
            *self._clusters_and_weights(),
        ]
        if self.hosted_tracks and self.builds is None:
            faults.append(
                f"builds is missing, but this stack hosts {', '.join(self.hosted_tracks)}: a hosting stack needs it. "
                "Set slipway:builds.connectionArn"
            )
        # Alarms too: nobody would ever hear of one, and it would look as if all were well.
        for key, given in (("builds", self.builds is not None), ("alarms", self.alarms != Alarms())):
            if given and not self.hosted_tracks:
                hosts = ", ".join(sorted({track.host for track in self.tracks.values()}))
                faults.append(
                    f"{key} is set, but this stack hosts no track: it is allowed in {hosts} only. Remove it, or make "
                    f"{self.stack} the host of a track"
                )
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _odd_names(self) -> Iterable[str]:
        """Keys that names in AWS are built from: a bad one would be refused half-way."""
        for kind, names in (("environments", self.environments), ("tracks", self.tracks)):
            for name in names:
                if fault := naming.label_fault(name, naming.KEY_LENGTH):
                    yield f"{kind}.{name} is no name: {fault}. Rename it"

    def _unknown_names(self) -> Iterable[str]:
        known = ", ".join(self.environments)
        named = [
            ("stack", self.stack),
            ("gitops.owner", self.gitops.owner),
            *((f"tracks.{name}.host", track.host) for name, track in self.tracks.items()),
            *((f"tracks.{name}.environments", each) for name, track in self.tracks.items() for each in track.environments),
            *((f"tracks.{name}.overlay", track.overlay) for name, track in self.tracks.items() if track.overlay),
        ]
        for key, value in named:
            if value not in self.environments:
                yield f"{key} is {value!r}: one of {known} is allowed. Name one of them, or add it to environments"

    def _crossed_tracks(self) -> Iterable[str]:
        for environment in self.environments:
            running = [name for name, track in self.tracks.items() if environment in track.environments]
            if len(running) > 1:
                yield (
                    f"tracks: {environment} runs the images of {' and '.join(running)}: one track is allowed. "
                    "Take it out of the other's environments"
                )
        for (one, first), (two, second) in combinations(self.tracks.items(), 2):
            if first.application_branch == second.application_branch:
                yield (
                    f"tracks.{two}.applicationBranch is {second.application_branch!r}, as {one}'s: "
                    "each branch is built by one track. Give one of them another branch"
                )

    def _gitops_branches(self) -> Iterable[str]:
        """One branch an environment (docs/decisions/0001), as the GitOps repository's workflows find their ways between them."""
        readers: dict[str, str] = {}
        for name in filter(self._runs_images, self.environments):
            branch = self.environments[name].gitops_branch
            if branch in readers:
                yield (
                    f"environments.{name}.gitopsBranch is {branch!r}, which {readers[branch]} reads: a branch of its own for "
                    "each environment is allowed, for GitHub holds a writer to branches. Give one of them another branch"
                )
            readers.setdefault(branch, name)
        for name, track in self.tracks.items():
            if track.gitops_branch not in {self.environments[each].gitops_branch for each in self._known(track.environments)}:
                yield (
                    f"tracks.{name}.gitopsBranch is {track.gitops_branch!r}: a branch that one of its environments "
                    f"({', '.join(track.environments)}) reads is allowed. Write such a branch, or let one of them read this one"
                )
        if self.gitops.owner in self.environments:
            default = self.environments[self.gitops.owner].gitops_branch
            writing = [name for name, track in self.tracks.items() if track.gitops_branch == default]
            if writing:
                yield (
                    f"gitops.owner is {self.gitops.owner!r}, whose branch {default!r} is written by the track "
                    f"{' and '.join(writing)}. The owner's branch is the GitOps repository's default branch: its workflows and "
                    "scripts hold the promoter's key, so no track may commit there. Name a stack whose branch no track writes, "
                    "such as prd, or a tooling stack with a branch of its own"
                )
        in_base = [name for name, track in self.tracks.items() if not track.overlay]
        if len(in_base) != 1:
            yield (
                f"tracks.<track>.overlay is left out by {' and '.join(in_base) or 'no track'}: exactly one writes the base. "
                "Set the others' overlay, or take one's out"
            )

    def _known(self, environments: Iterable[str]) -> list[str]:
        return [each for each in environments if each in self.environments]

    def _overlaps(self) -> Iterable[str]:
        ranges = [(f"environments.{name}.cidr", each.cidr) for name, each in self.environments.items()]
        if self.network:
            ranges += [("network.reserved", each) for each in self.network.reserved]
        for (one, first), (two, second) in combinations(ranges, 2):
            if first.overlaps(second) and not one == two == "network.reserved":
                yield (
                    f"{one} is {first} and overlaps {two}, {second}: ranges that share no address are allowed. "
                    "Choose another range for one of them"
                )

    def _clusters_and_weights(self) -> Iterable[str]:
        if bool(self.clusters) != (self.network is not None):
            yield (
                f"clusters has {len(self.clusters)} colours and network is {'set' if self.network else 'missing'}: both "
                "(an environment) or neither (a tooling stack) are allowed. Set the one that is missing"
            )
        if self.clusters and not self._runs_images(self.stack):
            yield (
                f"tracks: no track names {self.stack} among its environments, but {self.stack} has clusters: exactly one "
                "must. Add it to a track's environments"
            )
        for colour in self.clusters:
            # The target group's and cluster's names are built from it.
            fault = naming.label_fault(colour, 10)
            if fault is None and "-" in colour:
                # `shop` in blue-green and `shop-blue` in green would want one target group.
                fault = "a hyphen is not allowed"
            if fault:
                yield f"clusters.{colour} is no colour: {fault}. Rename it, for example blue or green"
            wanted = self.builds.architecture if self.builds else self.clusters[colour].nodes.architecture
            if self.clusters[colour].nodes.architecture != wanted and self._runs_own_images():
                yield (
                    f"clusters.{colour}.nodes.instanceTypes are {self.clusters[colour].nodes.architecture} machines, but images "
                    f"are built for {wanted}: machines of that architecture are allowed. Change them, or builds.architecture"
                )
        total = sum(each.weight for each in self.clusters.values())
        if self.clusters and total != FULL_WEIGHT:
            colour, last = list(self.clusters.items())[-1]
            verb = "Lower" if total > FULL_WEIGHT else "Raise"
            yield (
                f"clusters.{colour}.weight is {last.weight}: the weights of all clusters must sum to {FULL_WEIGHT} "
                f"(now {total}). {verb} one colour's weight"
            )


def load() -> Settings:
    """Read this stack's settings and make sure that they are meant for the account at hand.

    Returns:
        The settings, frozen.

    Raises:
        SettingsError: a key is missing, unknown or wrong, or the caller is in another account.
    """
    settings = parse(_given("slipway"), stack=pulumi.get_stack())
    _check_provider(settings)
    _check_caller(settings)
    return settings


def parse(given: Mapping[str, Any], *, stack: str) -> Settings:
    """Check `given`, the keys of the `slipway:` namespace, for `stack`.

    Raises:
        SettingsError: with one line per fault, each with the key, what was given, what is allowed, and the fix.
    """
    try:
        return Settings.model_validate({**given, "stack": stack})
    except ValidationError as error:
        lines = [line for fault in error.errors(include_url=False) for line in _lines(fault)]
        raise SettingsError("\n".join(lines)) from None


def _given(namespace: str) -> dict[str, Any]:
    """Every key set in `namespace`: unknown keys too, which `pulumi.Config` would never show."""
    config = pulumi.Config(namespace)
    prefix = f"{namespace}:"
    keys = {key.removeprefix(prefix) for key in {**get_config_env(), **CONFIG.get()} if key.startswith(prefix)}
    return {key: _decoded(config.require(key)) for key in sorted(keys)}


def _decoded(text: str) -> object:
    """Structured configuration reaches the program as JSON; a plain string stays one."""
    if re.match(r"\s*[\[{]", text):
        return json.loads(text)
    return text


def _lines(fault: Any) -> Iterable[str]:  # noqa: ANN401 — pydantic_core.ErrorDetails, whose ctx is untyped
    """One readable line for each fault that pydantic found."""
    where = "slipway:" + ".".join(str(part) for part in fault["loc"])
    what = fault["msg"].removeprefix("Value error, ")
    match fault["type"]:
        case "missing":
            yield f"{where} is missing: it must be set. Add it to Pulumi.<stack>.yaml (docs/adopt.md lists every key)."
        case "extra_forbidden":
            yield (
                f"{where} is {fault['input']!r}: no such setting is known, and only known ones are allowed. "
                "Correct its spelling or remove it (docs/adopt.md lists every key)."
            )
        case "value_error" if not fault["loc"]:
            yield from (f"slipway:{line}." for line in what.splitlines())
        case _:
            got = fault["input"] if isinstance(fault["input"], str | int | float | bool | None) else "this object"
            yield f"{where} is {got!r}: {what[:1].lower()}{what[1:]}. Correct it in Pulumi.<stack>.yaml."


def _check_provider(settings: Settings) -> None:
    """The AWS provider must be held to the same account and region as the settings."""
    environment = settings.environment
    given = _given("aws")
    allowed = given.get("allowedAccountIds")
    if allowed != [environment.account]:
        msg = (
            f"aws:allowedAccountIds is {allowed!r}: exactly [{environment.account!r}], the account of {settings.stack}, is "
            f"allowed. Set it in Pulumi.{settings.stack}.yaml."
        )
        raise SettingsError(msg)
    if given.get("region") != environment.region:
        msg = (
            f"aws:region is {given.get('region')!r}: {environment.region!r}, the region of {settings.stack} in "
            f"slipway:environments, is allowed. Set it in Pulumi.{settings.stack}.yaml."
        )
        raise SettingsError(msg)
    owner = pulumi.Config("github").get("owner")
    if owner != settings.organization.name:
        msg = (
            f"github:owner is {owner!r}: {settings.organization.name!r}, as slipway:organization.name says, is allowed. "
            f"Set it in Pulumi.{settings.stack}.yaml."
        )
        raise SettingsError(msg)


def _check_caller(settings: Settings) -> None:
    """A provider compares accounts only when its first resource comes; this is before anything else."""
    caller = aws.get_caller_identity()
    if caller.account_id != settings.environment.account:
        msg = (
            f"The AWS credentials belong to account {caller.account_id} ({caller.arn}): stack {settings.stack} is allowed "
            f"in account {settings.environment.account} only. Take that account's credentials, or select the right stack."
        )
        raise SettingsError(msg)
