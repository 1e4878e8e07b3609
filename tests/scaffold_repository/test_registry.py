"""Images are looked up in the registry, as the role that the program declares for it, in emulated accounts."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — has none here
import jwt
import pytest
from slipway.layout import SlipwayError
from slipway.registry import Registries

from components import ci_access, naming
from components.settings import CodeRepository
from rehearsal.actions import identified
from rehearsal.cloud import MINISTACK, Emulators
from rehearsal.stage import parse_stack
from tests.rehearsal.githost_kit import REPOSITORY
from tests.scaffold_repository.kit import PLATFORM, Shop, shop, tag

MANIFEST: Final[Mapping[str, object]] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": "sha256:" + "0" * 64},
    "layers": [],
}
ISSUER: Final = "https://token.actions.githubusercontent.com"
JUDGE: Final = f"repo:{REPOSITORY}:environment:{naming.VERIFY_ENVIRONMENT}"
BY_HAND: Final = f"repo:{REPOSITORY}:environment:{naming.PROMOTER_ENVIRONMENT}"


@pytest.fixture(scope="module")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Running emulators, with the role of each track."""
    with Emulators(tmp_path_factory.mktemp("emulators")) as running:
        for environment in (PLATFORM.environments["dev"], PLATFORM.environments["stg"]):
            account, region = environment.registry.split(".")[0], environment.registry.split(".")[3]
            settings = parse_stack("stg", {})
            repository = CodeRepository(name=REPOSITORY.split("/")[1], id=7)
            provider = f"arn:aws:iam::{account}:oidc-provider/{ci_access.ISSUER}"
            trust = ci_access.trust(provider, ci_access.reading_subjects(settings, repository))
            client = running.client("iam", account, region)
            name = naming.image_reader(environment.track)
            client.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))
            may = ci_access.seeing_images(account, region, environment.track)
            client.put_role_policy(RoleName=name, PolicyName="see", PolicyDocument=document(may))
        yield running


def document(*statements: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@dataclass
class Registry:
    """One environment's registry, and what a run of a workflow needs to ask it."""

    emulators: Emulators
    place: Path

    def push(self, service: str, number: int, environment: str = "stg") -> str:
        """An image under its pipeline's tag; its digest."""
        address = PLATFORM.environments[environment].registry
        client = self.emulators.client("ecr", address.split(".")[0], address.split(".")[3])
        name = f"{address.partition('/')[2]}/{service}"
        with suppress(client.exceptions.RepositoryAlreadyExistsException):
            client.create_repository(repositoryName=name)
        manifest = json.dumps({**MANIFEST, "annotations": {"number": str(number)}})
        pushed = client.put_image(repositoryName=name, imageTag=tag(number), imageManifest=manifest)
        return str(pushed["image"]["imageId"]["imageDigest"])

    def environment(self, identity: Mapping[str, str]) -> dict[str, str]:
        """What a step's environment holds."""
        readers = {
            each.track: f"arn:aws:iam::{each.registry.split('.')[0]}:role/{naming.image_reader(each.track)}"
            for each in PLATFORM.environments.values()
        }
        return {
            "IMAGE_READERS": json.dumps(readers),
            "AWS_ENDPOINT_URL": self.emulators.url(MINISTACK),
            "AWS_CONFIG_FILE": str(self.place / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.place / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
            **identity,
        }


@pytest.fixture
def registry(emulators: Emulators, tmp_path: Path) -> Registry:
    return Registry(emulators=emulators, place=tmp_path)


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Shop]:
    """A fresh repository."""
    with shop(tmp_path) as made:
        yield made


@pytest.fixture
def run(registry: Registry) -> Iterator[dict[str, str]]:
    """The environment of a run that was started by hand on the default branch."""
    with identified({"iss": ISSUER, "sub": BY_HAND}) as identity:
        yield registry.environment(identity)


def pushed(it: Shop, registry: Registry, service: str, number: int) -> None:
    """An image is pushed, and the writer hears of it."""
    it.write("stg", digests={service: registry.push(service, number)}, **{service: number})


def test_a_release_of_what_is_in_the_registry_goes_through(it: Shop, registry: Registry, run: dict[str, str]) -> None:
    pushed(it, registry, "cart", 2)
    done = it.run("release", **run)
    assert done.outputs["outcome"] == "opened", done
    assert "not looked up" not in it.pulls()[0]["body"]


def test_a_release_of_what_is_not_is_refused_before_anything_is_pushed(it: Shop, registry: Registry, run: dict[str, str]) -> None:
    pushed(it, registry, "cart", 3)
    it.write("stg", pay=3)
    done = it.run("release", **run)
    assert done.code == 1
    assert done.err.startswith("1 images are not in the registry:\n  pay in prd: ")
    assert it.pulls() == []
    assert done.outputs == {}


def test_a_digest_under_another_tag_is_refused(it: Shop, registry: Registry, run: dict[str, str]) -> None:
    digest = registry.push("cart", 4)
    it.write("stg", digests={"cart": digest}, cart=5)
    done = it.run("release", **run)
    assert f"release/cart has {digest} as {tag(4)}, not as {tag(5)}" in done.err


def test_a_pin_at_what_the_registry_no_longer_has_is_refused(it: Shop, registry: Registry, run: dict[str, str]) -> None:
    pushed(it, registry, "cart", 6)
    done = it.run("pin", "--environment=stg", "--service=cart", "--to=previous", "--reason=r", **run)
    assert (done.code, it.pulls()) == (1, [])
    assert "cart in stg: " in done.err
    assert " is not in release/cart" in done.err


def test_verify_looks_up_what_the_merge_would_run(it: Shop, registry: Registry) -> None:
    pushed(it, registry, "cart", 7)
    it.write("stg", pay=7)
    head = it.host.head(REPOSITORY, "stg") or ""
    with identified({"iss": ISSUER, "sub": JUDGE}) as identity:
        done = it.run("verify", "--base=master", f"--head={head}", **registry.environment(identity))
    assert "images looked up: 2" in done.out
    (line,) = done.err.splitlines()
    assert line.startswith(f"apps/pay/overlays/prd/kustomization.yaml: runs {tag(7)}, but ")


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"iss": ISSUER, "sub": "repo:example-org/other:pull_request"}, "AccessDenied"),
        # A workflow that anybody pushed runs with these.
        ({"iss": ISSUER, "sub": f"repo:{REPOSITORY}:pull_request"}, "AccessDenied"),
        ({"iss": ISSUER, "sub": f"repo:{REPOSITORY}:ref:refs/heads/dev"}, "AccessDenied"),
        ({"iss": ISSUER, "sub": f"repo:{REPOSITORY}:ref:refs/heads/master"}, "AccessDenied"),
        ({"iss": "https://elsewhere.example", "sub": BY_HAND}, "AccessDenied"),
    ],
)
def test_nobody_else_is_let_in_and_the_error_says_who_is(
    it: Shop, registry: Registry, claims: Mapping[str, str], said: str
) -> None:
    pushed(it, registry, "cart", 8)
    with identified(claims) as identity:
        done = it.run("release", **registry.environment(identity))
    assert done.code == 1
    assert said in done.err
    assert "what is started on its default branch: start it there; or correct `gitops.id`" in done.err
    assert it.pulls() == []


def test_the_role_sees_images_and_does_nothing_else(registry: Registry) -> None:
    registry.push("cart", 9)
    role = f"arn:aws:iam::222222222222:role/{naming.image_reader('release')}"
    token = jwt.encode({"iss": ISSUER, "sub": JUDGE, "aud": "sts.amazonaws.com"}, "0" * 32, algorithm="HS256")
    assumed = registry.emulators.client("sts", "222222222222", "eu-central-1").assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="test", WebIdentityToken=token
    )["Credentials"]
    client: Any = cast("Any", boto3).client(
        "ecr",
        region_name="eu-central-1",
        endpoint_url=registry.emulators.url(MINISTACK),
        aws_access_key_id=assumed["AccessKeyId"],
        aws_secret_access_key=assumed["SecretAccessKey"],
        aws_session_token=assumed["SessionToken"],
    )
    assert client.describe_images(repositoryName="release/cart")["imageDetails"]
    for refused in (
        lambda: client.batch_get_image(repositoryName="release/cart", imageIds=[{"imageTag": tag(9)}]),
        client.describe_repositories,
        lambda: client.batch_delete_image(repositoryName="release/cart", imageIds=[{"imageTag": tag(9)}]),
    ):
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            refused()


def test_a_run_without_an_identity_is_told_the_permission(it: Shop, registry: Registry) -> None:
    it.write("stg", cart=10)
    done = it.run("release", **registry.environment({}))
    assert "this run has no identity: the job needs `permissions: id-token: write`" in done.err


def test_readers_that_are_none_are_named(monkeypatch: pytest.MonkeyPatch, it: Shop) -> None:
    monkeypatch.setenv("IMAGE_READERS", "arn:aws:iam::1:role/x")
    with pytest.raises(SlipwayError, match="IMAGE_READERS is 'arn:aws:iam::1:role/x': a role's ARN by track"):
        Registries.here()
    monkeypatch.setenv("IMAGE_READERS", "")
    assert Registries.here() is None
    it.write("stg", cart=11)
    done = it.run("release", IMAGE_READERS='{"develop": "arn"}')
    assert "IMAGE_READERS names develop: every track is needed" in done.err


def test_without_readers_a_release_says_that_nothing_was_looked_up(it: Shop) -> None:
    it.write("stg", cart=12)
    assert it.run("release").outputs["outcome"] == "opened"
    assert "> Whether its images are in the registry was not looked up" in it.pulls()[0]["body"]
