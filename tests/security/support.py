"""The GitOps repository as the program declares it for prd of the example, at the Git host, and those who may attack it."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, cast

from rehearsal.actions import Actions, Run
from rehearsal.cloud import CloudWorld, Emulators
from rehearsal.githost import GitHost
from rehearsal.program import Program, Request, evaluate
from tests.components.test_settings import changed
from tests.rehearsal.githost_kit import REPOSITORY, Answer, World, key
from tests.scaffold_repository.kit import image_text, service_files

DEV_WRITER, STG_WRITER, PROMOTER, READER = 1100001, 1100002, 1100003, 1100004
SERVICES: Final = ("cart", "pay")
BRANCHES: Final = ("dev", "stg", "master")
MAIN: Final = ".github/slipway/main.py"
_APPS: Final[Mapping[int, tuple[str, Mapping[str, str]]]] = {
    DEV_WRITER: ("writer-dev", {"contents": "write"}),
    STG_WRITER: ("writer-stg", {"contents": "write"}),
    PROMOTER: ("promoter", {"contents": "write", "pull_requests": "write", "statuses": "write"}),
    READER: ("reader", {"contents": "read", "statuses": "write"}),
}
"""The Apps with the ids of the example's settings and the permissions of docs/adopt.md."""


@cache
def declared() -> Program:
    """What prd declares while the repository is being made."""
    return evaluate("prd", config=changed("slipway:gitops", "id", None, "prd"))


@dataclass
class Repository:
    """The repository, and who works in it.

    Attributes:
        world: The Git host and its clients.
        actions: Its runner.
        alice: Token of a member of the owning team.
        bob: Token of another one.
        carol: Token of a third one.
        runs: Every run, in order.
    """

    world: World
    actions: Actions
    alice: str
    bob: str
    carol: str
    runs: list[Run] = field(default_factory=list[Run])

    @property
    def host(self) -> GitHost:
        """The Git host."""
        return self.world.host

    def heads(self) -> dict[str, str | None]:
        """Where the environments' branches are."""
        return {branch: self.host.head(REPOSITORY, branch) for branch in BRANCHES}

    @property
    def log(self) -> str:
        """What all runs printed, and why those failed that did."""
        return "\n".join(f"{run.log}\n{run.error}" for run in self.runs)

    # Git

    def commit(self, app: int, branch: str, files: Mapping[str, bytes]) -> str:
        """Commit with an App's key; the refusal, or "" if the commit is there."""
        done = self.world.commit(self.world.app_token(app), branch, self.host.head(REPOSITORY, branch), files)
        return "; ".join(each["message"] for each in done.get("errors", []))

    def push(self, branch: str, files: Mapping[str, str], *, source: str = "dev", author: str = "alice") -> str:
        """A person pushes a branch of their own; its head."""
        self.host.create_branch(REPOSITORY, branch, source=source)
        return self.host.put_files(
            REPOSITORY, branch, {path: text.encode() for path, text in files.items()}, "Change", author=author
        )

    def pushed(self, branch: str) -> list[Run]:
        """What a push starts."""
        return self._noted(self.actions.pushed(branch, check=False))

    def dispatched(self, workflow: str, *, ref: str | None = None, **inputs: str) -> Run:
        """A workflow that alice starts by hand."""
        (run,) = self._noted([self.actions.dispatch(workflow, ref=ref, actor="alice", check=False, **inputs)])
        return run

    def _noted(self, runs: list[Run]) -> list[Run]:
        self.runs += runs
        return runs

    # Pull requests

    def ask(self, method: str, path: str, token: str, body: object = None) -> Answer:
        """A request about the repository."""
        return self.world.repo(method, path, token, body)

    def propose(self, head: str, base: str, *, token: str = "") -> int:
        """Open a pull request, alice's unless a token is given, and let its workflows run."""
        opened = self.ask("POST", "/pulls", token or self.alice, {"title": "Change", "head": head, "base": base})
        assert opened.status == 201, opened
        return self.judged(int(opened.body["number"]))

    def judged(self, number: int, action: str = "opened") -> int:
        """Let a pull request's workflows run."""
        self._noted(self.actions.verified(number, action=action, check=False))
        return number

    def retarget(self, number: int, base: str, token: str) -> int:
        """Change a pull request's base; the answer's status."""
        status = self.ask("PATCH", f"/pulls/{number}", token, {"base": base}).status
        self.judged(number, "edited")
        return status

    def approve(self, number: int, token: str) -> Answer:
        """Approve a pull request."""
        return self.ask("POST", f"/pulls/{number}/reviews", token, {"event": "APPROVE"})

    def merge(self, number: int, token: str) -> str:
        """Merge a pull request; the refusal, or "" if it is merged."""
        done = self.ask("PUT", f"/pulls/{number}/merge", token, {"merge_method": "merge"})
        return "" if done.status == 200 else str(done.body["message"]).strip()

    def statuses(self, commit: str) -> dict[str, str]:
        """State by context."""
        found = self.ask("GET", f"/commits/{commit}/status", self.alice).body["statuses"]
        return {each["context"]: each["state"] for each in found}

    def write(self, app: int, branch: str, number: int) -> None:
        """A writer's own commit: newer images."""
        place, own = ("overlays/dev", "dev") if app == DEV_WRITER else ("base", "")
        files = {f"apps/{each}/{place}/image/kustomization.yaml": image_text(each, number, own).encode() for each in SERVICES}
        assert self.commit(app, branch, files) == ""

    def released(self) -> int:
        """Alice starts a release of newer images; the pull request's number."""
        self.write(STG_WRITER, "stg", 2)
        run = self.dispatched("release")
        assert run.conclusion == "success", run
        return self.judged(int(run.outputs["pull-request"]))


@contextmanager
def repository(folder: Path) -> Generator[Repository]:
    """The repository with rules, environments, permissions and first files as declared, and two services everywhere."""
    now = time.time()
    (folder / "host").mkdir()
    made: list[World] = []
    with GitHost(folder / "host", clock=lambda: made[0].now if made else now) as host:
        world = World(host=host, folder=folder, now=now)
        made.append(world)
        people = {name: host.add_user(name) for name in ("alice", "bob", "carol")}
        host.add_team("example-org/platform", list(people))
        _realise(host)
        for app, (slug, permissions) in _APPS.items():
            host.add_app(
                app,
                slug,
                key(str(app)).public_pem,
                installation_id=app + 1000,
                permissions=permissions,
                repositories=[REPOSITORY],
            )
        # As a person does, by docs/adopt.md.
        host.set_environment_secret(
            REPOSITORY, "slipway-promoter", "SLIPWAY_PROMOTER_KEY", key(str(PROMOTER)).private_pem.decode()
        )
        yield Repository(
            world=world,
            actions=Actions(host=host, repository=REPOSITORY),
            alice=people["alice"],
            bob=people["bob"],
            carol=people["carol"],
        )
        world.pool.clear()


def _realise(host: GitHost) -> None:
    """Make what components/gitops.py declares, in its order; services' first files before the branches are made."""
    # No row of GitHub's calls AWS.
    cloud = CloudWorld(cast("Emulators", None), github=host)
    ours = [each for each in declared().resources if "slipway:gitops:GitOps$" in each.urn]
    assert {each.type.rpartition(":")[2] for each in ours} >= {
        "RepositoryFile",
        "RepositoryRuleset",
        "RepositoryEnvironment",
        "WorkflowRepositoryPermissions",
    }
    filled = False
    for each in sorted(ours, key=_order):
        if each.type.endswith((":Branch", ":RepositoryRuleset")) and not filled:
            files = {path: text.encode() for service in SERVICES for path, text in service_files(service).items()}
            host.put_files(REPOSITORY, "master", dict(files), "Bring services")
            filled = True
        cloud.create(Request(stack="prd", type=each.type, name=each.name, inputs=each.inputs, custom=True, parent=each.parent))


def _order(resource: Request) -> int:
    """Waits that the engine would hold: repository, default branch, files, the rest, branches, rules."""
    kinds = [":Repository", ":BranchDefault", ":RepositoryFile", "", ":Branch", ":RepositoryRuleset"]
    return next((place for place, kind in enumerate(kinds) if kind and resource.type.endswith(kind)), kinds.index(""))
