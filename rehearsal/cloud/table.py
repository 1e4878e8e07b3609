"""The one table from Pulumi resource type to emulator call, and the list of what no emulator does."""

from collections.abc import Mapping
from typing import Final

from rehearsal.cloud.row import Rows
from rehearsal.cloud.rows import builds, edge, eks, flow, github, identity, kubernetes, network

TABLE: Final[Rows] = {
    **identity.ROWS,
    **flow.ROWS,
    **builds.ROWS,
    **edge.ROWS,
    **network.ROWS,
    **github.ROWS,
    **eks.ROWS,
    # And any other kind: rows.kubernetes.row_of.
    **kubernetes.ROWS,
}

# By what a type token begins with. These are answered by `Imagined` and stand in the report with their reason.
NOT_EMULATED: Final[Mapping[str, str]] = {
    "aws:eks/": "no emulator runs nodes: add-ons, node groups and pod identities need a cluster that does",
    "eks:": "no emulator runs a Kubernetes control plane",
    "github:": "no Git host was given to stand in for GitHub",
    "kubernetes:": "no emulator runs a Kubernetes control plane; what Argo CD would apply is rendered instead",
    "pulumi:providers:": "configures a plugin of the engine, and no engine runs",
}


def why_not_emulated(type_: str) -> str | None:
    """Why a resource type is not realised; None if nothing says so."""
    return next((reason for prefix, reason in NOT_EMULATED.items() if type_.startswith(prefix)), None)


__all__ = ["NOT_EMULATED", "TABLE", "why_not_emulated"]
