"""The settings: pydantic models of every key, and the rules that hold between keys.

Two kinds of keys. `environments`, `tracks`, `organization` and `gitops` describe the whole platform and read the same
in every stack file; the rest describes the one environment. Rules need nothing but the settings; account.py asks AWS.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, collapse_addresses, ip_address
from itertools import combinations
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from components import machines, naming, regions, versions
from components.settings.describe import Expects, shown
from components.settings.describe import key as describe_key

# https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html: a VPC is a /16 to a /28. The upper bound here is
# smaller: pods take addresses from the private subnets, and below a /20 those are under 1,000 a zone.
LARGEST_PREFIX: Final = 16
SMALLEST_PREFIX: Final = 20
FULL_WEIGHT: Final = 100
# Names of target groups and clusters hold the colour.
COLOUR_LENGTH: Final = 10
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

# Where a VPC's addresses may come from: RFC 1918 and RFC 6598. AWS takes public ranges too, which would hide
# their owners.
# https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
VPC_RANGES: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
# Docker's bridge on nodes and other AWS services use it (same page).
_DOCKER: Final = IPv4Network("172.17.0.0/16")
# https://www.iana.org/assignments/iana-ipv4-special-registry: ranges from which no packet reaches a public endpoint.
_NEVER_PUBLIC: Final = (
    *VPC_RANGES,
    *map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")),
)
# https://docs.aws.amazon.com/eks/latest/userguide/service-quotas.html: public endpoint access CIDR ranges per cluster
MOST_ENDPOINT_RANGES: Final = 40
# A /8, the largest block that a registry ever gave to one organization; more than that is everyone.
_MOST_ENDPOINT_ADDRESSES: Final = 2**24
_HTTPS_PORT: Final = 443


def _region(region: str) -> str:
    if fault := regions.region_fault(region):
        raise ValueError(fault)
    return region


def _host(name: str) -> str:
    if fault := naming.host_fault(name):
        msg = f"{fault}. Write the name of the Route53 zone, without a dot at its end"
        raise ValueError(msg)
    return name


def _retention(days: int) -> int:
    if days not in LOG_RETENTION_DAYS:
        larger = next((each for each in LOG_RETENTION_DAYS if each > days), LOG_RETENTION_DAYS[-1])
        msg = f"CloudWatch Logs keeps logs for {', '.join(map(str, LOG_RETENTION_DAYS))} days. The nearest is {larger}"
        raise ValueError(msg)
    return days


def _version(version: str) -> str:
    if fault := versions.version_fault(version):
        raise ValueError(fault)
    return version


def _machine(instance_type: str) -> str:
    if fault := machines.machine_fault(instance_type):
        raise ValueError(fault)
    return instance_type


def _url(url: str) -> str:
    """GitHub's address: joined with paths by a slash, so it ends without one."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    fault = None
    if not host or not parts.scheme or not url.isascii() or re.search(r"\s", url):
        fault = "this is no URL. Write it with scheme and host, such as https://github.example.com"
    elif parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        fault = f"the scheme must be https, because tokens travel there. Write https://{parts.netloc}{parts.path}"
    elif parts.username or parts.password:
        fault = "it holds a user name or password. Remove them; Apps authenticate with their keys"
    elif parts.query or parts.fragment or url.endswith(("?", "#")):
        fault = f"it holds a query or fragment. Write {parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    elif url.endswith("/"):
        fault = f"it ends with a slash. Write {url.rstrip('/')}"
    elif not (_is_loopback(host) or naming.host_fault(host.lower()) is None):
        fault = f"{host} is no host name. Write the name of your GitHub server, such as https://github.example.com"
    elif port == _HTTPS_PORT and parts.scheme == "https":
        fault = f"the port is https's own. Write {parts.scheme}://{host}{parts.path}"
    if fault:
        raise ValueError(fault)
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _git_url(url: str) -> str:
    if path := urlsplit(url).path:
        msg = f"repositories are found below the host itself. Remove the path {path}"
        raise ValueError(msg)
    return url


AccountId = Annotated[str, Field(pattern=r"^[0-9]{12}$"), Expects("twelve digits in quotes", '"111111111111"')]
Region = Annotated[str, AfterValidator(_region), Expects("the code of an AWS region", "eu-central-1")]
# https://docs.github.com/en/enterprise-cloud@latest/admin/managing-iam/iam-configuration-reference/username-considerations-for-external-authentication
GitHubOwner = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?$"),
    Expects("the name of a GitHub organization: letters, digits and single hyphens, at most 39", "example-org"),
]
GitHubRepository = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9._-]{1,100}$"),
    Expects("the name of a repository without its owner: letters, digits, dots, hyphens and underscores, at most 100", "gitops"),
]
# https://docs.github.com/en/rest/teams/teams: a team's slug
GitHubTeam = Annotated[
    str,
    Field(pattern=r"^[a-z0-9](?:[a-z0-9_-]{0,98}[a-z0-9])?$"),
    Expects("a team's slug as in its address on GitHub: lower-case letters, digits, hyphens and underscores", "platform"),
]
GitBranch = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,100}$"),
    Expects("the name of a branch: a letter or digit, then letters, digits, dots, slashes, hyphens and underscores", "main"),
]
RoleArn = Annotated[
    str,
    Field(pattern=r"^arn:aws:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]*[A-Za-z0-9_+=,.@-]$"),
    Expects("the ARN of an IAM role", "arn:aws:iam::111111111111:role/platform-admin"),
]
ConnectionArn = Annotated[
    str,
    # https://docs.aws.amazon.com/dtconsole/latest/userguide/connections-permissions.html; the older service name lives on
    Field(pattern=r"^arn:aws:(codeconnections|codestar-connections):[a-z0-9-]+:[0-9]{12}:connection/[0-9a-f-]{36}$"),
    Expects(
        "the ARN of a CodeConnections connection",
        "arn:aws:codeconnections:eu-central-1:111111111111:connection/0f6ab1c2-1111-4222-8333-111111111111",
    ),
]
Weight = Annotated[int, Field(ge=0, le=FULL_WEIGHT), Expects(f"a whole number from 0 to {FULL_WEIGHT}", "100")]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$"), Expects("an e-mail address", "platform@example.com")]
# https://docs.aws.amazon.com/chatbot/latest/APIReference/API_CreateSlackChannelConfiguration.html takes any letters and digits,
# a channel's name too, and then no alarm arrives. Slack's own ids say by their first letter what they are:
# https://docs.slack.dev/reference/objects/conversation-object, https://docs.slack.dev/reference/objects/team-object
SlackWorkspace = Annotated[
    str, Field(pattern=r"^[TE][0-9A-Z]{5,254}$"), Expects("the id of a Slack workspace, which begins with T or E", "T07EA123LEP")
]
SlackChannel = Annotated[
    str, Field(pattern=r"^[CG][0-9A-Z]{5,254}$"), Expects("the id of a Slack channel, which begins with C or G", "C07EZ1ABC23")
]
Zone = Annotated[str, AfterValidator(_host), Expects("the name of a Route53 zone", "dev.example.com")]
Range = Annotated[IPv4Network, Expects("a range of IPv4 addresses", "10.10.0.0/16")]
Id = Annotated[int, Field(gt=0, lt=2**63), Expects("a whole number above 0, as GitHub's API shows it", "4202137")]
EnvironmentName = Annotated[str, Expects("the name of an environment in slipway:environments", "dev")]
Flag = Annotated[bool, Expects("true or false", "true")]
LogDays = Annotated[int, AfterValidator(_retention), Expects("a number of days for which CloudWatch Logs keeps logs", "30")]
Architecture = Annotated[str, Field(pattern="^(arm64|amd64)$"), Expects("arm64 or amd64", "arm64")]
Url = Annotated[str, AfterValidator(_url), Expects("a URL with https, without a slash at its end", "https://github.com")]


def _label(label: str) -> str:
    if fault := naming.host_label_fault(label):
        msg = f"{fault}. Write one part of a host name, such as argocd"
        raise ValueError(msg)
    return label


def _nodes(least: int) -> Expects:
    return Expects("a whole number from 1 to 450", str(least))


class _Model(BaseModel):
    """Frozen, nothing extra; camelCase in the stack file, snake_case here."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, ser_json_inf_nan="constants"
    )


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
    zone: Zone
    gitops_branch: GitBranch
    cidr: Range

    @field_validator("cidr")
    @classmethod
    def _cidr_fits_a_vpc(cls, cidr: IPv4Network) -> IPv4Network:
        if not any(cidr.subnet_of(each) for each in VPC_RANGES):
            private = f"{', '.join(map(str, VPC_RANGES[:-1]))} or {VPC_RANGES[-1]}"
            msg = f"a VPC's addresses lie in {private} (RFC 1918, RFC 6598). Choose a range there, such as 10.10.0.0/16"
            raise ValueError(msg)
        if not LARGEST_PREFIX <= cidr.prefixlen <= SMALLEST_PREFIX:
            size = "small" if cidr.prefixlen > SMALLEST_PREFIX else "large"
            msg = f"too {size} for a VPC. Choose a prefix from /{LARGEST_PREFIX} to /{SMALLEST_PREFIX}"
            raise ValueError(msg)
        if cidr.overlaps(_DOCKER):
            msg = f"Docker and some AWS services use {_DOCKER}, and packets from there get no answer. Choose another range"
            raise ValueError(msg)
        return cidr


class Lifecycle(_Model):
    """How long a track's images are kept: by age, or by number. Exactly one of the two.

    Attributes:
        days: Images older than this expire.
        images: More images than this, and the oldest expire.
    """

    days: Annotated[int, Field(ge=1, le=3650), Expects("a whole number from 1 to 3650", "14")] | None = None
    images: Annotated[int, Field(ge=10, le=5000), Expects("a whole number from 10 to 5000", "200")] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.days is None) == (self.images is None):
            msg = "a lifecycle needs exactly one of days and images. Keep the one that you mean"
            raise ValueError(msg)
        return self


class App(_Model):
    """A GitHub App and its one installation, by their public ids. The key is in Secrets Manager only."""

    app_id: Id
    installation_id: Id


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
        architecture: What images, and the machines that build and run them, are: `arm64` or `amd64`.
    """

    host: EnvironmentName
    application_branch: GitBranch
    gitops_branch: GitBranch
    overlay: EnvironmentName | None = None
    environments: Annotated[
        tuple[EnvironmentName, ...], Field(min_length=1), Expects("a list with one environment or more", "[dev]")
    ]
    lifecycle: Lifecycle
    writer: App
    architecture: Architecture = "arm64"

    @property
    def image_file(self) -> str:
        """Path of the machine-written file in the GitOps repository; `{service}` stands for the service."""
        place = f"overlays/{self.overlay}" if self.overlay else "base"
        return f"apps/{{service}}/{place}/image/kustomization.yaml"


class Organization(_Model):
    """The GitHub organization that owns application, platform and GitOps repositories."""

    name: GitHubOwner
    id: Id


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
    id: Id | None = None
    owner: EnvironmentName
    promoter: App
    reader: App
    reviewers: Annotated[int, Field(ge=1, le=6), Expects("a whole number from 1 to 6", "2")] = 2
    team: GitHubTeam = "platform"
    emergency_pins: Flag = False
    report_health: Flag = False
    git_url: Annotated[Url, AfterValidator(_git_url)] = "https://github.com"
    api_url: Url = "https://api.github.com"

    @model_validator(mode="after")
    def _one_server(self) -> Self:
        public = {"git_url": "https://github.com", "api_url": "https://api.github.com"}
        own = [key for key, url in public.items() if getattr(self, key) != url]
        if len(own) == 1:
            given, other = to_camel(own[0]), to_camel(next(key for key in public if key != own[0]))
            msg = (
                f"{given} is set and {other} is not, so they belong to two servers. Set both (GitHub Enterprise Server), or none"
            )
            raise ValueError(msg)
        return self


class NetworkSettings(_Model):
    """The environment's VPC.

    Attributes:
        nat_per_zone: A NAT gateway in each zone (True), or one for all (cheaper; its zone's loss cuts the others off).
        ecr_endpoints: Interface endpoints for ECR, so that image pulls do not go through NAT.
        flow_log_retention_days: As CloudWatch Logs allows them.
        reserved: Ranges that the VPC must not overlap: offices, peers, on-premises.
        zones: Names of two or three availability zones; `regions.ZONES` has the default. Each takes its part of the addresses by
            its place in the list, so a live list may only grow at its end.
    """

    nat_per_zone: Flag = False
    ecr_endpoints: Flag = False
    flow_log_retention_days: LogDays = 30
    reserved: tuple[Range, ...] = ()
    zones: (
        Annotated[
            tuple[Annotated[str, Expects("the name of an availability zone", "eu-central-1a")], ...],
            Expects("a list of two or three availability zones", "[eu-central-1a, eu-central-1b, eu-central-1c]"),
        ]
        | None
    ) = None

    @field_validator("zones")
    @classmethod
    def _two_or_three(cls, zones: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if zones is not None and not regions.FEWEST_ZONES <= len(zones) <= regions.MOST_ZONES:
            msg = "EKS needs two zones, and the addresses are divided for three. Name two or three"
            raise ValueError(msg)
        if zones is not None and len(set(zones)) != len(zones):
            twice = next(each for each in zones if zones.count(each) > 1)
            msg = f"{twice} stands there twice. Name each zone once"
            raise ValueError(msg)
        return zones


class Nodes(_Model):
    """A cluster's private nodes: instance types of one architecture, bounds, and disk in GiB."""

    instance_types: Annotated[
        tuple[Annotated[str, AfterValidator(_machine), Expects("an EC2 instance type", "m7g.large")], ...],
        Field(min_length=1),
        Expects("a list with one EC2 instance type or more", "[m7g.large]"),
    ] = ("m7g.large",)
    minimum: Annotated[int, Field(ge=1, le=450), _nodes(3)] = 3
    maximum: Annotated[int, Field(ge=1, le=450), _nodes(9)] = 9
    disk_gib: Annotated[int, Field(ge=20, le=16384), Expects("a whole number of GiB from 20 to 16384", "50")] = 50

    @property
    def architecture(self) -> str:
        """`arm64` or `amd64`, of the machines and so of the images that run on them."""
        return naming.architecture(self.instance_types[0])

    @model_validator(mode="after")
    def _one_architecture(self) -> Self:
        if len({naming.architecture(each) for each in self.instance_types}) > 1:
            msg = (
                f"{', '.join(self.instance_types)} are of two architectures, and a node group has one. Name Graviton types only, "
                "or none"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.minimum > self.maximum:
            msg = f"minimum {self.minimum} is above maximum {self.maximum}. Lower minimum, or raise maximum"
            raise ValueError(msg)
        return self


class Endpoint(_Model):
    """Who reaches a cluster's API: always the VPC, and from outside the ranges in `allow`.

    Attributes:
        allow: Public ranges of offices and runners.
        private: Whether only the VPC reaches the API. Pulumi then has to run there, from the first `up` on: it installs what
            is in the cluster. It is a key of its own so that an empty `allow` is a decision.
    """

    allow: tuple[Range, ...] = ()
    private: Flag = False

    @field_validator("allow")
    @classmethod
    def _never_everyone(cls, ranges: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
        for each in ranges:
            if outside := next((one for one in _NEVER_PUBLIC if each.subnet_of(one)), None):
                msg = (
                    f"{each} lies in {outside}, and nothing reaches a public endpoint from there. Name the public addresses of "
                    "your offices and runners"
                )
                raise ValueError(msg)
        together = list(collapse_addresses(ranges))
        size = sum(each.num_addresses for each in together)
        if size > _MOST_ENDPOINT_ADDRESSES:
            whole = "everyone" if size == 2**32 else f"{size:,} addresses, more than any organization has"
            msg = f"together this is {whole}. Name the public addresses of your offices and runners"
            raise ValueError(msg)
        if len(ranges) > MOST_ENDPOINT_RANGES:
            msg = f"these are {len(ranges)} ranges, and EKS takes {MOST_ENDPOINT_RANGES} at most. Join neighbouring ones"
            raise ValueError(msg)
        return ranges

    @model_validator(mode="after")
    def _private_or_not(self) -> Self:
        if self.private and self.allow:
            msg = "private is true, and allow names ranges. Remove one of them"
            raise ValueError(msg)
        return self


class ClusterSettings(_Model):
    """One colour.

    Attributes:
        version: Kubernetes minor version that EKS offers, such as "1.34".
        weight: Share of the traffic, in percent; over all colours 100.
        nodes: Its machines.
        endpoint: Who reaches its API.
        admins: Roles that administer it, beside the deploy role.
    """

    version: Annotated[str, AfterValidator(_version), Expects("a Kubernetes minor version in quotes", '"1.35"')]
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

    label: Annotated[str, AfterValidator(_label), Expects("one part of a host name", "argocd")] = "argocd"
    client_id: Annotated[
        str, Field(pattern=r"^[!-~]+$"), Expects("the client id of a GitHub OAuth App, without spaces", "Iv1.0123456789abcdef")
    ]
    teams: Mapping[
        GitHubTeam, Annotated[str, Field(pattern="^(readonly|deployer|admin)$"), Expects("readonly, deployer or admin", "admin")]
    ]


class ArgoCdSettings(_Model):
    """Argo CD in every cluster; `ui` is off unless given."""

    ui: ArgoCdUi | None = None


class CodeRepository(_Model):
    """A GitHub repository by name and by the id that it keeps for ever (`gh api repos/ORG/NAME --jq .id`)."""

    name: GitHubRepository
    id: Id


class Access(_Model):
    """Who may preview and deploy this stack from GitHub Actions.

    Attributes:
        repository: The repository that holds this program.
        deploy_environment: GitHub environment whose jobs may assume the deploy role; required reviewers stand before it.
    """

    repository: CodeRepository
    # OIDC subjects hold the name, where a colon or an asterisk would mean more than itself.
    # https://docs.github.com/en/actions/how-tos/deploy/configure-and-manage-deployments/manage-environments
    deploy_environment: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_.()-]([A-Za-z0-9_.() -]{0,253}[A-Za-z0-9_.()-])?$"),
        Expects(
            "the name of a GitHub environment, of letters, digits, spaces, dots, hyphens, underscores and parentheses", "dev"
        ),
    ]


class Builds(_Model):
    """How images are built on the tracks hosted here.

    Attributes:
        connection_arn: The CodeConnections connection to GitHub, with its handshake done.
        log_retention_days: As CloudWatch Logs allows them.
        reporter: App that reports each build as a status of its commit; none is reported unless given.
    """

    connection_arn: ConnectionArn
    log_retention_days: LogDays = 30
    reporter: App | None = None


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
    def zones(self) -> tuple[str, ...]:
        """Availability zones of the network."""
        given = self.network.zones if self.network else None
        return given or regions.default_zones(self.environment.region)

    @property
    def deploy_role_arn(self) -> str:
        """The role with which GitHub Actions deploys this stack (ci_access.py declares it)."""
        return f"arn:aws:iam::{self.environment.account}:role/{naming.role(self.stack, 'deploy')}"

    @property
    def preview_role_arn(self) -> str:
        """The role with which GitHub Actions previews this stack."""
        return f"arn:aws:iam::{self.environment.account}:role/{naming.role(self.stack, 'preview')}"

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
    def guarded_branches(self) -> Sequence[str]:
        """Branches of the application repositories whose images reach production, sorted.

        Production is every environment whose GitOps branch no writer commits to: what runs there came by a reviewed release.
        A platform without one has all its built branches guarded.
        """
        written = {track.gitops_branch for track in self.tracks.values()}
        reaching = {
            track.application_branch
            for track in self.tracks.values()
            if any(self.environments[each].gitops_branch not in written for each in track.environments)
        }
        return sorted(reaching or {track.application_branch for track in self.tracks.values()})

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
        if odd := list(self._odd_names()):
            # Other rules write names as they are.
            raise ValueError("\n".join(odd))
        faults = [
            *self._unknown_names(),
            *self._crossed_tracks(),
            *self._gitops_branches(),
            *self._shared_accounts(),
            *self._overlaps(),
        ]
        if self.stack in self.environments:
            faults += [
                *self._zones_of_another_region(),
                *self._clusters_and_weights(),
                *self._access_to_clusters(),
                *self._hosting(),
            ]
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _hosting(self) -> Iterable[str]:
        hosted = ", ".join(self.hosted_tracks)
        if hosted and self.builds is None:
            yield f"builds is missing, but this stack hosts {hosted}. Set slipway:builds.connectionArn"
        # Alarms too: nobody would ever get one, and it would look as if all were well.
        for key, given in (("builds", self.builds is not None), ("alarms", self.alarms != Alarms())):
            if given and not hosted:
                hosts = ", ".join(sorted({describe_key(track.host) for track in self.tracks.values()}))
                yield (
                    f"{key} is set, but this stack hosts no track, unlike {hosts}. Remove it, or make {self.stack} "
                    "the host of a track"
                )
        if hosted and (lacking := regions.builds_fault(self.environment.region)):
            yield (
                f"environments.{self.stack}.region is {self.environment.region}, which lacks {lacking}; {self.stack} "
                f"hosts {hosted} and "
                "so builds images. Host the track in a stack of another region (tracks.<track>.host), or choose another region"
            )
        account = self.builds.connection_arn.split(":")[4] if self.builds else self.environment.account
        if account != self.environment.account:
            yield (
                f"builds.connectionArn belongs to account {account}, and {self.stack} is account {self.environment.account}: a "
                "pipeline uses connections of its own account only. Create one there, and finish its handshake in the console"
            )

    def _shared_accounts(self) -> Iterable[str]:
        """Buckets, the state's key, secrets and registries have one name for account and region."""
        homes: dict[tuple[str, str], str] = {}
        for name, each in self.environments.items():
            home = each.account, each.region
            if home in homes:
                yield (
                    f"environments.{name} has the account {each.account} and the region {each.region}, as "
                    f"environments.{homes[home]} has: "
                    "their state bucket, its key, secrets and log groups would share names. Give each environment an "
                    "account of its "
                    "own (or, at least, a region)"
                )
            homes.setdefault(home, name)

    def _zones_of_another_region(self) -> Iterable[str]:
        region = self.environment.region
        for zone in (self.network.zones or ()) if self.network else ():
            if not regions.is_zone_of(region, zone):
                yield (
                    f"network.zones names {shown(zone)}, which is no availability zone of {region}. Write the region and a "
                    "letter, such as "
                    f"{regions.default_zones(region)[0]}"
                )

    def _access_to_clusters(self) -> Iterable[str]:
        """Access entries exist before a cluster can be repaired from outside: what they name has to be right."""
        account = self.environment.account
        for colour, cluster in self.clusters.items():
            key = f"clusters.{colour}.admins"
            names: dict[str, str] = {}
            for arn in cluster.admins:
                last = arn.rsplit("/", 1)[-1]
                if arn.split(":")[4] != account:
                    yield f"{key} names {arn}, a role of another account. Name a role of {account}, the account of {self.stack}"
                elif arn in {self.deploy_role_arn, self.preview_role_arn}:
                    yield f"{key} names {arn}, which Slipway makes and gives its access by itself. Remove it"
                elif names.get(last) == arn:
                    yield f"{key} names {arn} twice. Remove one of the two"
                elif last in names:
                    yield (
                        f"{key} names {names[last]} and {arn}: both end with {last}, by which their access entries "
                        "are told apart. "
                        "Rename one of the roles, or remove it"
                    )
                elif last in {"deploy", "preview"} and arn.startswith(f"arn:aws:iam::{account}:role/{naming.PROJECT}-"):
                    yield f"{key} names {arn}, whose name begins as Slipway's own roles do. Rename the role"
                names.setdefault(last, arn)
            if not cluster.endpoint.allow and not cluster.endpoint.private:
                yield (
                    f"clusters.{colour}.endpoint.allow is empty, so only the VPC could reach the API, and pulumi "
                    "installs what is in the "
                    "cluster. Name the public addresses of the machines that run pulumi, your runners and "
                    "administrators; or, if all of "
                    f"them are inside the VPC from the first `up` on, set clusters.{colour}.endpoint.private to true"
                )

    def _odd_names(self) -> Iterable[str]:
        """Keys that names in AWS are built from: a bad one would be refused half-way."""
        for kind, names in (("environments", self.environments), ("tracks", self.tracks)):
            for name in names:
                if fault := naming.label_fault(name, naming.KEY_LENGTH):
                    yield f"{kind}.{describe_key(name)} is no name for {kind}: {fault}. Rename it"
        for one, two in combinations(sorted(self.tracks), 2):
            if two.startswith(f"{one}-"):
                # `slipway-<track>-<service>`: service b-c of track a and service c of a-b would have one name, and the queue of
                # a admits rules by `slipway-a-*`.
                yield (
                    f"tracks.{describe_key(two)} begins with the name of the track {describe_key(one)} and a hyphen, so that "
                    "their names in AWS could not be told apart. Rename one of them"
                )
        for colour in self.clusters:
            # The target group's and cluster's names are built from it.
            fault = naming.label_fault(colour, COLOUR_LENGTH)
            if fault is None and "-" in colour:
                # `shop` in blue-green and `shop-blue` in green would want one target group.
                fault = "a colour has no hyphen"
            if fault:
                yield f"clusters.{describe_key(colour)} is no colour: {fault}. Rename it, for example blue or green"

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
                yield f"{key} is {shown(value)}, which is no environment. Name one of {known}, or add it to slipway:environments"

    def _crossed_tracks(self) -> Iterable[str]:
        for environment in self.environments:
            running = [name for name, track in self.tracks.items() if environment in track.environments]
            if len(running) > 1:
                yield (
                    f"tracks: {environment} runs the images of {' and '.join(running)}, and an environment has one track. "
                    f"Remove {environment} from the environments of the other"
                )
        for (one, first), (two, second) in combinations(self.tracks.items(), 2):
            if first.application_branch == second.application_branch:
                yield (
                    f"tracks.{two}.applicationBranch is {shown(second.application_branch)}, as {one}'s: "
                    "each branch is built by one track. Give one of them another branch"
                )

    def _gitops_branches(self) -> Iterable[str]:
        """One branch an environment (docs/decisions/0001), as the GitOps repository's workflows find their ways between them."""
        readers: dict[str, str] = {}
        for name in filter(self._runs_images, self.environments):
            branch = self.environments[name].gitops_branch
            if branch in readers:
                yield (
                    f"environments.{name}.gitopsBranch is {shown(branch)}, which {readers[branch]} reads: each environment "
                    "needs a branch of "
                    "its own, because GitHub limits a writer by branches. Give one of them another branch"
                )
            readers.setdefault(branch, name)
        for name, track in self.tracks.items():
            if track.gitops_branch not in {self.environments[each].gitops_branch for each in self._known(track.environments)}:
                yield (
                    f"tracks.{name}.gitopsBranch is {shown(track.gitops_branch)}, which none of its environments "
                    f"({', '.join(map(describe_key, track.environments))}) reads. Write a branch that one of "
                    "them reads, or let one read this branch"
                )
        if self.gitops.owner in self.environments:
            default = self.environments[self.gitops.owner].gitops_branch
            writing = [name for name, track in self.tracks.items() if track.gitops_branch == default]
            if writing:
                yield (
                    f"gitops.owner is {shown(self.gitops.owner)}, whose branch {shown(default)} is written by the track "
                    f"{' and '.join(writing)}. The owner's branch is the GitOps repository's default branch: its workflows and "
                    "scripts hold the promoter's key, so no track may commit there. Name a stack whose branch no track writes, "
                    "such as prd, or a tooling stack with a branch of its own"
                )
        in_base = [name for name, track in self.tracks.items() if not track.overlay]
        if len(in_base) != 1:
            yield (
                f"tracks.<track>.overlay is left out by {' and '.join(in_base) or 'no track'}: exactly one track "
                "writes the base. "
                "Set the overlay of the others, or remove it from one"
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
                    f"{one} is {first} and overlaps {two}, {second}. Choose another range for one of them, so that they "
                    "share no address"
                )

    def _clusters_and_weights(self) -> Iterable[str]:
        if bool(self.clusters) != (self.network is not None):
            yield (
                f"clusters has {len(self.clusters)} colours and network is {'set' if self.network else 'missing'}: an "
                "environment "
                "has both, a tooling stack neither. Set the one that is missing"
            )
        if self.clusters and not self._runs_images(self.stack):
            yield (
                f"tracks: no track names {self.stack} among its environments, but {self.stack} has clusters. Add it to the "
                "environments of the track whose images it runs"
            )
        for colour in self.clusters:
            yield from self._machines(colour)
        total = sum(each.weight for each in self.clusters.values())
        if self.clusters and total != FULL_WEIGHT:
            colour, last = list(self.clusters.items())[-1]
            verb = "Lower" if total > FULL_WEIGHT else "Raise"
            yield (
                f"clusters.{colour}.weight is {last.weight}: the weights of all clusters must sum to {FULL_WEIGHT} "
                f"(now {total}). {verb} one colour's weight"
            )

    def _machines(self, colour: str) -> Iterable[str]:
        """Nodes run what their environment's track builds, wherever it is built."""
        found = self.clusters[colour].nodes.architecture
        track = next((name for name, each in self.tracks.items() if self.stack in each.environments), None)
        if track is not None and found != (wanted := self.tracks[track].architecture):
            types = ", ".join(self.clusters[colour].nodes.instance_types)
            yield (
                f"clusters.{colour}.nodes.instanceTypes are {found} machines ({types}), but the images of track "
                f"{track} are built for "
                f"{wanted}. Choose {wanted} machines, or set slipway:tracks.{track}.architecture to {found} in every stack file"
            )
