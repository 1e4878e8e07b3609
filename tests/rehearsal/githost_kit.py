"""A Git host with people, two writer Apps and the rules of a GitOps repository, and clients to use it with."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import jwt
import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rehearsal.actions import Actions
from rehearsal.githost import GitHost, Limits

REPOSITORY: Final = "example-org/gitops"
DEV_APP, STG_APP, PROMOTER_APP = 101, 102, 103
IMAGE: Final = "apps/storefront/overlays/dev/image/kustomization.yaml"

COMMIT: Final = """
mutation Write($input: CreateCommitOnBranchInput!) {
  createCommitOnBranch(input: $input) { commit { oid message author { name email } } ref { name } }
}
"""


@dataclass(frozen=True)
class Key:
    """A key pair; making one is slow, so the session shares them."""

    private_pem: bytes
    public_pem: bytes


@cache
def key(name: str) -> Key:
    """A key pair by name."""
    del name
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Key(private, public)


@cache
def _loaded(name: str) -> rsa.RSAPrivateKey:
    """The private key by name, read once: its checks take longer than a signature."""
    return cast("rsa.RSAPrivateKey", serialization.load_pem_private_key(key(name).private_pem, None))


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class World:
    """The host, its clients' clock, and tokens."""

    host: GitHost
    folder: Path
    now: float
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=20))

    def call(self, method: str, path: str, token: str = "", body: object = None, **headers: str) -> Answer:
        """One API request."""
        sent = {"Accept": "application/vnd.github+json", **{key.replace("_", "-"): value for key, value in headers.items()}}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        got = self.pool.request(method, f"{self.host.url}{path}", headers=sent, body=data)
        json_like = "json" in got.headers.get("Content-Type", "") and ".raw" not in got.headers.get("Content-Type", "")
        return Answer(got.status, got.headers, json.loads(got.data) if json_like and got.data else got.data)

    def repo(self, method: str, path: str, token: str, body: object = None, **headers: str) -> Answer:
        """One API request about the GitOps repository."""
        return self.call(method, f"/repos/{REPOSITORY}{path}", token, body, **headers)

    def graphql(self, token: str, query: str, variables: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 — JSON
        """The body of a GraphQL answer."""
        answer = self.call("POST", "/graphql", token, {"query": query, "variables": dict(variables or {})})
        assert answer.status == 200, answer
        return answer.body

    def commit(
        self,
        token: str,
        branch: str,
        expected: str | None,
        additions: Mapping[str, bytes],
        deletions: Sequence[str] = (),
    ) -> Any:  # noqa: ANN401 — JSON
        """One `createCommitOnBranch`."""
        changes = {
            "additions": [{"path": path, "contents": base64.b64encode(content).decode()} for path, content in additions.items()],
            "deletions": [{"path": path} for path in deletions],
        }
        asked = {
            "branch": {"repositoryNameWithOwner": REPOSITORY, "branchName": branch},
            "message": {"headline": "Write images", "body": "storefront"},
            "expectedHeadOid": expected,
            "fileChanges": changes,
        }
        return self.graphql(token, COMMIT, {"input": asked})

    def assertion(self, app: int, **claims: object) -> str:
        """An App's JSON Web Token, good unless claims say otherwise; None leaves one out."""
        whole = {"iss": str(app), "iat": int(self.now) - 60, "exp": int(self.now) + 540} | claims
        kept = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(kept, _loaded(str(app)), algorithm="RS256")

    def app_token(self, app: int, body: object = None) -> str:
        """An installation token."""
        answer = self.call("POST", f"/app/installations/{app + 1000}/access_tokens", self.assertion(app), body)
        assert answer.status == 201, answer
        return answer.body["token"]

    def act(self, app: int, method: str, path: str, body: object = None, **permissions: str) -> Answer:
        """Send one request about the GitOps repository with an App's key; `permissions` narrow its token."""
        token = self.app_token(app, {"permissions": permissions} if permissions else None)
        return self.repo(method, path, token, body)

    def write(self, token: str, branch: str, path: str, text: str) -> Answer:
        """Write one file onto a branch through the contents API, as a person or App does; its rules judge it."""
        there = self.repo("GET", f"/contents/{path}?ref={branch}", token)
        body = {"message": f"Change {path}", "content": base64.b64encode(text.encode()).decode(), "branch": branch}
        return self.repo("PUT", f"/contents/{path}", token, body | ({"sha": there.body["sha"]} if there.status == 200 else {}))

    def branch(self, token: str, name: str, source: str) -> Answer:
        """Make a branch at the tip of another."""
        return self.repo("POST", "/git/refs", token, {"ref": f"refs/heads/{name}", "sha": self.host.head(REPOSITORY, source)})

    def propose(self, token: str, head: str = "stg", base: str = "master") -> int:
        """Open a pull request; its number."""
        answer = self.repo("POST", "/pulls", token, {"title": f"{head} into {base}", "head": head, "base": base})
        assert answer.status == 201, answer
        return int(answer.body["number"])

    def approve(self, token: str, number: int) -> Answer:
        """Approve a pull request."""
        return self.repo("POST", f"/pulls/{number}/reviews", token, {"event": "APPROVE"})

    def merge(self, token: str, number: int) -> str:
        """Merge a pull request; "merged", or why GitHub refuses."""
        answer = self.repo("PUT", f"/pulls/{number}/merge", token, {})
        return "merged" if answer.status == 200 else str(answer.body["message"])

    def clone_url(self, token: str, user: str = "x-access-token") -> str:
        """An address with credentials."""
        return f"{self.host.url.replace('http://', f'http://{user}:{token}@')}/{REPOSITORY}.git"

    def git(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Git as a person without any configuration runs it."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "Alice",
            "GIT_AUTHOR_EMAIL": "alice@example.com",
            "GIT_COMMITTER_NAME": "Alice",
            "GIT_COMMITTER_EMAIL": "alice@example.com",
        }
        return subprocess.run(  # noqa: S603 — the arguments are the tests' own
            ["git", *arguments],  # noqa: S607 — git is on PATH, as for a user
            cwd=cwd or self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def clone(self, token: str, name: str, branch: str = "dev") -> Path:
        """A working copy."""
        done = self.git("clone", "-q", "-b", branch, self.clone_url(token), name)
        assert done.returncode == 0, done.stderr
        return self.folder / name

    def change(self, copy: Path, path: str, content: str) -> None:
        """Commit one file in a working copy."""
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_text(content, encoding="utf-8")
        assert self.git("add", "-A", cwd=copy).returncode == 0
        done = self.git("commit", "-q", "-m", f"Change {path}", cwd=copy)
        assert done.returncode == 0, done.stdout


def hostile(  # noqa: PLR0913 — the parts of a workflow
    run: str,
    *,
    on: object = "push",
    name: str = "hostile",
    job: str = "attack",
    permissions: object = "write-all",
    environment: str = "",
    env: Mapping[str, str] | None = None,
) -> str:
    """Return the workflow file of an attacker who may push: one job that runs a script.

    Args:
        run: The script. `github.token` is in TOKEN.
        on: What starts it.
        name: Name of the workflow, which `workflow_run` goes by.
        job: Name of the job, which its check run has.
        permissions: What its token asks for.
        environment: The environment that it asks for.
        env: More variables, such as `{"KEY": "${{ secrets.KEY }}"}`.
    """
    body = {
        "name": job,
        "runs-on": "ubuntu-24.04",
        "permissions": permissions,
        **({"environment": environment} if environment else {}),
        "steps": [{"env": {"TOKEN": "${{ github.token }}", **(env or {})}, "run": run}],
    }
    # JSON is YAML.
    return json.dumps({"name": name, "on": on, "jobs": {"attack": body}})


def runner(it: World) -> Actions:
    """Return what runs the workflows of the GitOps repository."""
    return Actions(host=it.host, repository=REPOSITORY)


def ruleset(name: str, branch: str, *rules: Mapping[str, object], apps: Sequence[int] = ()) -> dict[str, object]:
    """A ruleset in REST's shape for one branch."""
    return {
        "name": name,
        "target": "branch",
        "enforcement": "active",
        "conditions": {"ref_name": {"include": [f"refs/heads/{branch}"], "exclude": []}},
        "bypass_actors": [{"actor_id": app, "actor_type": "Integration", "bypass_mode": "always"} for app in apps],
        "rules": list(rules),
    }


@contextmanager
def world(folder: Path, *, latency_seconds: float = 0.0, limits: Limits | None = None) -> Generator[World]:
    """A host with a GitOps repository: branches dev, stg, master; each App may write one of them past its rule."""
    now = time.time()
    (folder / "host").mkdir()
    made: list[World] = []
    with GitHost(
        folder / "host", latency_seconds=latency_seconds, clock=lambda: made[0].now if made else now, limits=limits
    ) as host:
        it = World(host=host, folder=folder, now=now)
        made.append(it)
        host.create_repository(REPOSITORY, auto_init=True)
        files = {IMAGE: b"newTag: one\n", "apps/storefront/base/kustomization.yaml": b"resources: []\n"}
        host.put_files(REPOSITORY, "master", dict(files), "Scaffold storefront")
        for branch in ("stg", "dev"):
            host.create_branch(REPOSITORY, branch, source="master")
        for app, slug in ((DEV_APP, "writer-dev"), (STG_APP, "writer-stg"), (PROMOTER_APP, "promoter")):
            host.add_app(
                app,
                slug,
                key(str(app)).public_pem,
                installation_id=app + 1000,
                permissions={"contents": "write", **({"pull_requests": "write"} if app == PROMOTER_APP else {})},
                repositories=[REPOSITORY],
            )
        yield it
        it.pool.clear()


def protect(host: GitHost) -> None:
    """The rules that the design gives the three branches."""
    for branch in ("dev", "stg", "master"):
        host.add_ruleset(REPOSITORY, ruleset(f"keep {branch}", branch, {"type": "deletion"}, {"type": "non_fast_forward"}))
    review = {"required_approving_review_count": 1, "dismiss_stale_reviews_on_push": True, "allowed_merge_methods": ["merge"]}
    for branch, apps, parameters in (
        ("dev", [DEV_APP], {"required_approving_review_count": 0}),
        ("stg", [STG_APP], {"required_approving_review_count": 0, "allowed_merge_methods": ["merge"]}),
        ("master", [], review),
    ):
        rule = {"type": "pull_request", "parameters": parameters}
        host.add_ruleset(REPOSITORY, ruleset(f"write {branch}", branch, rule, apps=apps))
