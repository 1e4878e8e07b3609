"""Checks of the AWS account. They call nothing but operations that read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bootstrap import accounts
from bootstrap.first_day import is_connected
from bootstrap.look import Check, Look
from bootstrap.needs import Quota, machines, quotas, vcpu_quota
from bootstrap.place import Place, error_code, find_zone, secret_exists, secret_value
from bootstrap.report import Row, Step
from components import naming

# https://docs.aws.amazon.com/chatbot/latest/adminguide/regions.html: its endpoints, of which any answers for the account
_CHATBOT_REGION: Final = "us-east-2"
_ROLE_PARTS: Final = 2


# Who asks


def credentials(look: Look, check: Check) -> Iterator[Row]:
    """Look whose credentials are at hand."""
    place, stack = look.place, look.place.settings.stack
    try:
        caller = place.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        yield check.missing(
            f"credentials of account {place.account}: AWS says: {' '.join(str(error).split())}",
            f"export AWS_PROFILE={stack}-admin (new credentials: aws sso login --profile {stack}-admin). A region that is not "
            f"enabled refuses every credential: aws account get-region-opt-status --region-name {place.region}",
        )
        return
    if caller["Account"] == place.account:
        yield check.ready(f"credentials are of account {place.account} ({caller['Arn']})")
    else:
        yield check.missing(
            f"credentials are of account {caller['Account']} ({caller['Arn']}), and stack {stack} is in {place.account}",
            f"export AWS_PROFILE={stack}-admin",
        )


def region(look: Look, check: Check) -> Iterator[Row]:
    """Look whether the region is enabled for the account."""
    wanted = look.place.region
    (found,) = look.place.client("ec2").describe_regions(RegionNames=[wanted], AllRegions=True)["Regions"]
    if found["OptInStatus"] == "not-opted-in":
        yield check.missing(f"region {wanted} is not enabled", f"aws account enable-region --region-name {wanted}")
    else:
        yield check.ready(f"region {wanted} is enabled")


def admins(look: Look, check: Check) -> Iterator[Row]:
    """Look whether the caller administers the clusters: EKS gives the creator of a cluster no access of its own here."""
    place = look.place
    arn = str(place.client("sts").get_caller_identity()["Arn"])
    role = _role_of(arn)
    for colour, cluster in place.settings.clusters.items():
        key = f"slipway:clusters.{colour}.admins"
        here = [each for each in cluster.admins if each.split(":")[4] == place.account]
        if role and role in {each.rpartition("/")[2] for each in here}:
            yield check.ready(f"the caller's role {role} is in {key}", name=colour)
        elif role == naming.role(place.settings.stack, "deploy"):
            yield check.ready(f"the caller is the deploy role, which administers {colour}", name=colour)
        elif not role:
            yield check.missing(
                f"the caller {arn} is no role: pulumi up would make cluster {colour} and then get 401 from it",
                f"Take a role that {key} names, for example with aws sts assume-role or aws sso login",
                name=colour,
            )
        else:
            yield check.missing(
                f"the caller's role {role} is not in {key}: pulumi up would make the cluster and then get 401 from it",
                f"Add the role to {key} in Pulumi.{place.settings.stack}.yaml: aws iam get-role --role-name {role} "
                "--query Role.Arn --output text",
                name=colour,
            )
        for each in cluster.admins:
            yield from _role_exists(place, check, colour, each)


def _role_exists(place: Place, check: Check, colour: str, arn: str) -> Iterator[Row]:
    name = arn.rpartition("/")[2]
    label = f"{colour}/{name}"
    fix = f"Correct slipway:clusters.{colour}.admins: aws iam list-roles --query 'Roles[].Arn'"
    if arn.split(":")[4] != place.account:
        yield check.missing(f"{arn} is a role of another account than {place.account}", fix, name=label)
        return
    try:
        found = place.client("iam").get_role(RoleName=name)["Role"]["Arn"]
    except ClientError as error:
        if error_code(error) != "NoSuchEntity":
            raise
        yield check.missing(f"role {arn} does not exist", fix, name=label)
        return
    if found == arn:
        yield check.ready(f"role {name} exists", name=label)
    else:
        yield check.missing(f"role {name} is {found}, and slipway:clusters.{colour}.admins names {arn}", fix, name=label)


def _role_of(arn: str) -> str:
    """Return the name of the role that a caller's ARN speaks of, "" for a user or the account's root."""
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html: assumed-role/ROLE/SESSION, without the path
    kind, _, rest = arn.split(":", 5)[5].partition("/")
    return rest.split("/")[0] if kind == "assumed-role" else rest.rpartition("/")[2] if kind == "role" else ""


# What bootstrap makes


def made(part: Callable[[Place], Iterator[Any]], subject: str) -> Callable[[Look, Check], Iterator[Row]]:
    """Return a check of one of bootstrap's parts: it reads what is there, and makes nothing."""

    def find(look: Look, check: Check) -> Iterator[Row]:
        due = [step.text for step in part(look.place)]
        if due:
            yield check.missing(
                f"{subject}: {'; '.join(due)}", f".venv/bin/python -m bootstrap --stack {look.place.settings.stack} --apply"
            )
        else:
            yield check.ready(subject)

    return find


def secrets(look: Look, check: Check) -> Iterator[Row]:
    """Look whether each secret holds a key that can be one. No value is ever printed."""
    place = look.place
    client = place.client("secretsmanager")
    for purpose, name in accounts.secret_names(place.settings).items():
        fix = f".venv/bin/python -m bootstrap --stack {place.settings.stack} --apply --put-key {purpose}=FILE"
        value = secret_value(client, name) if secret_exists(client, name) else None
        if value is None:
            yield check.missing(f"secret {name} is empty", fix, name=purpose)
        elif fault := key_fault(value, pem=purpose != "ui"):
            yield check.missing(f"secret {name} {fault}", fix, name=purpose)
        else:
            yield check.ready(f"secret {name} is filled", name=purpose)


def key_fault(value: str, *, pem: bool) -> str:
    """Say what is wrong with a secret's value, without a word of it; "" when nothing is."""
    if not pem:
        return "" if len(value.split()) == 1 and "PRIVATE KEY" not in value else "holds no client secret of an OAuth App"
    try:
        key = load_pem_private_key(value.encode(), password=None)
    except (TypeError, ValueError):
        return "holds no private key that can be read"
    return "" if isinstance(key, RSAPrivateKey) else "holds a key that is not RSA, which GitHub's Apps have"


def delegation(look: Look, check: Check) -> Iterator[Row]:
    """Look whether public DNS names the zone's own servers."""
    place, zone = look.place, look.place.settings.environment.zone
    found = find_zone(place)
    if found is None:
        yield check.missing(
            f"zone {zone} is not made yet", f".venv/bin/python -m bootstrap --stack {place.settings.stack} --apply"
        )
        return
    ours = {
        each.rstrip(".").lower() for each in place.client("route53").get_hosted_zone(Id=found)["DelegationSet"]["NameServers"]
    }
    named = {each.rstrip(".").lower() for each in look.outside.name_servers(zone)}
    records = ", ".join(f"{zone}. NS {each}." for each in sorted(ours))
    if named == ours:
        yield check.ready(f"zone {zone} is delegated to this account's name servers")
    elif not named:
        yield check.missing(f"zone {zone} is not delegated", f"Put these records into the parent zone: {records}")
    else:
        yield check.missing(
            f"zone {zone} is served by {', '.join(sorted(named))}, not by this account",
            "First copy every record that is in use there into the new zone (docs/adopt.md). Then put these into the parent: "
            f"{records}",
        )


def connection(look: Look, check: Check) -> Iterator[Row]:
    """Look whether CodePipeline may read from GitHub."""
    place = look.place
    assert place.settings.builds is not None  # noqa: S101 — only hosting stacks are checked, and the settings hold them to it
    arn, key = place.settings.builds.connection_arn, f"slipway:builds.connectionArn in Pulumi.{place.settings.stack}.yaml"
    create = f"aws codeconnections create-connection --provider-type GitHub --connection-name github --region {place.region}"
    if not is_connected(arn):
        yield check.missing("the connection to GitHub is not set", f"{create}, finish it in the console, and set {key}")
        return
    at, owner = arn.split(":")[3:5]
    if (at, owner) != (place.region, place.account):
        yield check.missing(
            f"the connection {arn} is of account {owner} in {at}", f"{create}, finish it in the console, and set {key}"
        )
        return
    try:
        status = place.client("codeconnections").get_connection(ConnectionArn=arn)["Connection"]["ConnectionStatus"]
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        yield check.missing(f"the connection {arn} does not exist", f"{create}, finish it in the console, and correct {key}")
        return
    if status == "AVAILABLE":
        yield check.ready(f"the connection to GitHub is {status}")
    else:
        yield check.missing(
            f"the connection to GitHub is {status}",
            "Console, Developer Tools, Settings, Connections, Update pending connection: "
            f"https://{place.region}.console.aws.amazon.com/codesuite/settings/connections",
        )


def slack(look: Look, check: Check) -> Iterator[Row]:
    """Look whether a person has authorized the Slack workspace in this account."""
    wanted = look.place.settings.alarms.slack
    assert wanted is not None  # noqa: S101 — only checked where it is set
    client = look.place.session.client("chatbot", region_name=_CHATBOT_REGION)
    if wanted.workspace_id in {each["SlackTeamId"] for each in client.describe_slack_workspaces()["SlackWorkspaces"]}:
        yield check.ready(f"Slack workspace {wanted.workspace_id} is authorized")
    else:
        yield check.missing(
            f"Slack workspace {wanted.workspace_id} is not authorized in this account",
            "Console, Amazon Q Developer in chat applications, Configure new client, Slack, Allow",
        )


# Quotas


def quota(look: Look, check: Check) -> Iterator[Row]:
    """Compare the account's quotas with what the stack takes."""
    for wanted in quotas(look.place.settings, look.services):
        yield _enough(look, check, wanted)
    for each in machines(look.place.settings):
        types = sorted({one for group in each.nodes for one in group})
        vcpus = each.vcpus(_vcpus(look.place, types))
        wanted = Quota(
            service="ec2",
            code=each.code,
            name=each.name,
            needed=vcpus,
            counted="vcpus",
            note=f"vCPUs of {sum(each.nodes.values())} nodes, the most that the stack may have",
        )
        yield _enough(look, check, wanted)


def _enough(look: Look, check: Check, wanted: Quota) -> Row:
    place = look.place
    allowed = _quota_value(place, wanted)
    # What stands is the stack's own once it is up: before, all of it is somebody else's.
    used = 0 if look.up or not wanted.counted else COUNTERS[wanted.counted](place, wanted)
    name = f"{wanted.service}/{wanted.code}"
    note = f" ({wanted.note})" if wanted.note else ""
    text = f"{wanted.name}: {wanted.needed} needed, {used} in use, the quota is {allowed:g}{note}"
    if used + wanted.needed <= allowed:
        return check.ready(text, name=name)
    return check.missing(
        text,
        f"aws service-quotas request-service-quota-increase --service-code {wanted.service} --quota-code {wanted.code} "
        f"--desired-value {used + wanted.needed} --region {place.region}",
        name=name,
    )


def _quota_value(place: Place, wanted: Quota) -> float:
    client = place.client("service-quotas")
    asked = {"ServiceCode": wanted.service, "QuotaCode": wanted.code}
    try:
        return float(client.get_service_quota(**asked)["Quota"]["Value"])
    except ClientError as error:
        # An account that never asked for more may have no value of its own:
        # https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
        if error_code(error) != "NoSuchResourceException":
            raise
    return float(client.get_aws_default_service_quota(**asked)["Quota"]["Value"])


def _all(client: Any, operation: str, key: str, **arguments: Any) -> list[Any]:  # noqa: ANN401 — a boto3 client and its answers
    return [each for page in client.get_paginator(operation).paginate(**arguments) for each in page[key]]


def _vcpus(place: Place, types: Sequence[str]) -> Mapping[str, int]:
    found = _all(place.client("ec2"), "describe_instance_types", "InstanceTypes", InstanceTypes=list(types))
    return {each["InstanceType"]: int(each["VCpuInfo"]["DefaultVCpus"]) for each in found}


def _running_vcpus(place: Place, wanted: Quota) -> int:
    reservations = _all(
        place.client("ec2"),
        "describe_instances",
        "Reservations",
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}],
    )
    on_demand = [each for one in reservations for each in one["Instances"] if "InstanceLifecycle" not in each]
    of_family = [str(each["InstanceType"]) for each in on_demand if vcpu_quota(str(each["InstanceType"]))[0] == wanted.code]
    if not of_family:
        return 0
    by_type = _vcpus(place, sorted(set(of_family)))
    return sum(by_type[each] for each in of_family)


COUNTERS: Final[Mapping[str, Callable[[Place, Quota], int]]] = {
    "vpcs": lambda place, _: len(_all(place.client("ec2"), "describe_vpcs", "Vpcs")),
    "addresses": lambda place, _: len(place.client("ec2").describe_addresses()["Addresses"]),
    "load balancers": lambda place, _: sum(
        1 for each in _all(place.client("elbv2"), "describe_load_balancers", "LoadBalancers") if each["Type"] == "application"
    ),
    "target groups": lambda place, _: len(_all(place.client("elbv2"), "describe_target_groups", "TargetGroups")),
    "clusters": lambda place, _: len(_all(place.client("eks"), "list_clusters", "clusters")),
    "rules": lambda place, _: len(_all(place.client("events"), "list_rules", "Rules")),
    "vcpus": _running_vcpus,
}


# The clusters' API


def api(look: Look, check: Check) -> Iterator[Row]:
    """Compare the addresses that deployments run from with who reaches the clusters' API."""
    settings = look.place.settings
    given = list(look.runner_addresses)
    own = "" if given else look.outside.own_address()
    for colour, cluster in settings.clusters.items():
        key = f"slipway:clusters.{colour}.endpoint.allow"
        reachable = [settings.environment.cidr, *cluster.endpoint.allow]
        outside = [each for each in given or [own] if not _within(each, reachable)]
        who = ", ".join(given) or f"{own} (this machine)"
        if not outside:
            yield check.ready(f"{who} may reach the API of {colour}", name=colour)
        elif not cluster.endpoint.allow:
            yield check.missing(
                f"the API of {colour} is private, and {', '.join(outside)} is not in its VPC ({settings.environment.cidr})",
                f"Run pulumi up and the runner inside the VPC and give --runner-address its address, or set {key}. To test from "
                f"the runner: aws eks update-kubeconfig --name {naming.cluster(settings.stack, colour)} && kubectl version",
                name=colour,
            )
        else:
            yield check.missing(
                f"{', '.join(outside)} is not in {key}, so the API of {colour} refuses it",
                f"Add the address to {key} in Pulumi.{settings.stack}.yaml, or give the runner's: --runner-address ADDRESS",
                name=colour,
            )


def _within(address: str, ranges: Sequence[IPv4Network]) -> bool:
    try:
        wanted = IPv4Network(address) if "/" in address else IPv4Network(IPv4Address(address))
    except ValueError:
        return False
    return any(wanted.subnet_of(each) for each in ranges)


def is_up(place: Place) -> bool:
    """Return whether the stack's first `pulumi up` has been made: it makes the deploy role before anything else."""
    try:
        place.client("iam").get_role(RoleName=naming.role(place.settings.stack, "deploy"))
    except ClientError as error:
        if error_code(error) == "NoSuchEntity":
            return False
        raise
    return True


def aws_checks(place: Place) -> Iterator[Check]:
    """Yield the checks that this stack's account needs, after `credentials`."""
    settings, stack = place.settings, place.settings.stack
    bootstrap = f".venv/bin/python -m bootstrap --stack {stack}"

    def by_bootstrap(key: str, subject: str, part: Callable[[Place], Iterator[Any]]) -> Check:
        return Check(key=key, step=Step.ACCOUNT, subject=subject, find=made(part, subject), see=bootstrap)

    yield Check(
        key="region",
        step=Step.SETTINGS,
        subject=f"region {place.region}",
        find=region,
        see="aws account get-region-opt-status --region-name {region}",
    )
    if settings.clusters:
        yield Check(
            key="admins",
            step=Step.SETTINGS,
            subject="who administers the clusters",
            find=admins,
            see="aws sts get-caller-identity",
        )
        yield Check(
            key="api",
            step=Step.SETTINGS,
            subject="the way to the clusters' API",
            find=api,
            see="curl https://checkip.amazonaws.com, and compare with slipway:clusters.<colour>.endpoint.allow",
        )
    yield by_bootstrap("state-key", f"KMS key {accounts.STATE_KEY_ALIAS}", accounts.state_key)
    yield by_bootstrap("state-bucket", f"bucket {place.bucket}", accounts.state_bucket)
    yield by_bootstrap("oidc", f"OIDC provider {accounts.ISSUER}", accounts.oidc_provider)
    yield Check(
        key="secret",
        step=Step.ACCOUNT,
        subject="secrets that people fill",
        find=secrets,
        see="aws secretsmanager list-secrets --region {region} --query 'SecretList[].Name'",
    )
    if settings.network is not None:
        yield by_bootstrap("zone", f"hosted zone {settings.environment.zone}", accounts.hosted_zone)
        yield Check(
            key="delegation",
            step=Step.DELEGATE,
            subject=f"the delegation of {settings.environment.zone}",
            find=delegation,
            see="dig +short NS {zone}",
        )
    if settings.hosted_tracks:
        yield Check(
            key="connection",
            step=Step.CONNECT,
            subject="the connection to GitHub",
            find=connection,
            see="aws codeconnections list-connections --region {region}",
        )
    if settings.alarms.slack is not None:
        yield Check(
            key="slack",
            step=Step.OTHERS,
            subject="the Slack workspace",
            find=slack,
            see=f"aws chatbot describe-slack-workspaces --region {_CHATBOT_REGION}",
        )
    yield Check(
        key="quota",
        step=Step.ACCOUNT,
        subject="quotas",
        find=quota,
        see="aws service-quotas list-service-quotas --service-code vpc --region {region}",
    )


CREDENTIALS: Final = Check(
    key="credentials",
    step=Step.ACCOUNT,
    subject="credentials",
    find=credentials,
    see="aws sts get-caller-identity",
)
