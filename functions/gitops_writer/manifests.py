"""Image entries in kustomize files: read one, write one, and leave everything else as people left it. Pure.

https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/
"""

import io
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, ScalarString

# A machine-written file holds one entry. ruamel.yaml parses about 100 KiB a second: one of a MiB would hold back all others.
LARGEST_CHARACTERS: Final = 64 * 1024
_BOM: Final = "\ufeff"
# The first thing below a key at the left margin, comments and blank lines between them aside: an item, or a nested key.
_BELOW: Final = r"^[^\s#-][^\r\n]*:[^\S\r\n]*(?:#[^\r\n]*)?\r?\n(?:[^\S\r\n]*(?:#[^\r\n]*)?\r?\n)*"
_FIRST_LIST: Final = re.compile(_BELOW + r"(?P<lead> *)-(?P<gap> +)\S", re.MULTILINE)
_FIRST_MAPPING: Final = re.compile(_BELOW + r"(?P<lead> +)[^\s#-]", re.MULTILINE)


# ruamel.yaml's mappings are dictionaries, but leave their types open.
_Mapping = dict[str, Any]


class ManifestError(Exception):
    """A file that cannot be read or edited until a person has mended it; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a file says of one image; None where it says nothing."""

    tag: str | None = None
    digest: str | None = None

    @property
    def empty(self) -> bool:
        """Whether no image is named."""
        return self.tag is None and self.digest is None


@lru_cache(maxsize=1024)
def read_entry(text: str, image: str) -> Entry:
    """The entry of `image` in a machine-written image component.

    An empty list is the state after scaffolding: no image has been written yet.

    Raises:
        ManifestError: there is no list, more than one entry of the name, or only others'.
    """
    _, found = _parse(text, image)
    return _entry(found)


@lru_cache(maxsize=1024)
def read_pin(text: str, image: str) -> Entry:
    """What a pin file says of `image`; empty when it pins nothing.

    Raises:
        ManifestError: it is no YAML, or holds the image twice.
    """
    document = _load(_yaml(text), text)
    return _entry(_find(document.get("images") or CommentedSeq(), image))


# A retry on a moved branch plans the same once more, and has no time to lose.
@lru_cache(maxsize=512)
def write_entry(text: str, image: str, *, tag: str, digest: str) -> str:
    """The file with tag and digest of `image`; all else, line ends, comments, order and quotes, as it was.

    `newTag` is always in double quotes: 1234567 and 12e4567 would be numbers.

    Raises:
        ManifestError: as `read_entry` does, or an anchor stands on a value that is to be written.
    """
    document, found = _parse(text, image)
    if found is None:
        found = _mapping(CommentedMap(name=image))
        images: Any = document["images"]
        images.fa.set_block_style()
        images.append(found)
    for key in ("newTag", "digest"):
        if getattr(found.get(key), "anchor", None) is not None and found[key].anchor.value:
            msg = f"{key} of image {image!r} carries an anchor, whose aliases would change with it: take the anchor away"
            raise ManifestError(msg)
    found["newTag"] = DoubleQuotedScalarString(tag)
    if found.get("digest") != digest:
        found["digest"] = _like(found.get("digest"), digest)
    return _dump(text, document)


def _mapping(found: CommentedMap) -> _Mapping:
    return cast("_Mapping", found)


def _entry(found: _Mapping | None) -> Entry:
    if found is None:
        return Entry()
    tag, digest = (found.get(key) for key in ("newTag", "digest"))
    # An unquoted tag may have been read as a number: it is no tag of ours in any case.
    return Entry(tag=None if tag is None else str(tag), digest=None if digest is None else str(digest))


def _like(old: object, value: str) -> str:
    return type(old)(value) if isinstance(old, ScalarString) else value


def _yaml(text: str) -> YAML:
    """A round-trip parser that will write in the manner of `text`."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 1 << 20  # never fold a line
    yaml.explicit_start = bool(re.search(r"^---(\s|$)", text, re.MULTILINE))
    yaml.explicit_end = bool(re.search(r"^\.\.\.\s*$", text, re.MULTILINE))
    # ruamel.yaml has one indentation a file for lists and one for mappings: the first of each stands for all.
    dash = _FIRST_LIST.search(text)
    lead, gap = (len(dash["lead"]), len(dash["gap"])) if dash else (2, 1)
    nested = _FIRST_MAPPING.search(text)
    mapping = len(nested["lead"]) if nested else 2
    yaml.indent(mapping=mapping, sequence=lead + 1 + gap, offset=lead)  # pyright: ignore[reportUnknownMemberType] — untyped
    return yaml


@contextmanager
def _understood() -> Generator[None]:
    """Blame the file for whatever ruamel.yaml stumbles over: it raises much beside its own errors, down to IndexError."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 — one file must not hold back all others, whatever it is
        said = " ".join(str(error).split())[:300] or type(error).__name__
        msg = f"the file is no YAML that can be edited: {said}. Restore it from Git's history"
        raise ManifestError(msg) from None


def _load(yaml: YAML, text: str) -> _Mapping:
    if len(text) > LARGEST_CHARACTERS:
        msg = f"the file holds {len(text)} characters: at most {LARGEST_CHARACTERS} are allowed. Move what is no image entry away"
        raise ManifestError(msg)
    with _understood():
        document: object = yaml.load(text.removeprefix(_BOM))  # pyright: ignore[reportUnknownMemberType] — untyped
    if not isinstance(document, CommentedMap):
        msg = "the file is no YAML mapping: a kustomize Component is needed. Restore it from Git's history"
        raise ManifestError(msg)
    return _mapping(document)


def _parse(text: str, image: str) -> tuple[_Mapping, _Mapping | None]:
    """The document, and the entry of `image`: None while the list is empty."""
    document = _load(_yaml(text), text)
    images: object = document.get("images")
    if not isinstance(images, CommentedSeq):
        msg = f"the file has no list `images`: an entry of {image!r} is needed. Restore it, or write `images: []` to start anew"
        raise ManifestError(msg)
    found = _find(images, image)
    if found is None and images:
        msg = f"`images` has no entry of {image!r}, but others: restore it, or write `images: []` to start anew"
        raise ManifestError(msg)
    return document, found


def _find(images: Any, image: str) -> _Mapping | None:  # noqa: ANN401 — whatever the file holds
    if not isinstance(images, CommentedSeq) or not all(
        isinstance(each, CommentedMap) for each in cast("Iterable[object]", images)
    ):
        msg = "`images` is no list of mappings: each entry needs a name. Correct it"
        raise ManifestError(msg)
    entries = cast("list[_Mapping]", images)
    found = [each for each in entries if each.get("name") == image]
    if len(found) > 1:
        msg = f"`images` has {len(found)} entries of {image!r}: kustomize would take the last. Keep one"
        raise ManifestError(msg)
    return found[0] if found else None


def _dump(text: str, document: _Mapping) -> str:
    out = io.StringIO()
    with _understood():
        _yaml(text).dump(document, out)  # pyright: ignore[reportUnknownMemberType] — untyped
    written = out.getvalue()
    if not text.endswith("\n"):
        written = written.rstrip("\n")
    if "\r\n" in text:
        written = written.replace("\r\n", "\n").replace("\n", "\r\n")
    return (_BOM if text.startswith(_BOM) else "") + written
