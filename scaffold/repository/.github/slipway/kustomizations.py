"""What a kustomization may load: files and folders of its own tree. It is looked at before kustomize is.

kustomize fetches what is not there by HTTP or Git, and runs Helm and generators where it is let. Rendering other people's
manifests must reach no network and run nothing of theirs, so only what is listed here is rendered.
https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/

Needs PyYAML, which requirements.txt names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

import yaml

NAMES: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_FOLDERS: Final = ("resources", "components", "bases")
_TEXTS: Final = frozenset(
    {
        "apiversion",
        "buildmetadata",
        "commonannotations",
        "commonlabels",
        "generatoroptions",
        "images",
        "kind",
        "labels",
        "metadata",
        "nameprefix",
        "namespace",
        "namesuffix",
        "replicas",
        "sortoptions",
        "vars",
    }
)
"""Fields that load nothing, in lower case: kustomize reads a field's name in any case (Go's encoding/json)."""
_LISTS: Final = frozenset({*_FOLDERS, "configurations", "crds"})
"""Lists of paths."""
_NESTED: Final = {
    "configmapgenerator": ("env", "envs", "files"),
    "openapi": ("path",),
    "patches": ("path",),
    "patchesjson6902": ("path",),
    "replacements": ("path",),
    "secretgenerator": ("env", "envs", "files"),
}
"""Fields whose entries may name paths, and in which of their own fields."""
_INLINE: Final = "patchesstrategicmerge"
"""A list of paths, or of patches as text."""
_PATH: Final = re.compile(r"[A-Za-z0-9._/+-]+", re.ASCII)
# kustomize takes it for a repository even where a folder of that name is there (kustomize: api/internal/git/repospec.go).
_HOST: Final = re.compile(r"(\.\./|\./)*github\.com", re.IGNORECASE)


class _Loader(yaml.CSafeLoader):
    """Takes no key twice: readers differ in which of the two counts."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT002 — PyYAML's own
        keys = [str(key.value).lower() for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := {key for key in keys if keys.count(key) > 1}:
            msg = f"{', '.join(sorted(twice))} is there twice"
            raise yaml.constructor.ConstructorError(None, None, msg, node.start_mark)
        return super().construct_mapping(node, deep=deep)


def fault(root: Path, overlay: str) -> str:
    """Why an overlay must not be rendered; "" where it may be.

    Args:
        root: Folder of the exported tree, which holds no links.
        overlay: Folder below it.
    """
    return next(_faults(root, overlay), "")


def _faults(root: Path, overlay: str) -> Iterator[str]:
    waiting, seen = [PurePosixPath(overlay)], set[PurePosixPath]()
    while waiting:
        folder = waiting.pop()
        if folder in seen:
            continue
        seen.add(folder)
        for name in NAMES:
            place = root / folder / name
            if place.is_file():
                yield from (f"{folder / name}: {each}" for each in _of_file(root, folder, place, waiting))


def _of_file(root: Path, folder: PurePosixPath, place: Path, waiting: list[PurePosixPath]) -> Iterator[str]:
    try:
        documents = list(yaml.load_all(place.read_text(encoding="utf-8"), _Loader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield f"it cannot be read: {error}"
        return
    for given in documents:
        if not isinstance(given, Mapping):
            # kustomize says so itself.
            continue
        fields = cast("Mapping[object, Any]", given)
        for key, value in fields.items():
            field = str(key).lower()
            if field in _TEXTS:
                continue
            if field not in _LISTS and field not in _NESTED and field != _INLINE:
                yield (
                    f"the field {key} may load or run what is not in this repository, or is unknown. Only fields that stay "
                    "within it are rendered; write the resources that it would make into files."
                )
                continue
            for path in _paths(field, value):
                found = _resolved(folder, path)
                if found is None:
                    yield (
                        f"{key} names {path!r}: only a relative path of a file or folder of this repository is rendered, in "
                        "letters, digits and . _ - + /. Nothing is fetched. Put what it names into the repository."
                    )
                elif (root / found).is_dir():
                    waiting.append(found)


def _paths(field: str, value: object) -> Iterator[str]:
    entries = cast("Sequence[object]", value if isinstance(value, list) else [value])
    for entry in entries:
        if isinstance(entry, Mapping):
            inner = cast("Mapping[object, Any]", entry)
            for key, each in inner.items():
                if str(key).lower() in _NESTED.get(field, ()):
                    # A generator's file may have a key before it: `key=path`.
                    names = cast("Sequence[object]", each if isinstance(each, list) else [each])
                    yield from (str(name).rpartition("=")[2] for name in names if name is not None)
        elif entry is not None and not (field == _INLINE and "\n" in str(entry)):
            yield str(entry)


def _resolved(folder: PurePosixPath, path: str) -> PurePosixPath | None:
    """Where a path leads within the tree, whether or not something is there; None where it leads elsewhere, or may."""
    if not _PATH.fullmatch(path) or path.startswith("/") or "//" in path or _HOST.match(path):
        return None
    parts: list[str] = list(folder.parts)
    for part in PurePosixPath(path).parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part != ".":
            parts.append(part)
    return PurePosixPath(*parts)
