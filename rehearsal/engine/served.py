"""All plugins that the program needs, as the broker serves them."""

from collections.abc import Mapping
from typing import Final

from rehearsal.cloud.caller import by_account
from rehearsal.engine import construct, language, provider
from rehearsal.engine.plugins import Serve

PACKAGES: Final = ("aws", "github", "kubernetes")


def plugins(
    realm: provider.Realm,
    meddler: provider.Meddler,
    clusters: construct.Kubeconfigs,
    callers: provider.Callers = by_account,
) -> Mapping[str, Serve]:
    """How each executable is served: providers by `realm`, the component of pulumi_eks by `clusters`, and the program's host."""
    return {
        **{f"pulumi-resource-{each}": provider.serve(each, realm, meddler, callers) for each in PACKAGES},
        "pulumi-resource-eks": construct.serve(clusters),
        "pulumi-language-python": language.serve,
    }


__all__ = ["PACKAGES", "plugins"]
