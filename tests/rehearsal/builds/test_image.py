"""From a commit to an image that another account may pull: the very buildspec, buildah, the door and an emulated ECR."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import urllib3

from components.pipeline import BUILDSPEC
from rehearsal.builds import Build, Images, ensure_tools, make_base_image, run_buildspec
from rehearsal.registry import Identity, KnownKeys, Push, RegistryDoor
from tests.rehearsal.registry.kit import (
    ARN,
    DEV,
    HOST,
    PRD,
    PULL,
    PUSH,
    REGION,
    REPOSITORY,
    ecr,
    grant,
    identity,
    ministack,
    root,
)

APPS: Final = Path(__file__).parents[3] / "rehearsal" / "apps"
# Not the machine's own architecture, as in the example's stack files.
PLATFORM: Final = "linux/arm64"


@dataclass(frozen=True)
class Built:
    """A finished build and the world around it."""

    build: Build
    log: list[str]
    commit: str
    images: Images
    door: RegistryDoor
    keys: KnownKeys
    pushes: list[Push]

    @property
    def image(self) -> str:
        """The image's full name."""
        return f"{HOST}/{REPOSITORY}:{self.build.exported['IMAGE_TAG']}"

    def api(self, who: Identity) -> Any:  # noqa: ANN401 — boto3's client
        """ECR's API as `who`."""
        return ecr(self.door.url, self.keys.issue(who))

    def skopeo(self, who: Identity, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Skopeo as `who`, through the door."""
        token = self.api(who).get_authorization_token()["authorizationData"][0]["authorizationToken"]
        logins = self.images.folder / f"{who.account}.json"
        logins.write_text(json.dumps({"auths": {HOST: {"auth": token}}}), encoding="utf-8")
        return command(
            {**self.images.environment(), **self.door.environment},
            "skopeo",
            arguments[0],
            "--authfile",
            str(logins),
            *arguments[1:],
        )


def command(environment: Mapping[str, str], *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program with this environment and no other."""
    return subprocess.run(  # noqa: S603 — the tests' own commands
        arguments, env=dict(environment), cwd=cwd, capture_output=True, text=True, check=False
    )


def checkout(app: str, folder: Path) -> tuple[Path, str]:
    """A git checkout of an application, and its commit."""
    origin, copy = folder / f"{app}.origin", folder / app
    shutil.copytree(APPS / app, origin)
    person = {f"GIT_{who}_{what}": "alice@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **person}
    for arguments in (["init", "-q", "-b", "develop"], ["add", "-A"], ["commit", "-q", "-m", "Open the shop"]):
        done = command(environment, "git", *arguments, cwd=origin)
        assert done.returncode == 0, done.stderr
    assert command(environment, "git", "clone", "-q", str(origin), str(copy)).returncode == 0
    return copy, command(environment, "git", "rev-parse", "HEAD", cwd=copy).stdout.strip()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """A folder of images with the base image in it."""
    ensure_tools(print)
    made = Images(tmp_path_factory.mktemp("images"))
    make_base_image(made, PLATFORM)
    return made


@pytest.fixture(scope="module")
def built(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The storefront, built and pushed by dev's build role."""
    folder = tmp_path_factory.mktemp("build")
    keys, pushes, log = KnownKeys(), list[Push](), list[str]()
    with ministack(folder) as url, RegistryDoor(url, folder / "door", identify=keys, on_push=pushes.append) as door:
        owner = ecr(door.url, keys.issue(root(DEV)))
        made = owner.create_repository(
            repositoryName=REPOSITORY,
            imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
            imageTagMutabilityExclusionFilters=[{"filter": "slipway-keep-*", "filterType": "WILDCARD"}],
        )
        source, commit = checkout("storefront", folder)
        build = run_buildspec(
            BUILDSPEC.read_text(encoding="utf-8"),
            source=source,
            variables={
                "REPOSITORY_URL": made["repository"]["repositoryUri"],
                "DOCKERFILE": "Dockerfile",
                "CONTEXT": ".",
                "PLATFORM": PLATFORM,
                "SOURCE_COMMIT": commit,
            },
            host={
                **images.environment(),
                **door.environment,
                "AWS_REGION": REGION,
                **keys.issue(identity(DEV, "slipway-develop-storefront-build", PUSH, ARN)),
            },
            say=log.append,
        )
        assert build.succeeded, "\n".join(log)
        yield Built(build, log, commit, images, door, keys, pushes)


def test_the_image_lands_under_its_declared_name_and_is_told_of_once(built: Built) -> None:
    tag, digest = built.build.exported["IMAGE_TAG"], built.build.exported["IMAGE_DIGEST"]
    assert built.pushes == [Push(account=DEV, region=REGION, repository=REPOSITORY, tag=tag, digest=digest)]
    (found,) = built.api(root(DEV)).describe_images(repositoryName=REPOSITORY)["imageDetails"]
    assert (found["imageTags"], found["imageDigest"]) == ([tag], digest)
    assert tag.endswith(built.commit[:12])


def test_the_image_is_what_the_dockerfile_says(built: Built) -> None:
    done = built.skopeo(identity(DEV, "reader", PULL, ARN), "inspect", "--config", f"docker://{built.image}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["os"], found["architecture"]) == ("linux", "arm64")
    assert found["config"]["User"] == "10001:10001"
    assert found["config"]["ExposedPorts"] == {"8080/tcp": {}}
    assert found["config"]["Labels"]["org.opencontainers.image.revision"] == built.commit


def test_production_pulls_it_exactly_if_the_repositorys_policy_grants_its_account(built: Built, tmp_path: Path) -> None:
    node, owner = identity(PRD, "node", PULL, "*"), built.api(root(DEV))

    def pull(name: str) -> subprocess.CompletedProcess[str]:
        return built.skopeo(node, "copy", f"docker://{built.image}", f"dir:{tmp_path / name}")

    refused = pull("before")
    assert refused.returncode != 0
    assert "no resource-based policy allows the ecr:BatchGetImage action" in refused.stderr
    last = built.door.passages[-1]
    assert (last.status, last.caller, last.repository) == (403, node.caller_arn, REPOSITORY)

    owner.set_repository_policy(repositoryName=REPOSITORY, policyText=grant("999999999999"))
    assert pull("other").returncode != 0
    owner.set_repository_policy(repositoryName=REPOSITORY, policyText=grant(PRD))
    granted = pull("after")
    assert granted.returncode == 0, granted.stderr
    assert len(list((tmp_path / "after").iterdir())) >= 4  # manifest, version, configuration, layers
    owner.delete_repository_policy(repositoryName=REPOSITORY)
    assert pull("again").returncode != 0


def test_the_same_tag_with_other_content_is_refused(built: Built, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM localhost/busybox:1\nCOPY Dockerfile /\n", encoding="utf-8")
    environment = {**built.images.environment(), **built.door.environment}
    built.images.buildah("tag", built.image, "localhost/kept:1")
    arguments = ["--platform", PLATFORM, "--file", str(tmp_path / "Dockerfile"), "--tag", built.image, str(tmp_path)]
    done = command(environment, "docker", "build", *arguments)
    assert done.returncode == 0, done.stderr
    pushed = command(environment, "docker", "push", built.image)
    assert pushed.returncode != 0
    assert "cannot be overwritten because the tag is immutable" in pushed.stderr
    assert len(built.pushes) == 1
    built.images.buildah("tag", "localhost/kept:1", built.image)


def test_a_base_image_that_is_not_here_comes_from_nowhere(built: Built, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM docker.io/library/alpine:3\n", encoding="utf-8")
    environment = {**built.images.environment(), **built.door.environment}
    arguments = ["--platform", PLATFORM, "--file", str(tmp_path / "Dockerfile"), "--tag", "localhost/a:1", str(tmp_path)]
    done = command(environment, "docker", "build", *arguments)
    assert done.returncode != 0
    assert "alpine" in done.stderr


def test_the_base_image_is_made_once(images: Images) -> None:
    def identifier() -> str:
        return images.buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", "localhost/busybox:1").stdout

    before = identifier()
    make_base_image(images, PLATFORM)
    assert identifier() == before


def test_nothing_is_left_outside_the_folder_of_images(built: Built) -> None:
    for place in (".docker", ".local/share/containers", ".config/containers/auth.json"):
        assert not (Path.home() / place).exists() or (Path.home() / place).stat().st_mtime < built.images.folder.stat().st_ctime


def running(images: Images, image: str, *arguments: str) -> tuple[str, list[str]]:
    """A container of an image, and the command that runs its program, with environment variables."""
    container = images.buildah("from", "--pull-never", image).stdout.strip()
    where = ["--root", str(images.folder / "root"), "--runroot", str(images.folder / "run"), "--storage-driver", "vfs"]
    return container, ["buildah", *where, "run", "--isolation", "chroot", *arguments, container, "--"]


def test_the_storefront_serves_its_page_and_its_health(built: Built) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    container, run = running(built.images, built.image, "--env", f"LISTEN=127.0.0.1:{port}")
    patient = urllib3.Retry(total=None, connect=400, backoff_factor=0.01, backoff_max=0.05)
    with subprocess.Popen(  # noqa: S603 — buildah
        [*run, "/srv/serve.sh"], env=built.images.environment(), start_new_session=True, stderr=subprocess.PIPE
    ) as process:
        try:
            page = urllib3.request("GET", f"http://127.0.0.1:{port}/", retries=patient)
            health = urllib3.request("GET", f"http://127.0.0.1:{port}/healthz", retries=False)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    built.images.buildah("rm", container)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html")
    assert b"<h1>Storefront</h1>" in page.data
    assert (health.status, health.data) == (200, b"ok\n")


def test_invoices_settles_until_it_is_told_to_stop(images: Images, tmp_path: Path) -> None:
    source, _ = checkout("invoices", tmp_path)
    arguments = ["--platform", PLATFORM, "--file", str(source / "Dockerfile"), "--tag", "localhost/invoices:1", str(source)]
    done = command(images.environment(), "docker", "build", *arguments)
    assert done.returncode == 0, done.stderr
    container, run = running(images, "localhost/invoices:1")
    with subprocess.Popen(  # noqa: S603 — buildah
        [*run, "sh", "-c", "echo $$; exec /srv/settle.sh"], env=images.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        number = int(process.stdout.readline())
        first = json.loads(process.stdout.readline())
        os.kill(number, signal.SIGTERM)
        rest = [json.loads(line) for line in process.stdout]
    images.buildah("rm", container)
    assert first == {"level": "info", "message": "invoice settled", "number": 1}
    assert rest[-1] == {"level": "info", "message": "stopped", "settled": 1}
    assert process.returncode == 0
