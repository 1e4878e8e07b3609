"""Kubernetes versions that EKS offers, with the ends of their support. Read on 2026-12-01.

https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Support:
    """When EKS stops supporting a version; None where its page names no day yet.

    Attributes:
        standard: End of standard support. After it AWS charges six times as much for the cluster.
        extended: End of extended support. After it AWS upgrades the cluster.
    """

    standard: date | None
    extended: date | None


KUBERNETES: Final[Mapping[str, Support]] = {
    "1.32": Support(standard=date(2026, 3, 23), extended=date(2027, 3, 23)),
    "1.33": Support(standard=date(2026, 7, 29), extended=date(2027, 7, 29)),
    "1.34": Support(standard=date(2026, 12, 2), extended=date(2027, 12, 2)),
    "1.35": Support(standard=date(2027, 3, 27), extended=date(2028, 3, 27)),
    "1.36": Support(standard=None, extended=None),
}
# The end of the last version that left extended support.
_ENDED: Final = ("1.31", date(2026, 11, 26))
_MINOR: Final = re.compile(r"1\.(0|[1-9]\d{0,2})")


def version_fault(version: str) -> str | None:
    """Say why a cluster cannot have Kubernetes `version`, or None. The clock has no part in it: the table decides."""
    if version in KUBERNETES:
        return None
    known = f"{', '.join(KUBERNETES)}"
    found = _MINOR.fullmatch(version)
    if found is None:
        return f'it must be a Kubernetes minor version that EKS offers ({known}). Write it in quotes, such as "1.35"'
    minor, last = int(found[1]), int(_ENDED[0].split(".")[1])
    if minor <= last:
        return f"EKS no longer supports this version (support for {_ENDED[0]} ended on {_ENDED[1]}). Choose one of {known}"
    return f"this version of Slipway knows EKS with Kubernetes {known}. Choose one of them, or update Slipway"
