"""The function's configuration: environment variables that components/image_hook.py declares, read once and checked."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

_NAME: Final = "{service}"
_IMAGE_FILE: Final = re.compile(
    r"(?P<root>[A-Za-z0-9._/-]*\{service\})/(?:base|overlays/(?P<own>[a-z0-9-]+))/image/kustomization\.yaml"
)
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
_URL: Final = re.compile(r"https?://[^\s/]+(/[^\s]*)?")


class SettingsError(Exception):
    """A variable that the function cannot work with. Each line reads: what, got; allowed; fix."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a service's files stand in the GitOps repository.

    Attributes:
        root: A service's directory; `{service}` stands for its name.
        own_overlay: The overlay with an image component of its own, None when the base's is written.
    """

    root: str
    own_overlay: str | None

    def directory(self, service: str) -> str:
        """The service's directory."""
        return self.root.replace(_NAME, service)

    def base_image(self, service: str) -> str:
        """The base's image component."""
        return f"{self.directory(service)}/base/image/kustomization.yaml"

    def overlay_image(self, service: str, environment: str) -> str:
        """An overlay's own image component, which not every overlay has."""
        return f"{self.directory(service)}/overlays/{environment}/image/kustomization.yaml"

    def pin(self, service: str, environment: str) -> str:
        """An overlay's pin. Read here, never written: it belongs to people."""
        return f"{self.directory(service)}/overlays/{environment}/pin/kustomization.yaml"

    def image(self, service: str) -> str:
        """The file that this writer writes."""
        return self.overlay_image(service, self.own_overlay) if self.own_overlay else self.base_image(service)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One track's writer.

    Attributes:
        track: Name of the track.
        branch: GitOps branch that is written.
        layout: Where files stand.
        repository_prefix: What the track's ECR repositories begin with; the rest is the service.
        gitops_repository: `owner/name`.
        api_url: REST API of the Git host, without a slash at its end.
        app_id: GitHub App.
        installation_id: Its installation.
        key_secret: Name of the secret that holds the App's private key (PEM).
        queue_url: Where events wait.
        failure_queue_url: Where events go that cannot be handled, each with its reason.
        catalogue_path: SSM path of the declared services.
        scaffold: Whether a service without a directory gets one.
        environments: GitOps branch by environment that runs this track's images.
    """

    track: str
    branch: str
    layout: Layout
    repository_prefix: str
    gitops_repository: str
    api_url: str
    app_id: str
    installation_id: str
    key_secret: str
    queue_url: str
    failure_queue_url: str
    catalogue_path: str
    scaffold: bool
    environments: Mapping[str, str]


def read(variables: Mapping[str, str]) -> Settings:
    """Read the configuration from `variables`, the process's environment.

    Raises:
        SettingsError: one line per variable that is missing or wrong.
    """
    faults = list(_faults(variables, _WRITER))
    if faults:
        raise SettingsError("\n".join(f"{fault}. The variables are declared in components/image_hook.py." for fault in faults))
    place = _IMAGE_FILE.fullmatch(variables["SLIPWAY_IMAGE_FILE"])
    if place is None:  # pragma: no cover — _faults has refused it
        raise SettingsError(variables["SLIPWAY_IMAGE_FILE"])
    return Settings(
        track=variables["SLIPWAY_TRACK"],
        branch=variables["SLIPWAY_BRANCH"],
        layout=Layout(root=place["root"], own_overlay=place["own"]),
        repository_prefix=variables["SLIPWAY_REPOSITORY_PREFIX"],
        gitops_repository=variables["SLIPWAY_GITOPS_REPOSITORY"],
        api_url=variables["SLIPWAY_GITHUB_API_URL"].rstrip("/"),
        app_id=variables["SLIPWAY_GITHUB_APP_ID"],
        installation_id=variables["SLIPWAY_GITHUB_INSTALLATION_ID"],
        key_secret=variables["SLIPWAY_GITHUB_KEY_SECRET"],
        queue_url=variables["SLIPWAY_QUEUE_URL"],
        failure_queue_url=variables["SLIPWAY_FAILURE_QUEUE_URL"],
        catalogue_path=variables["SLIPWAY_CATALOGUE_PATH"],
        scaffold=variables["SLIPWAY_SCAFFOLD"] == "true",
        environments=_environments(variables["SLIPWAY_ENVIRONMENTS"]) or {},
    )


@dataclass(frozen=True, kw_only=True)
class ReporterSettings:
    """One track's build reporter.

    Attributes:
        track: Name of the track.
        region: Region of its pipelines.
        api_url: REST API of the Git host, without a slash at its end.
        app_id: GitHub App.
        installation_id: Its installation.
        key_secret: Name of the secret that holds the App's private key (PEM).
        queue_url: Where events wait.
        failure_queue_url: Where events go that cannot be handled, each with its reason.
        topic_arn: Topic of the track's alarms, where people are told of failed builds.
        chat: Whether a chat shows that topic.
    """

    track: str
    region: str
    api_url: str
    app_id: str
    installation_id: str
    key_secret: str
    queue_url: str
    failure_queue_url: str
    topic_arn: str
    chat: bool


def read_reporter(variables: Mapping[str, str]) -> ReporterSettings:
    """Read the reporter's configuration from `variables`, the process's environment.

    Raises:
        SettingsError: one line per variable that is missing or wrong.
    """
    faults = list(_faults(variables, _REPORTER))
    if faults:
        raise SettingsError("\n".join(f"{fault}. The variables are declared in components/build_reports.py." for fault in faults))
    return ReporterSettings(
        track=variables["SLIPWAY_TRACK"],
        region=variables["AWS_REGION"],
        api_url=variables["SLIPWAY_GITHUB_API_URL"].rstrip("/"),
        app_id=variables["SLIPWAY_GITHUB_APP_ID"],
        installation_id=variables["SLIPWAY_GITHUB_INSTALLATION_ID"],
        key_secret=variables["SLIPWAY_GITHUB_KEY_SECRET"],
        queue_url=variables["SLIPWAY_QUEUE_URL"],
        failure_queue_url=variables["SLIPWAY_FAILURE_QUEUE_URL"],
        topic_arn=variables["SLIPWAY_TOPIC_ARN"],
        chat=variables["SLIPWAY_CHAT"] == "true",
    )


def _environments(text: str) -> Mapping[str, str] | None:
    try:
        read_text: object = json.loads(text)
    except ValueError:
        return None
    if not isinstance(read_text, dict):
        return None
    pairs = cast("dict[str, Any]", read_text)
    return pairs if pairs and all(isinstance(value, str) and value for value in pairs.values()) else None


_SHARED: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "SLIPWAY_TRACK": (re.compile(r"[a-z][a-z0-9-]*"), "a track's name"),
    "SLIPWAY_GITHUB_API_URL": (_URL, "an http(s) address, such as https://api.github.com"),
    "SLIPWAY_GITHUB_APP_ID": (re.compile(r"\d+"), "a number"),
    "SLIPWAY_GITHUB_INSTALLATION_ID": (re.compile(r"\d+"), "a number"),
    "SLIPWAY_GITHUB_KEY_SECRET": (re.compile(r"\S+"), "the name of a secret"),
    "SLIPWAY_QUEUE_URL": (_URL, "a queue's URL"),
    "SLIPWAY_FAILURE_QUEUE_URL": (_URL, "a queue's URL"),
}
_WRITER: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    **_SHARED,
    "SLIPWAY_BRANCH": (re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*"), "a branch without refs/heads/"),
    "SLIPWAY_IMAGE_FILE": (_IMAGE_FILE, "apps/{service}/base/image/kustomization.yaml, or an overlay's"),
    "SLIPWAY_REPOSITORY_PREFIX": (re.compile(r"[a-z0-9][a-z0-9._/-]*/"), "a prefix that ends with a slash"),
    "SLIPWAY_GITOPS_REPOSITORY": (_REPOSITORY, "owner/name"),
    "SLIPWAY_CATALOGUE_PATH": (re.compile(r"/\S*/"), "a path that begins and ends with a slash"),
    "SLIPWAY_SCAFFOLD": (re.compile(r"true|false"), "true or false"),
    "SLIPWAY_ENVIRONMENTS": (re.compile(r".*", re.DOTALL), "a JSON object of branch by environment"),
}
# Lambda sets the region: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
_REPORTER: Final = {
    **_SHARED,
    "AWS_REGION": (re.compile(r"[a-z]{2}(-[a-z]+)+-\d"), "a region"),
    "SLIPWAY_TOPIC_ARN": (re.compile(r"arn:aws:sns:[a-z0-9-]+:\d{12}:\S+"), "a topic's ARN"),
    "SLIPWAY_CHAT": (re.compile(r"true|false"), "true or false"),
}


def _faults(variables: Mapping[str, str], allowed: Mapping[str, tuple[re.Pattern[str], str]]) -> Iterable[str]:
    for name, (pattern, meaning) in allowed.items():
        value = variables.get(name)
        if value is None:
            yield f"{name} is missing: {meaning} is needed. Set it on the function"
        elif not pattern.fullmatch(value) or (name == "SLIPWAY_ENVIRONMENTS" and _environments(value) is None):
            yield f"{name} is {value!r}: {meaning} is allowed. Correct it on the function"
