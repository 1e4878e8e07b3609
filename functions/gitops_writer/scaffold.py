"""A new service's files, from the templates in scaffold/apps. Pure but for reading those once.

The templates are whole YAML files with `$name` where a value goes (string.Template), in layers that a service takes as it is
declared; of two layers with the same file the later one wins:

    every                       what all services have
    served or worker            with a port, or without
    public or internal          of served ones: with a host, or without
    smoke                       of served ones: with a test after each sync
    first or later              an overlay with an image component of its own, or one that takes the base's image
    released                    of later ones: an environment that gets its images by release

A folder `overlay` becomes `overlays/<environment>`, once for each.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Template

from .catalogue import Service
from .settings import Layout


def _templates() -> Path:
    """In the archive the templates lie inside the package, in the tree at the top."""
    here = Path(__file__).resolve().parent
    packaged = here / "scaffold" / "apps"
    return packaged if packaged.is_dir() else here.parents[1] / "scaffold" / "apps"


@cache
def _layer(name: str) -> Mapping[str, Template]:
    root = _templates() / name
    found = {
        path.relative_to(root).as_posix(): Template(path.read_text(encoding="utf-8"))
        for path in sorted(root.rglob("*.*"))
        if path.is_file()
    }
    if not found:
        msg = f"scaffold/apps/{name} holds no file: the archive was built from an incomplete checkout. Run `make package` again"
        raise FileNotFoundError(msg)
    return found


def files(service: Service, layout: Layout) -> Mapping[str, str]:
    """The files of `service` by path in the GitOps repository."""
    layers = ["every", *(("served", "public" if service.hosts else "internal") if service.port else ("worker",))]
    if service.smoke_test:
        layers.append("smoke")
    common = {"service": service.name, "namespace": service.namespace, "port": service.port, "health_path": service.health_path}
    made: dict[str, str] = {}
    for environment, image in service.images.items():
        values = {**common, "environment": environment, "image": image, "host": service.hosts.get(environment, "")}
        overlay = ["first"] if environment == layout.own_overlay else ["later"]
        if environment in service.released:
            overlay.append("released")
        for layer in (*layers, *overlay):
            for path, template in _layer(layer).items():
                placed = f"overlays/{environment}/{path.removeprefix('overlay/')}" if path.startswith("overlay/") else path
                made[f"{layout.directory(service.name)}/{placed}"] = template.substitute(values)
    return made
