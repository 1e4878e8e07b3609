"""What every service stands on: handed to each `Service` call in `services.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from components.argocd import ArgoCD
from components.catalogue import Catalogue
from components.edge import Edge
from components.gitops import check_scaffold
from components.image_hook import ImageHook, check_archive
from components.pipeline import Builds
from components.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Platform:
    """One environment, ready for services.

    Attributes:
        settings: The environment's settings.
        catalogue: The services that `services.py` declares.
        builds: What all pipelines share; None where no track is hosted.
        hooks: Image hook by hosted track.
        edge: Load balancer and names; None in a tooling stack.
        argocds: Argo CD by colour.
        draft: Whether services are only being read: nothing is registered.
    """

    settings: Settings
    catalogue: Catalogue
    builds: Builds | None = None
    hooks: Mapping[str, ImageHook] = field(default_factory=dict[str, ImageHook])
    edge: Edge | None = None
    argocds: Mapping[str, ArgoCD] = field(default_factory=dict[str, ArgoCD])
    draft: bool = False


def read_catalogue(services: Callable[[Platform], None], settings: Settings) -> Catalogue:
    """Read `services` without registering anything, and check it as a whole.

    Args:
        services: The function of services.py: it calls `Service` and nothing that registers a resource of its own.
        settings: The environment's settings.

    Raises:
        CatalogueError: a service, or all together, would be refused by AWS, DNS, GitHub or Kubernetes.
        ArchiveMissingError: a track is hosted here and the writer function has not been packaged.
        FileNotFoundError: the GitOps repository is declared here and its first files are missing.
    """
    check_archive(settings)
    check_scaffold(settings)
    catalogue = Catalogue(settings=settings)
    services(Platform(settings=settings, catalogue=catalogue, draft=True))
    catalogue.check()
    return catalogue
