"""A GitOps repository as the platform makes it, on the rehearsal's Git host, and everyone who works in it."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any, Final
from unittest import mock

from slipway import layout, main

from rehearsal.githost import GitHost
from tests.rehearsal.githost_kit import DEV_APP, PROMOTER_APP, REPOSITORY, STG_APP, World, key, protect

ROOT: Final = Path(__file__).resolve().parents[2]
SCAFFOLD: Final = ROOT / "scaffold" / "repository"
PLATFORM: Final = layout.load(SCAFFOLD / ".github" / "slipway" / "platform.json")
BRANCHES: Final = {name: each.branch for name, each in PLATFORM.environments.items()}

_KUSTOMIZATION: Final = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"


def tag(number: int) -> str:
    """A pipeline's tag; greater numbers are later."""
    return f"20260101T{number:06d}Z-{number:012x}"


def digest(number: int) -> str:
    """The digest that belongs to it."""
    return f"sha256:{number:064x}"


def image_text(service: str, number: int, environment: str = "") -> str:
    """An image file as the writer leaves it; number 0 as it is scaffolded; an environment for one of its own."""
    text = _scaffolded("first/overlay/image" if environment else "every/base/image", service=service, environment=environment)
    entry = f'images:\n  - name: {service}\n    newTag: "{tag(number)}"\n    digest: {digest(number)}\n'
    return text.replace("images: []\n", entry) if number else text


def pin_text(service: str, environment: str) -> str:
    """A pin file as it is scaffolded."""
    return _scaffolded("every/overlay/pin", service=service, environment=environment)


def _scaffolded(place: str, **values: str) -> str:
    return Template((ROOT / "scaffold" / "apps" / place / "kustomization.yaml").read_text(encoding="utf-8")).substitute(values)


def service_files(service: str, number: int = 1) -> dict[str, str]:
    """A service's manifests in the shape of design.md, as small as they can be, at an image; 0 for none yet."""
    root = f"apps/{service}"
    deployment = (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {service}\nspec:\n  selector:\n    matchLabels:\n"
        f"      app: {service}\n  template:\n    metadata:\n      labels:\n        app: {service}\n    spec:\n      containers:\n"
        f"        - name: app\n          image: {service}\n"
        # What restricted Pod Security asks for.
        "          securityContext:\n            allowPrivilegeEscalation: false\n            capabilities: {drop: [ALL]}\n"
        "            runAsNonRoot: true\n            seccompProfile: {type: RuntimeDefault}\n"
    )
    files = {
        f"{root}/base/deployment.yaml": deployment,
        f"{root}/base/kustomization.yaml": f"{_KUSTOMIZATION}resources: [deployment.yaml]\ncomponents: [image]\n",
        f"{root}/base/image/kustomization.yaml": image_text(service, number),
        f"{root}/overlays/dev/image/kustomization.yaml": image_text(service, number, "dev"),
    }
    for name in BRANCHES:
        components = "image, pin" if name == "dev" else "pin"
        files[f"{root}/overlays/{name}/pin/kustomization.yaml"] = pin_text(service, name)
        files[f"{root}/overlays/{name}/kustomization.yaml"] = (
            f"{_KUSTOMIZATION}resources: [../../base]\ncomponents: [{components}]\nimages:\n  - name: {service}\n"
            f"    newName: {PLATFORM.environments[name].registry}/{service}\n"
        )
    return files


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run of the scripts came to."""

    code: int
    out: str
    err: str
    outputs: Mapping[str, str]
    summary: str


@dataclass
class Shop:
    """The repository and its people.

    Attributes:
        world: The Git host and its clients.
        clone: A clone with the scripts in it, in which they run.
        alice: Token of a person who may write.
        bob: Token of another one, who approves.
    """

    world: World
    clone: Path
    alice: str
    bob: str
    numbers: int = field(default=0)
    settings: Path = SCAFFOLD / ".github" / "slipway"
    """Folder with platform.json and what else the scripts read beside it."""

    @property
    def host(self) -> GitHost:
        """The Git host."""
        return self.world.host

    # What the scripts do

    def run(self, *arguments: str, token: str = "", **environment: str) -> Ran:
        """Run the scripts on the clone, as a workflow does; in this process, which is quicker."""
        outputs, summary = self._files()
        told = {"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary)}
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch("slipway.main.HERE", self.settings),
            mock.patch("slipway.main.now", return_value=datetime.fromtimestamp(self.world.now + self.numbers, UTC)),
            mock.patch.dict(os.environ, self.environment(token) | told | environment, clear=True),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = main.main([f"--clone={self.clone}", *arguments])
        return Ran(code=code, out=out.getvalue(), err=err.getvalue(), outputs=_read(outputs), summary=_text(summary))

    def run_alone(self, *arguments: str) -> Ran:
        """Run the clone's own scripts in a process of their own, as a workflow's step is written."""
        outputs, summary = self._files()
        told = {"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary)}
        done = subprocess.run(  # noqa: S603 — the arguments are the tests' own
            [sys.executable, ".github/slipway/main.py", *arguments],
            cwd=self.clone,
            env=self.environment() | told,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(code=done.returncode, out=done.stdout, err=done.stderr, outputs=_read(outputs), summary=_text(summary))

    def _files(self) -> tuple[Path, Path]:
        self.numbers += 1
        return self.world.folder / f"outputs-{self.numbers}", self.world.folder / f"summary-{self.numbers}"

    def environment(self, token: str = "") -> dict[str, str]:
        """What a step's environment holds."""
        who = {"GIT_AUTHOR_NAME": "promoter[bot]", "GIT_AUTHOR_EMAIL": "promoter@example.com"}
        return {
            **who,
            **{name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.world.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GITHUB_API_URL": self.host.url,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_TOKEN": token or self.world.app_token(PROMOTER_APP),
            "GITHUB_ACTOR": "alice",
        }

    def platform(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Let platform.json say something else."""
        data = json.loads((self.settings / "platform.json").read_text(encoding="utf-8"))
        change(data)
        self.settings = self.world.folder / "settings"
        self.settings.mkdir(exist_ok=True)
        (self.settings / "platform.json").write_text(json.dumps(data), encoding="utf-8")

    def verify(self, base: str, head: str) -> Ran:
        """Judge what a pull request from a branch or commit would bring."""
        return self.run("verify", f"--base={base}", f"--head={self.host.head(REPOSITORY, head) or head}")

    # What the writers and people do

    def write(self, environment: str, digests: Mapping[str, str] | None = None, **numbers: int) -> None:
        """The writer's commit: one image file a service on its branch, in one commit, past that branch's rule.

        Args:
            environment: Whose branch.
            digests: Digest by service, where it is not the number's own.
            numbers: Number by service.
        """
        app, place, own = (DEV_APP, "overlays/dev", "dev") if environment == "dev" else (STG_APP, "base", "")
        files = {
            f"apps/{service}/{place}/image/kustomization.yaml": image_text(service, number, own)
            .replace(digest(number), (digests or {}).get(service, digest(number)))
            .encode()
            for service, number in numbers.items()
        }
        done = self.world.commit(self.world.app_token(app), environment, self.host.head(REPOSITORY, environment), files)
        assert "errors" not in done, done

    def change(self, branch: str, changes: Mapping[str, str | None], *, base: str = "") -> str:
        """A person's commit, reviewed and merged; with `base` on a new branch from there instead. The new tip."""
        if base:
            self.host.create_branch(REPOSITORY, branch, source=base)
        encoded = {path: None if text is None else text.encode() for path, text in changes.items()}
        return self.host.put_files(REPOSITORY, branch, encoded, "Change", author="alice")

    def remove(self, branch: str, service: str) -> None:
        """A person removes a service."""
        self.change(branch, dict.fromkeys(self.files(branch, service)))

    def pulls(self, state: str = "open") -> list[Any]:
        """Pull requests, newest first."""
        return self.world.repo("GET", f"/pulls?state={state}", self.alice).body

    def merge(self, number: int) -> str:
        """Approve and merge a pull request; the merge commit."""
        self.world.repo("POST", f"/pulls/{number}/reviews", self.bob, {"event": "APPROVE"})
        done = self.world.repo("PUT", f"/pulls/{number}/merge", self.alice, {"merge_method": "merge"})
        assert done.status == 200, done
        return done.body["sha"]

    def promoted(self) -> None:
        """Promote and merge."""
        done = self.run("promote")
        assert done.outputs["outcome"] == "opened", done
        self.merge(int(done.outputs["pull-request"]))

    def released(self) -> None:
        """Release and merge."""
        done = self.run("release")
        assert done.outputs["outcome"] == "opened", done
        self.merge(int(done.outputs["pull-request"]))

    # What there is to see

    def files(self, branch: str, service: str) -> list[str]:
        """A service's files on a branch."""
        done = self._git("ls-tree", "-r", "--name-only", branch, "--", f"apps/{service}")
        return done.splitlines()

    def renders(self, environment: str, service: str, branch: str = "") -> str:
        """The image that Argo CD would run; with `branch` if it read another than the environment's."""
        with _checked_out(self, branch or BRANCHES[environment]) as folder:
            done = subprocess.run(  # noqa: S603 — the arguments are the tests' own
                [Path(sys.executable).parent / "kubectl", "kustomize", f"apps/{service}/overlays/{environment}"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
            )
        (line,) = (line.strip() for line in done.stdout.splitlines() if "image:" in line)
        return line.removeprefix("- ").removeprefix("image: ").rsplit("/", 1)[1]

    def _git(self, *arguments: str) -> str:
        done = self.world.git(*arguments, cwd=self.host.path(REPOSITORY))
        assert done.returncode == 0, done.stderr
        return done.stdout


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _read(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in _text(path).splitlines())


@contextmanager
def _checked_out(shop: Shop, branch: str) -> Generator[Path]:
    shop.numbers += 1
    folder = shop.world.folder / f"out-{shop.numbers}"
    folder.mkdir()
    done = shop.world.git(f"--work-tree={folder}", "checkout", "-q", branch, "--", ".", cwd=shop.host.path(REPOSITORY))
    assert done.returncode == 0, done.stderr
    yield folder


def platform_of(text: str, folder: Path) -> layout.Platform:
    """A platform.json as the workflows read it."""
    place = folder / "platform.json"
    place.write_text(text, encoding="utf-8")
    return layout.load(place)


def image(service: str, number: int) -> str:
    """What an overlay's image line ends in."""
    return f"{service}:{tag(number)}@{digest(number)}"


@contextmanager
def shop(folder: Path, services: Sequence[str] = ("cart", "pay")) -> Generator[Shop]:
    """A repository with the scaffold and some services on all three branches, under the branches' rules."""
    now = time.time()
    (folder / "host").mkdir()
    made: list[World] = []
    with GitHost(folder / "host", clock=lambda: made[0].now if made else now) as host:
        world = World(host=host, folder=folder, now=now)
        made.append(world)
        host.create_repository(REPOSITORY, auto_init=True)
        files = {
            path.relative_to(SCAFFOLD).as_posix(): path.read_bytes()
            for path in sorted(SCAFFOLD.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        files |= {path: text.encode() for service in services for path, text in service_files(service).items()}
        host.put_files(REPOSITORY, "master", dict(files), "Scaffold")
        for branch in ("stg", "dev"):
            host.create_branch(REPOSITORY, branch, source="master")
        for app, name in ((DEV_APP, "writer-dev"), (STG_APP, "writer-stg"), (PROMOTER_APP, "promoter")):
            permissions = {"contents": "write"}
            if app == PROMOTER_APP:
                permissions |= {"pull_requests": "write", "statuses": "write"}
            host.add_app(
                app,
                name,
                key(str(app)).public_pem,
                installation_id=app + 1000,
                permissions=permissions,
                repositories=[REPOSITORY],
            )
        protect(host)
        alice, bob = host.add_user("alice"), host.add_user("bob")
        clone = world.clone(alice, "clone")
        # The scripts authenticate themselves, as under actions/checkout with persist-credentials: false.
        assert world.git("remote", "set-url", "origin", f"{host.url}/{REPOSITORY}.git", cwd=clone).returncode == 0
        yield Shop(world=world, clone=clone, alice=alice, bob=bob)
        world.pool.clear()
