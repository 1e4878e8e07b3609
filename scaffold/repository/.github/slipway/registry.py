"""Whether images are in their registry, Amazon ECR. Needs boto3, which requirements.txt names, once there is something to ask.

A run of a workflow is somebody to AWS by GitHub's own word: its identity token assumes the one role of each track, which may
describe images and nothing else (docs.github.com: OpenID Connect in Amazon Web Services).
"""

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, cast

from slipway.layout import Environment, Image, SlipwayError

READERS: Final = "IMAGE_READERS"
"""Environment variable: the role's ARN by track, in JSON. GitOps declares it as the variable SLIPWAY_IMAGE_READERS."""

_ADDRESS: Final = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<prefix>.+)")
_AUDIENCE: Final = "sts.amazonaws.com"
_SESSION_SECONDS: Final = 900
_TIMEOUT_SECONDS: Final = 30
_AT_ONCE: Final = 8


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An image that a service is to run in an environment."""

    environment: Environment
    service: str
    image: Image


@dataclass(frozen=True, kw_only=True)
class Registries:
    """What may be asked.

    Attributes:
        readers: The role's ARN by track.
        session: What the sessions are called in AWS's own log.
    """

    readers: Mapping[str, str]
    session: str = "gitops"
    _clients: dict[str, Any] = field(default_factory=dict[str, Any], init=False, repr=False, compare=False)

    @classmethod
    def here(cls) -> "Registries | None":
        """Those that this run may ask; None where nobody has set any up.

        Raises:
            SlipwayError: what is set up cannot be read.
        """
        given = os.environ.get(READERS, "")
        if not given:
            return None
        try:
            readers = {str(track): str(role) for track, role in json.loads(given).items()}
        except (ValueError, AttributeError):
            msg = f"{READERS} is {given!r}: a role's ARN by track is allowed, in JSON. Let the owning stack's `pulumi up` set it."
            raise SlipwayError(msg) from None
        return cls(readers=readers, session=f"gitops-{os.environ.get('GITHUB_RUN_ID', 'here')}")

    def missing(self, wanted: Iterable[Wanted]) -> dict[Wanted, str]:
        """Those that are not there, with the reason.

        Raises:
            SlipwayError: a registry cannot be asked.
        """
        asked = [each for each in wanted if each.environment.registry]
        for each in asked:  # before there are threads
            self._client(each.environment)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            said = pool.map(self._fault, asked)
            return {each: fault for each, fault in zip(asked, said, strict=True) if fault}

    def _fault(self, wanted: Wanted) -> str:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 — only here is it needed

        account, _, prefix = _parts(wanted.environment)
        repository = f"{prefix}/{wanted.service}"
        try:
            answer = self._client(wanted.environment).describe_images(
                registryId=account, repositoryName=repository, imageIds=[{"imageDigest": wanted.image.digest}]
            )
        except ClientError as error:
            match cast("dict[str, Any]", error.response)["Error"]["Code"]:
                case "ImageNotFoundException":
                    return f"{wanted.image.digest} is not in {repository}"
                case "RepositoryNotFoundException":
                    return f"there is no repository {repository}"
                case _:
                    raise self._cannot(wanted.environment, error) from None
        except BotoCoreError as error:
            raise self._cannot(wanted.environment, error) from None
        tags = {str(tag) for each in answer["imageDetails"] for tag in each.get("imageTags", [])}
        if not answer["imageDetails"]:
            return f"{wanted.image.digest} is not in {repository}"
        if wanted.image.tag not in tags:
            return f"{repository} has {wanted.image.digest} as {', '.join(sorted(tags)) or 'untagged'}, not as {wanted.image.tag}"
        return ""

    def _client(self, environment: Environment) -> Any:  # noqa: ANN401 — boto3 makes its clients' types at run time
        if environment.track not in self._clients:
            self._clients[environment.track] = self._assumed(environment)
        return self._clients[environment.track]

    def _assumed(self, environment: Environment) -> Any:  # noqa: ANN401 — as above
        try:
            import boto3  # noqa: PLC0415 — only here is it needed
            from botocore import UNSIGNED  # noqa: PLC0415
            from botocore.config import Config  # noqa: PLC0415
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        except ImportError:
            msg = f"{READERS} is set, and boto3 is not installed: install .github/slipway/requirements.txt with --require-hashes."
            raise SlipwayError(msg) from None
        if environment.track not in self.readers:
            known = ", ".join(sorted(self.readers)) or "none"
            msg = f"{READERS} names {known}: every track is needed. Let the owning stack's `pulumi up` set it."
            raise SlipwayError(msg)
        _, region, _ = _parts(environment)
        config = Config(retries={"mode": "standard", "max_attempts": 5}, max_pool_connections=_AT_ONCE)
        try:
            sts = boto3.client("sts", region_name=region, config=config.merge(Config(signature_version=UNSIGNED)))
            taken = sts.assume_role_with_web_identity(
                RoleArn=self.readers[environment.track],
                RoleSessionName=self.session,
                WebIdentityToken=self._identity,
                DurationSeconds=_SESSION_SECONDS,
            )["Credentials"]
        except (BotoCoreError, ClientError) as error:
            raise self._cannot(environment, error) from None
        return boto3.client(
            "ecr",
            region_name=region,
            config=config,
            aws_access_key_id=taken["AccessKeyId"],
            aws_secret_access_key=taken["SecretAccessKey"],
            aws_session_token=taken["SessionToken"],
        )

    @cached_property
    def _identity(self) -> str:
        """This run's identity token (docs.github.com: OpenID Connect reference, Methods for requesting the token)."""
        url, token = (os.environ.get(f"ACTIONS_ID_TOKEN_REQUEST_{each}", "") for each in ("URL", "TOKEN"))
        if not (url and token):
            msg = f"{READERS} is set, and this run has no identity: the job needs `permissions: id-token: write`. Give it that."
            raise SlipwayError(msg)
        asked = urllib.request.Request(  # noqa: S310 — the runner's own address
            f"{url}&audience={_AUDIENCE}", headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 — as above
                return str(json.load(answer)["value"])
        except (urllib.error.URLError, TimeoutError, ValueError, KeyError) as error:
            msg = f"GitHub gave this run no identity token: {error}. Run again."
            raise SlipwayError(msg) from None

    def _cannot(self, environment: Environment, error: Exception) -> SlipwayError:
        return SlipwayError(
            f"{environment.registry} cannot be asked as {self.readers[environment.track]}: {error}. The role is let to this "
            "repository's pull requests, and to what is started on its default branch: start it there; or correct `gitops.id` in "
            "the stack files and run `pulumi up` of the track's host."
        )


def refuse_missing(found: Mapping[Wanted, str]) -> None:
    """Stop at images that are not there.

    Raises:
        SlipwayError: there is one; it says which.
    """
    if not found:
        return
    lines = [f"{len(found)} images are not in the registry:"]
    lines += [f"  {each.service} in {each.environment.name}: {each.image.tag}: {fault}" for each, fault in found.items()]
    lines.append(
        "Only an image that is there is allowed. Build it again, or pin the service at one that is there; then run again."
    )
    raise SlipwayError("\n".join(lines))


def _parts(environment: Environment) -> tuple[str, str, str]:
    match = _ADDRESS.fullmatch(environment.registry)
    if match is None:
        msg = (
            f"platform.json: registry is {environment.registry!r}: `<account>.dkr.ecr.<region>.amazonaws.com/<track>` is "
            "allowed. Correct it."
        )
        raise SlipwayError(msg)
    return match["account"], match["region"], match["prefix"]
