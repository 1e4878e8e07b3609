"""Compares the settings with what AWS knows: the caller, zones, instance types and roles. One invoke each, before any resource.

What the caller may not ask is not checked; AWS then says it later.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeVar

import pulumi
import pulumi_aws as aws

from components import naming, regions
from components.settings.files import SettingsError, file_name
from components.settings.model import Settings

Answer = TypeVar("Answer")

# Texts by which AWS and its provider refuse: github.com/pulumi/pulumi-aws (provider/provider.go, validateCredentials) over
# github.com/hashicorp/aws-sdk-go-base.
_OTHER_ACCOUNT: Final = re.compile(
    r"AWS account ID not allowed: ?(\d{12})|account (\d{12}) is not allowed|Account ID not allowed: ?(\d{12})", re.IGNORECASE
)
_EXPIRED: Final = re.compile(
    r"Expired|InvalidClientTokenId|InvalidAccessKeyId|UnrecognizedClient|SignatureDoesNotMatch|SSO session", re.IGNORECASE
)
_NONE: Final = re.compile(
    r"no valid credential|NoCredential|failed to refresh cached credentials|unable to validate AWS credentials", re.IGNORECASE
)
_UNREACHABLE: Final = re.compile(
    r"dial tcp|no such host|i/o timeout|connection refused|RequestTimeout|deadline exceeded|TLS handshake", re.IGNORECASE
)
_DENIED: Final = re.compile(r"AccessDenied|UnauthorizedOperation|not authorized", re.IGNORECASE)
_ABSENT: Final = re.compile(r"NoSuchEntity|couldn't find resource|empty result", re.IGNORECASE)
_ASSUMED: Final = re.compile(r"arn:aws[a-z-]*:sts::(?P<account>\d{12}):assumed-role/(?P<role>[^/]+)/")


def check(settings: Settings) -> None:
    """Ask AWS what the settings claim.

    Raises:
        SettingsError: with one line for each claim that is not true.
    """
    caller = _caller(settings)
    faults: list[str] = []
    if settings.clusters:
        faults += _caller_faults(settings, caller)
        faults += _zone_faults(settings)
        faults += _machine_faults(settings)
        faults += _admin_faults(settings)
    if faults:
        raise SettingsError("\n".join(faults))


def _caller(settings: Settings) -> str:
    """Return the ARN of the caller, who is in the settings' account. This is before anything else."""
    stack, wanted = settings.stack, settings.environment.account
    fix = f"Use credentials of account {wanted} (AWS_PROFILE), or select the right stack."
    try:
        caller = aws.get_caller_identity()
    except Exception as error:  # noqa: BLE001 — an invoke raises what the provider said as a plain Exception
        text = str(error)
        if found := _OTHER_ACCOUNT.search(text):
            other = next(filter(None, found.groups()))
            msg = f"The AWS credentials belong to account {other}, and stack {stack} is account {wanted}. {fix}"
        elif _UNREACHABLE.search(text):
            msg = f"AWS STS in {settings.environment.region} does not answer. Check network and proxy, then repeat."
        elif _EXPIRED.search(text):
            msg = (
                f"The AWS credentials for stack {stack} are expired or invalid. Log in again (for example `aws sso login`). {fix}"
            )
        elif _NONE.search(text):
            msg = f"There are no usable AWS credentials for stack {stack}. Log in (for example `aws sso login`). {fix}"
        else:
            msg = f"AWS does not say whose credentials these are: {_one_line(text)}. {fix}"
        raise SettingsError(msg) from None
    if caller.account_id != wanted:
        whose = f"{caller.account_id} ({caller.arn})"
        msg = f"The AWS credentials belong to account {whose}, and stack {stack} is account {wanted}. {fix}"
        raise SettingsError(msg)
    return caller.arn


def _caller_faults(settings: Settings, caller: str) -> Iterable[str]:
    """Whoever creates a cluster is no administrator by that: without an entry the first `up` ends with 401."""
    found = _ASSUMED.match(caller)
    for colour, cluster in settings.clusters.items():
        key = f"slipway:clusters.{colour}.admins"
        if found is None:
            yield (
                f"{key} names roles, but the caller is {caller}, which is none: the cluster's API would refuse it. "
                "Assume one of the "
                f"admins' roles ({', '.join(cluster.admins) or 'none is named yet'})."
            )
            continue
        # STS leaves the role's path out: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
        ours = {naming.role(settings.stack, "deploy"), naming.role(settings.stack, "preview")}
        if found["role"] not in {*ours, *(arn.rsplit("/", 1)[-1] for arn in cluster.admins)}:
            named = ", ".join(arn.rsplit("/", 1)[-1] for arn in cluster.admins) or "nobody"
            yield (
                f"{key} names {named}, but the caller's role is {found['role']}: the cluster's API would refuse it "
                "after EKS has made the "
                f"cluster. Add the ARN of this role in {file_name(settings.stack)} (`aws iam get-role --role-name "
                f"{found['role']} "
                "--query Role.Arn` shows it), or use one of the admins' roles."
            )


def _zone_faults(settings: Settings) -> Iterable[str]:
    filters = [aws.GetAvailabilityZonesFilterArgs(name="zone-type", values=["availability-zone"])]
    found = _ask("ec2:DescribeAvailabilityZones", lambda: aws.get_availability_zones(state="available", filters=filters))
    if found is None:
        return
    offered = dict(zip(found.names, found.zone_ids, strict=True))
    faults = list(regions.zone_faults(settings.zones, offered))
    if not faults:
        return
    usable = regions.usable_zones(offered)
    # Those that fit stay in their places: a live network must not be renumbered.
    kept = [each for each in settings.zones if each in usable]
    proposal = [*kept, *(each for each in usable if each not in kept)][: regions.MOST_ZONES]
    given = settings.network.zones if settings.network else None
    what = f"is [{', '.join(given)}]" if given else f"is not set, and its default is [{', '.join(settings.zones)}]"
    fix = f"Write [{', '.join(sorted(proposal))}]" if len(proposal) >= regions.FEWEST_ZONES else "Choose another region"
    yield (
        f"slipway:network.zones {what}, which account {settings.environment.account} cannot use: {'; '.join(faults)}. {fix} "
        f"in {file_name(settings.stack)}."
    )


def _machine_faults(settings: Settings) -> Iterable[str]:
    """A managed node group has to find a machine in each of its zones."""
    types = sorted({each for cluster in settings.clusters.values() for each in cluster.nodes.instance_types})
    filters = [aws.ec2.GetInstanceTypeOfferingsFilterArgs(name="instance-type", values=types)]
    found = _ask(
        "ec2:DescribeInstanceTypeOfferings",
        lambda: aws.ec2.get_instance_type_offerings(location_type="availability-zone", filters=filters),
    )
    if found is None:
        return
    offered: dict[str, set[str]] = {each: set() for each in types}
    for instance_type, zone in zip(found.instance_types, found.locations, strict=True):
        offered.setdefault(instance_type, set()).add(zone)
    region = settings.environment.region
    for colour, cluster in settings.clusters.items():
        key = f"slipway:clusters.{colour}.nodes.instanceTypes"
        wanted = cluster.nodes.instance_types
        unknown = [each for each in wanted if not offered[each]]
        if unknown:
            yield (
                f"{key} names {', '.join(unknown)}, which EC2 does not offer in {region}. Correct it in "
                f"{file_name(settings.stack)} "
                f"(`aws ec2 describe-instance-type-offerings --region {region}` lists all)."
            )
            continue
        bare = [zone for zone in settings.zones if not any(zone in offered[each] for each in wanted)]
        if bare:
            yield (
                f"{key} is [{', '.join(wanted)}], and EC2 offers none of them in {', '.join(bare)}, where nodes are "
                "to run. Add a type that "
                f"is offered there, or name other zones in slipway:network.zones ({file_name(settings.stack)})."
            )


def _admin_faults(settings: Settings) -> Iterable[str]:
    """EKS takes an access entry of a role that does not exist, or of another path, and nobody gets in by it."""
    for arn in sorted({each for cluster in settings.clusters.values() for each in cluster.admins}):
        colour = next(name for name, cluster in settings.clusters.items() if arn in cluster.admins)
        key, name = f"slipway:clusters.{colour}.admins", arn.rsplit("/", 1)[-1]
        try:
            found = _ask("iam:GetRole", partial(aws.iam.get_role, name=name))
        except LookupError:
            yield f"{key} names {arn}, but the account has no role {name}. Create it, or correct the ARN."
            continue
        if found is not None and found.arn != arn:
            yield f"{key} names {arn}, but the role {name} is {found.arn}. Write that ARN, with its path."


def _ask(action: str, invoke: Callable[[], Answer]) -> Answer | None:
    """Return what AWS answers, or None, with a warning, where the caller may not ask.

    Raises:
        LookupError: it does not exist.
        SettingsError: AWS does not answer.
    """
    try:
        return invoke()
    except Exception as error:  # noqa: BLE001 — an invoke raises what the provider said as a plain Exception
        text = str(error)
        if _DENIED.search(text):
            pulumi.log.warn(f"The caller lacks {action}, so that not all settings could be compared with the account.")
            return None
        if _ABSENT.search(text):
            raise LookupError(text) from None
        msg = f"AWS does not answer {action}, with which the settings are compared with the account: {_one_line(text)}. Repeat."
        raise SettingsError(msg) from None


def _one_line(text: str) -> str:
    said = re.sub(r"^invoke of \S+ failed: (invocation of \S+ returned an error: )?", "", text)
    return " ".join(said.split())[:300].rstrip(".")
