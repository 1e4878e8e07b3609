"""What the platform is, and what each file of this repository means. Pure: no Git, no network.

Machine-written values live alone in their files, and each such file changes on one branch only:

- `apps/<service>/base/image/kustomization.yaml` or `apps/<service>/overlays/<overlay>/image/kustomization.yaml`: the
  newest image of a track, written by that track's writer on that track's branch;
- `apps/<service>/overlays/<environment>/pin/kustomization.yaml`: `images: []` unless pinned, on that environment's branch.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

TAG: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
"""A tag of the pipelines: UTC start of the build and twelve hex of the commit. It sorts by time."""

_FILE: Final = "kustomization.yaml"
_APP: Final = re.compile(r"apps/(?P<service>[^/]+)/(?P<rest>.+)")
_OVERLAY: Final = re.compile(r"overlays/(?P<environment>[^/]+)/")
_PIN: Final = re.compile(rf"overlays/(?P<environment>[^/]+)/pin/{re.escape(_FILE)}")
# The writer keeps the style of the image file, and people may have chosen one: quotes or none, block or flow.
_VALUE: Final = r"\b{key}:\s*(?P<quote>[\"']?)(?P<value>{pattern})(?P=quote)\s*(?=[,}}]|$)"
_TAG_LINE: Final = re.compile(_VALUE.format(key="newTag", pattern=r"\w[\w.-]{0,127}"), re.MULTILINE | re.ASCII)
_DIGEST_LINE: Final = re.compile(_VALUE.format(key="digest", pattern=r"sha256:[0-9a-f]{64}"), re.MULTILINE)
_COMMENT: Final = re.compile(r"(^|\s)#.*$", re.MULTILINE)
_IMAGES: Final = re.compile(r"^images:", re.MULTILINE)
_LIFTED: Final = "images: []\n"
_PINNED: Final = re.compile(
    r"images:\n"
    r"  # Pinned: (?P<reason>[^\n]+)\n"
    r"  - name: (?P<service>[^\s]+)\n"
    rf"    newTag: \"(?P<tag>{TAG.pattern})\"\n"
    r"    digest: (?P<digest>sha256:[0-9a-f]{64})\n"
)
REASON_LENGTH: Final = 300


class SlipwayError(Exception):
    """What must not or cannot be done. The text says what, what was given, what is allowed, and how to mend it."""


@dataclass(frozen=True, kw_only=True, order=True)
class Image:
    """An image as kustomize takes it. Images of one service sort by their tags, which begin with a time."""

    tag: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment.

    Attributes:
        name: Its name, and its overlay's.
        branch: The branch that Argo CD reads there.
        image_place: Folder, below a service's, of the image file that it renders.
        image_branch: The one branch on which that file is written.
        track: The track whose images it runs.
        registry: Address of what holds them, one repository for each service below it; "" where platform.json does not say.
        kubernetes: Minor versions of its clusters, such as 1.34; none where platform.json does not say.
    """

    name: str
    branch: str
    image_place: str
    image_branch: str
    track: str = ""
    registry: str = ""
    kubernetes: tuple[str, ...] = ()

    def overlay(self, service: str) -> str:
        """Folder that is rendered."""
        return f"apps/{service}/overlays/{self.name}"

    def image_file(self, service: str) -> str:
        """Machine-written file with the newest image."""
        return f"apps/{service}/{self.image_place}/{_FILE}"

    def pin_file(self, service: str) -> str:
        """Machine-written file with the pin."""
        return f"{self.overlay(service)}/pin/{_FILE}"

    def image(self, service: str, image: "Image | None") -> str:
        """What a container's `image` reads; without tag and digest before the first image."""
        address = f"{self.registry}/{service}"
        return f"{address}:{image.tag}@{image.digest}" if image else address


@dataclass(frozen=True, kw_only=True)
class Step:
    """A way from one environment to the next."""

    source: Environment
    target: Environment

    def __str__(self) -> str:
        """As people say it."""
        return f"{self.source.name} → {self.target.name}"


@dataclass(frozen=True, kw_only=True)
class Applications:
    """Where the services' own repositories are.

    Attributes:
        host: Address of the Git host.
        owner: Who owns them.
        repositories: A repository's name by service, where it is not the service's own.
    """

    host: str
    owner: str
    repositories: Mapping[str, str]

    def name(self, service: str) -> str:
        """`owner/name`, as an address has it."""
        return f"{quote(self.owner, safe='')}/{quote(self.repositories.get(service, service), safe='')}"

    def compare(self, service: str, old: str, new: str) -> str:
        """Address of the commits between two."""
        return f"{self.host}/{self.name(service)}/compare/{old}...{new}"

    def commit(self, service: str, commit: str) -> str:
        """Address of a commit."""
        return f"{self.host}/{self.name(service)}/commit/{commit}"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Environments and the ways between them.

    Attributes:
        environments: By name.
        promotions: From an environment that renders its own image file to the one where releases are tried.
        releases: From there to every environment that runs the same images.
        applications: Where the services' own repositories are; None where platform.json does not say.
        forbidden: Kinds, as `group/Kind` or a core `Kind`, that Argo CD's project refuses in every environment.
    """

    environments: Mapping[str, Environment]
    promotions: tuple[Step, ...]
    releases: tuple[Step, ...]
    applications: Applications | None = None
    forbidden: frozenset[str] = frozenset()

    def environment(self, name: str) -> Environment:
        """An environment by name.

        Raises:
            SlipwayError: there is none of that name.
        """
        if name not in self.environments:
            msg = f"environment is {name!r}: one of {', '.join(self.environments)} is allowed. Name one of them."
            raise SlipwayError(msg)
        return self.environments[name]

    def source_of(self, environment: Environment) -> Environment:
        """The environment that runs an environment's images first; itself, where the images are written on its own branch."""
        found = (step.source for step in self.releases if step.target == environment)
        return next(found, environment)

    def concerns(self, path: str, environment: Environment) -> bool:
        """Whether a change of `path` can matter to an environment, or to one further down the way.

        The overlays of environments that lie before it, or elsewhere, cannot.
        """
        overlay = overlay_of(path)
        return overlay is None or overlay not in self.environments or overlay in self._down_from(environment.name)

    def _down_from(self, name: str) -> set[str]:
        steps = (*self.promotions, *self.releases)
        found, ahead = {name}, [name]
        while ahead:
            here = ahead.pop()
            further = {step.target.name for step in steps if step.source.name == here} - found
            found |= further
            ahead += further
        return found

    def owner(self, path: str) -> str | None:
        """The one branch on which a machine-written file changes; None for any other file."""
        service = service_of(path)
        if service is None:
            return None
        for each in self.environments.values():
            if path == each.image_file(service):
                return each.image_branch
            if path == each.pin_file(service):
                return each.branch
        return None

    def pin_of(self, path: str) -> tuple[str, Environment] | None:
        """Service and environment whose pin a file holds."""
        match = _APP.fullmatch(path)
        pin = _PIN.fullmatch(match["rest"]) if match else None
        if match and pin and pin["environment"] in self.environments:
            return match["service"], self.environments[pin["environment"]]
        return None


def load(path: Path) -> Platform:
    """Read platform.json: every environment's branch, and every track's branch, overlay and environments.

    The ways between environments follow from it. One track writes `base`; where it is written, releases are tried. From
    every other track's branch a promotion leads there, and from there a release to every environment of the same track.
    `applications` says where the services' own repositories are, for links; without it there are none. An environment's
    `kubernetes`, a track's `registry`, and `forbidden` say what `verify` holds manifests against.

    Raises:
        SlipwayError: it names an environment that is not there, leaves one without track or two on one branch, or has no or two
            tracks in base.
    """
    given = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    described = cast("dict[str, dict[str, Any]]", given["environments"])
    branches = {str(name): str(each["branch"]) for name, each in described.items()}
    tracks = cast("dict[str, dict[str, Any]]", given["tracks"])
    environments: dict[str, Environment] = {}
    for track_name, track in tracks.items():
        for name in track["environments"]:
            if name not in branches or name in environments:
                known = ", ".join(branches)
                msg = f"{path.name}: a track names environment {name!r}: each of {known} once is allowed. Correct it."
                raise SlipwayError(msg)
            place = f"overlays/{track['overlay']}/image" if track["overlay"] else "base/image"
            environments[name] = Environment(
                name=name,
                branch=branches[name],
                image_place=place,
                image_branch=str(track["branch"]),
                track=track_name,
                registry=str(track.get("registry", "")).rstrip("/"),
                kubernetes=tuple(map(str, described[name].get("kubernetes", ()))),
            )
    if missing := branches.keys() - environments.keys():
        msg = f"{path.name}: no track runs in {', '.join(sorted(missing))}: exactly one must. Add it to a track's environments."
        raise SlipwayError(msg)
    readers: dict[str, str] = {}
    for name, branch in branches.items():
        if readers.setdefault(branch, name) != name:
            msg = (
                f"{path.name}: {name} has branch {branch!r}, which {readers[branch]} reads: a branch of its own for each "
                "environment is allowed. Give one of them another."
            )
            raise SlipwayError(msg)
    if sum(not track["overlay"] for track in tracks.values()) != 1:
        msg = f"{path.name}: of {len(tracks)} tracks exactly one must have overlay null: base belongs to it. Correct the others."
        raise SlipwayError(msg)
    ordered = {name: environments[name] for name in branches}
    in_base = [each for each in ordered.values() if each.image_place == "base/image"]
    tried = next((each for each in in_base if each.branch == each.image_branch), None)
    if tried is None:
        msg = (
            f"{path.name}: no environment of the track that writes base reads that track's branch: one must. Correct its branch."
        )
        raise SlipwayError(msg)
    first = (each for each in ordered.values() if each not in in_base and each.branch == each.image_branch)
    return Platform(
        environments=ordered,
        promotions=tuple(Step(source=each, target=tried) for each in first),
        releases=tuple(Step(source=tried, target=each) for each in in_base if each.branch != tried.branch),
        applications=_applications(given.get("applications")),
        forbidden=frozenset(map(str, given.get("forbidden", ()))),
    )


def _applications(given: dict[str, Any] | None) -> Applications | None:
    if given is None:
        return None
    return Applications(
        host=str(given["host"]).rstrip("/"),
        owner=str(given["owner"]),
        repositories={str(service): str(name) for service, name in given.get("repositories", {}).items()},
    )


def service_of(path: str) -> str | None:
    """The service that a file belongs to; None for what is shared."""
    match = _APP.fullmatch(path)
    return match["service"] if match else None


def overlay_of(path: str) -> str | None:
    """The overlay that a file belongs to; None for a base's, or what is shared."""
    match = _APP.fullmatch(path)
    overlay = _OVERLAY.match(match["rest"]) if match else None
    return overlay["environment"] if overlay else None


def services_of(paths: Iterable[str]) -> list[str]:
    """The services that files belong to, sorted."""
    return sorted({service for path in paths if (service := service_of(path))})


def image_in(text: str | None) -> Image | None:
    """The image that a machine-written file names; None where it names none, or lacks its digest."""
    plain = _COMMENT.sub("", text or "")
    tag, digest = _TAG_LINE.search(plain), _DIGEST_LINE.search(plain)
    return Image(tag=tag["value"], digest=digest["value"]) if tag and digest else None


def names_nothing(text: str | None) -> bool:
    """Whether a machine-written file is as it is scaffolded: it names no image."""
    return text is not None and text.endswith(f"\n{_LIFTED}")


def reason_in(text: str | None) -> str:
    """Why a pin was set; "" without one."""
    match = _PINNED.search(text or "")
    return match["reason"] if match else ""


def cleaned_reason(reason: str) -> str:
    """One line of text for a comment.

    Raises:
        SlipwayError: nothing is left of it, or it is too long.
    """
    line = "".join(each if each.isprintable() else " " for each in reason)
    line = " ".join(line.split())
    if not 0 < len(line) <= REASON_LENGTH:
        msg = (
            f"reason has {len(line)} characters: 1 to {REASON_LENGTH} are allowed. Say in a line why, for those who find the pin."
        )
        raise SlipwayError(msg)
    return line


def pinned(text: str, service: str, image: Image, reason: str) -> str:
    """A pin file's text with a pin.

    Raises:
        SlipwayError: the file is not as the machines write it.
    """
    tail = f'images:\n  # Pinned: {reason}\n  - name: {service}\n    newTag: "{image.tag}"\n    digest: {image.digest}\n'
    return _head(text, service) + tail


def lifted(text: str, service: str) -> str:
    """A pin file's text without a pin.

    Raises:
        SlipwayError: the file is not as the machines write it.
    """
    return _head(text, service) + _LIFTED


def is_pin_file(text: str, service: str, before: str) -> bool:
    """Whether a pin file is as the machines write it, and as it was `before` but for its pin."""
    try:
        return _head(text, service) == _head(before, service)
    except SlipwayError:
        return False


def _head(text: str, service: str) -> str:
    """What stands before `images:`, once it is sure that what follows is a machine's."""
    found = _IMAGES.search(text)
    head, tail = (text[: found.start()], text[found.start() :]) if found else ("", text)
    match = _PINNED.fullmatch(tail)
    if not (tail == _LIFTED or (match and match["service"] == service)):
        msg = (
            f"the pin file of {service} is not as the machines write it (it ends in {tail[-80:]!r}): `images: []`, or one entry "
            "with reason, name, newTag and digest is allowed. Restore it from an earlier commit, then run again."
        )
        raise SlipwayError(msg)
    return head
