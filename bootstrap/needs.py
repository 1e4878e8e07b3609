"""Computes what a stack needs of its account's quotas. Pure: no AWS, no engine.

Quota codes are those of Service Quotas, as the endpoints page of each service links them:
https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from components.catalogue import Declaration
from components.network import ZONES
from components.settings import Settings

# https://docs.aws.amazon.com/codebuild/latest/userguide/builds-working.html: builds above the quota wait in a queue that holds
# five times the quota; the next one fails.
_RUNNING_AND_QUEUED: Final = 6
# https://docs.aws.amazon.com/codebuild/latest/userguide/limits.html: a quota of its own for each machine type
_BUILD_QUOTAS: Final[Mapping[str, tuple[str, str]]] = {
    "arm64": ("L-5ED1D25B", "Concurrently running builds for ARM/Small environment"),
    "amd64": ("L-9D07B6EF", "Concurrently running builds for Linux/Small environment"),
}
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html: vCPUs of On-Demand instances by family
_STANDARD: Final = "L-1216C47A"
_VCPU_QUOTAS: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys("acdhimrtz", (_STANDARD, "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances")),
    "f": ("L-74FC7D96", "Running On-Demand F instances"),
    "g": ("L-DB2E81BA", "Running On-Demand G and VT instances"),
    "vt": ("L-DB2E81BA", "Running On-Demand G and VT instances"),
    "inf": ("L-1945791B", "Running On-Demand Inf instances"),
    "p": ("L-417A185B", "Running On-Demand P instances"),
    "trn": ("L-2C3B7624", "Running On-Demand Trn instances"),
    "x": ("L-7295265B", "Running On-Demand X instances"),
}


@dataclass(frozen=True, kw_only=True)
class Quota:
    """A quota, and how much of it the stack takes.

    Attributes:
        service: Service code, such as `ec2`.
        code: Quota code, such as `L-1216C47A`.
        name: The quota's name at AWS.
        needed: How much the stack takes when all of it stands.
        counted: What the account has already; one of the counters of bootstrap/checks_aws.py, "" where nothing is counted.
        note: What happens when it is short.
    """

    service: str
    code: str
    name: str
    needed: int
    counted: str = ""
    note: str = ""


def quotas(settings: Settings, services: Mapping[str, Declaration]) -> Iterator[Quota]:
    """Yield every quota that the stack counts against, except that of its machines.

    Args:
        settings: The stack's settings.
        services: Every declared service by name.
    """
    colours = len(settings.clusters)
    if settings.network is not None:
        public = sum(1 for each in services.values() if each.public)
        addresses = ZONES if settings.network.nat_per_zone else 1
        yield Quota(service="vpc", code="L-F678F1CE", name="VPCs per Region", needed=1, counted="vpcs")
        yield Quota(service="ec2", code="L-0263D0A3", name="EC2-VPC Elastic IPs", needed=addresses, counted="addresses")
        yield Quota(
            service="elasticloadbalancing",
            code="L-53DA6B97",
            name="Application Load Balancers per Region",
            needed=1,
            counted="load balancers",
        )
        yield Quota(
            service="elasticloadbalancing",
            code="L-B22855CB",
            name="Target Groups per Region",
            # One for each public service, Argo CD's webhook and its UI in each colour.
            needed=colours * (public + 1 + (1 if settings.argocd.ui else 0)),
            counted="target groups",
        )
        yield Quota(service="eks", code="L-1194D53C", name="Clusters", needed=colours, counted="clusters")
    started = len(services) * len(settings.hosted_tracks)
    if started:
        yield Quota(service="events", code="L-244521F2", name="Number of rules", needed=started, counted="rules")
    for architecture, tracks in sorted(Counter(each.architecture for each in settings.hosted_tracks.values()).items()):
        code, name = _BUILD_QUOTAS[architecture]
        builds = len(services) * tracks
        yield Quota(
            service="codebuild",
            code=code,
            name=name,
            needed=math.ceil(builds / _RUNNING_AND_QUEUED) or 1,
            note=f"{builds} pipelines start at once when they are made; more builds than six times the quota fail",
        )


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The most machines that may run at once, of the family of one quota.

    Attributes:
        code: Quota code of their vCPUs.
        name: The quota's name at AWS.
        nodes: Most nodes by list of instance types: the largest type counts, because any of them may be taken.
    """

    code: str
    name: str
    nodes: Mapping[tuple[str, ...], int]

    def vcpus(self, by_type: Mapping[str, int]) -> int:
        """Return the vCPUs of all nodes.

        Args:
            by_type: vCPUs of each instance type.
        """
        return sum(count * max(by_type[each] for each in types) for types, count in self.nodes.items())


def machines(settings: Settings) -> Iterator[Machines]:
    """Yield the clusters' machines, by quota."""
    found: dict[tuple[str, str], dict[tuple[str, ...], int]] = {}
    for cluster in settings.clusters.values():
        types = cluster.nodes.instance_types
        nodes = found.setdefault(vcpu_quota(types[0]), {})
        nodes[types] = nodes.get(types, 0) + cluster.nodes.maximum
    for (code, name), nodes in sorted(found.items()):
        yield Machines(code=code, name=name, nodes=nodes)


def vcpu_quota(instance_type: str) -> tuple[str, str]:
    """Return code and name of the quota that an instance type's vCPUs count against; the standard one where unknown."""
    family = re.match(r"[a-z]+", instance_type)
    letters = family[0] if family else ""
    return _VCPU_QUOTAS.get(letters) or _VCPU_QUOTAS.get(letters[:1]) or _VCPU_QUOTAS["m"]
