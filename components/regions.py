"""AWS regions: the ones that Slipway supports, their availability zones, and what each lacks.

Read on 2026-12-01. A region's zones are a contract: subnets carry their names. The table is therefore data, and the program
compares it with the account instead of taking whatever AWS lists first.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

# Default zones by region, as letters; never reorder an entry, and never put a letter before another one.
# https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-availability-zones.html and
# https://docs.aws.amazon.com/global-infrastructure/latest/regions/az-ids.html: accounts from before November 2025 have their own
# letters in the oldest regions, so the defaults of those may not fit; `network.zones` overrides them.
ZONES: Final[Mapping[str, str]] = {
    "af-south-1": "abc",
    "ap-east-1": "abc",
    "ap-east-2": "abc",
    "ap-northeast-1": "acd",
    "ap-northeast-2": "abc",
    "ap-northeast-3": "abc",
    "ap-south-1": "abc",
    "ap-south-2": "abc",
    "ap-southeast-1": "abc",
    "ap-southeast-2": "abc",
    "ap-southeast-3": "abc",
    "ap-southeast-4": "abc",
    "ap-southeast-5": "abc",
    "ap-southeast-6": "abc",
    "ap-southeast-7": "abc",
    "ca-central-1": "abd",
    "ca-west-1": "abc",
    "eu-central-1": "abc",
    "eu-central-2": "abc",
    "eu-north-1": "abc",
    "eu-south-1": "abc",
    "eu-south-2": "abc",
    "eu-west-1": "abc",
    "eu-west-2": "abc",
    "eu-west-3": "abc",
    "il-central-1": "abc",
    "me-central-1": "abc",
    "me-south-1": "abc",
    "mx-central-1": "abc",
    "sa-east-1": "abc",
    "us-east-1": "abc",
    "us-east-2": "abc",
    # An account has two of a, b and c here.
    "us-west-1": "ac",
    "us-west-2": "abc",
}

# EKS places no control plane there. https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html
REFUSED_BY_EKS: Final = frozenset({"use1-az3", "usw1-az2", "cac1-az3"})
# EKS needs subnets in two zones at least (same page); the address plan has room for three.
FEWEST_ZONES: Final = 2
MOST_ZONES: Final = 3

# Regions without CodePipeline or CodeBuild, as botocore's endpoints.json lists them (1.43.63).
_NO_PIPELINES: Final = frozenset({"ap-east-2", "ap-southeast-7", "ca-west-1", "mx-central-1"})
# Regions where CodePipeline cannot use a connection to GitHub.
# https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodestarConnectionSource.html
_NO_CONNECTIONS: Final = frozenset(
    {
        "af-south-1",
        "ap-east-1",
        "ap-northeast-3",
        "ap-south-2",
        "ap-southeast-3",
        "ap-southeast-4",
        "eu-central-2",
        "eu-south-2",
        "il-central-1",
        "me-central-1",
        "me-south-1",
    }
)
# https://docs.aws.amazon.com/general/latest/gr/rande.html and botocore's endpoints.json: what a region's name begins with.
_PARTITIONS: Final[Mapping[str, str]] = {
    "cn-": "aws-cn (China)",
    "us-gov-": "aws-us-gov (GovCloud)",
    "us-iso": "aws-iso (isolated regions)",
    "eu-iso": "aws-iso (isolated regions)",
    "eusc-": "aws-eusc (European Sovereign Cloud)",
}
_ZONE: Final = re.compile(r"(?P<region>[a-z]{2,4}(?:-[a-z]+)+-\d)[a-z]")


def region_fault(region: str) -> str | None:
    """Say why Slipway cannot run in `region`, or None."""
    for prefix, partition in _PARTITIONS.items():
        if region.startswith(prefix):
            return (
                f"this region belongs to the partition {partition}, where ARNs and endpoints differ. Slipway supports the "
                "partition aws only, so choose one of its regions, such as eu-central-1"
            )
    if region not in ZONES:
        near = difflib.get_close_matches(region.strip().lower(), ZONES, 1)
        if near:
            return f"Slipway knows no such region. Did you mean {near[0]}?"
        return (
            "Slipway knows no such region. Write its code, such as eu-central-1; for a region newer than 2026-12, update Slipway"
        )
    return None


def builds_fault(region: str) -> str | None:
    """Say which service `region` lacks for building images, or None."""
    if region in _NO_PIPELINES:
        return "AWS CodePipeline or AWS CodeBuild"
    if region in _NO_CONNECTIONS:
        return "AWS CodeConnections, by which CodePipeline reads from GitHub"
    return None


def default_zones(region: str) -> tuple[str, ...]:
    """Return the zones that a network in `region` spans unless its settings name others."""
    return tuple(f"{region}{letter}" for letter in ZONES[region])


def is_zone_of(region: str, zone: str) -> bool:
    """Return whether `zone` has the form of an availability zone of `region`; local zones have another form."""
    found = _ZONE.fullmatch(zone)
    return bool(found and found["region"] == region)


def usable_zones(offered: Mapping[str, str]) -> list[str]:
    """Return the zones of an account that EKS accepts.

    Args:
        offered: Zone id by zone name, as the account sees them.
    """
    return sorted(name for name, id_ in offered.items() if id_ not in REFUSED_BY_EKS)


def zone_faults(zones: Sequence[str], offered: Mapping[str, str]) -> Iterable[str]:
    """Say for each zone that this account cannot use why."""
    for zone in zones:
        if zone not in offered:
            yield f"{zone} is not offered to it"
        elif offered[zone] in REFUSED_BY_EKS:
            yield f"{zone} is {offered[zone]}, where EKS creates no clusters"
