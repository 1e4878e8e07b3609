"""The JSON that GitHub shows: one shape for REST answers and webhook payloads.

Only fields that a client of the flow reads; a missing one is a KeyError at the reader, not a wrong value.
"""

from collections.abc import Sequence

import pygit2

from rehearsal.githost.identity import App, Organization, iso
from rehearsal.githost.model import ZERO, Actor, Json, PushEvent
from rehearsal.githost.records import CheckRun, Environment, Pull, Release, Repository, Review, Status
from rehearsal.githost.webhooks import Hook


def user(actor: Actor) -> Json:
    """A person or an App's bot."""
    return {"login": actor.login, "id": actor.user_id, "type": actor.kind}


def repository(url: str, repo: Repository) -> Json:
    """A repository. Argo CD matches a webhook to its Applications by `html_url`."""
    owner, name = repo.full_name.split("/")
    return {
        "id": repo.id,
        "name": name,
        "full_name": repo.full_name,
        "private": True,
        "owner": {"login": owner, "name": owner, "type": "Organization"},
        "html_url": f"{url}/{repo.full_name}",
        "url": f"{url}/repos/{repo.full_name}",
        "clone_url": f"{url}/{repo.full_name}.git",
        "ssh_url": f"git@127.0.0.1:{repo.full_name}.git",
        "default_branch": repo.default_branch,
        "archived": repo.archived,
    }


def commit(found: pygit2.Commit) -> Json:
    """A commit, as in a branch or a comparison."""
    return {
        "sha": str(found.id),
        "commit": {
            "message": found.message,
            "author": _person(found.author),
            "committer": _person(found.committer),
            "tree": {"sha": str(found.tree_id)},
        },
        "parents": [{"sha": str(parent)} for parent in found.parent_ids],
    }


def _person(signature: pygit2.Signature) -> Json:
    return {"name": signature.name, "email": signature.email, "date": iso(signature.time)}


def status(context: str, found: Status) -> Json:
    """A commit status."""
    return {
        "state": found.state,
        "context": context,
        "description": found.description,
        "target_url": found.target_url,
        "creator": user(found.creator),
        "created_at": iso(found.seconds),
    }


def organization(found: Organization, *, owner: bool) -> Json:
    """An organization; its plan for owners alone. https://docs.github.com/en/rest/orgs/orgs#get-an-organization."""
    return {"login": found.name, "id": found.id, **({"plan": {"name": found.plan}} if owner else {})}


def app(found: App) -> Json:
    """An App as it sees itself. https://docs.github.com/en/rest/apps/apps#get-the-authenticated-app."""
    return {
        "id": found.app_id,
        "client_id": found.client_id,
        "slug": found.slug,
        "name": found.slug,
        "owner": {"login": found.owner, "type": "Organization"},
        "permissions": {"metadata": "read", **found.permissions},
    }


def installation(found: App) -> Json:
    """An App's installation. https://docs.github.com/en/rest/apps/apps#get-an-installation-for-the-authenticated-app."""
    return {
        "id": found.installation_id,
        "app_id": found.app_id,
        "client_id": found.client_id,
        "app_slug": found.slug,
        "account": {"login": found.owner, "type": "Organization"},
        "target_type": "Organization",
        "repository_selection": "selected",
        "permissions": {"metadata": "read", **found.permissions},
        "events": [],
        "suspended_at": None,
    }


def environment(url: str, repo: Repository, found: Environment) -> Json:
    """An environment of jobs. https://docs.github.com/en/rest/deployments/environments#get-an-environment."""
    limited = {"protected_branches": False, "custom_branch_policies": True}
    return {
        "name": found.name,
        "url": f"{url}/repos/{repo.full_name}/environments/{found.name}",
        "can_admins_bypass": found.can_admins_bypass,
        "protection_rules": [{"type": "branch_policy"}] if found.limited else [],
        "deployment_branch_policy": limited if found.limited else None,
    }


def check_run(found: CheckRun) -> Json:
    """A check run."""
    return {
        "id": found.id,
        "name": found.name,
        "head_sha": found.commit,
        "status": found.status,
        "conclusion": found.conclusion,
        "app": {"id": found.app.app_id, "slug": found.app.login.removesuffix("[bot]")},
    }


def hook(url: str, found: Hook) -> Json:
    """A webhook; the secret never comes back."""
    return {
        "type": "Repository",
        "id": found.id,
        "name": "web",
        "active": found.active,
        "events": list(found.events),
        "config": {
            "url": found.url,
            "content_type": found.content_type,
            "insecure_ssl": str(int(found.insecure_ssl)),
            **({"secret": "********"} if found.secret else {}),
        },
        "url": f"{url}/repos/{found.repository}/hooks/{found.id}",
    }


def review(found: Review, number: int) -> Json:
    """A review of a pull request."""
    return {
        "id": number,
        "user": user(found.actor),
        "state": found.state,
        "commit_id": found.commit,
        "body": found.body,
        "submitted_at": iso(found.seconds),
    }


def pull(url: str, repo: Repository, found: Pull) -> Json:
    """A pull request. `head.sha` follows the branch while it is open."""
    owner = repo.full_name.split("/", maxsplit=1)[0]
    shown = repository(url, repo)
    return {
        "number": found.number,
        "id": repo.id * 10_000 + found.number,
        "state": found.state,
        "draft": found.draft,
        "title": found.title,
        "body": found.body,
        "user": user(found.author),
        "html_url": f"{url}/{repo.full_name}/pull/{found.number}",
        "url": f"{url}/repos/{repo.full_name}/pulls/{found.number}",
        "head": {"ref": found.head, "sha": found.head_oid, "label": f"{owner}:{found.head}", "repo": shown},
        "base": {"ref": found.base, "sha": found.base_oid, "label": f"{owner}:{found.base}", "repo": shown},
        "merged": found.merge_oid is not None,
        "merge_commit_sha": found.merge_oid,
        "merged_by": user(found.merged_by) if found.merged_by else None,
        "created_at": iso(found.seconds),
    }


def release(url: str, repo: Repository, found: Release) -> Json:
    """A release. https://docs.github.com/en/rest/releases/releases#get-a-release."""
    return {
        "id": found.id,
        "tag_name": found.tag,
        "target_commitish": repo.default_branch,
        "name": found.name,
        "body": found.body,
        "draft": False,
        "prerelease": False,
        "author": user(found.author),
        "html_url": f"{url}/{repo.full_name}/releases/tag/{found.tag}",
        "url": f"{url}/repos/{repo.full_name}/releases/{found.id}",
        "created_at": iso(found.seconds),
        "published_at": iso(found.seconds),
    }


def push(url: str, repo: Repository, event: PushEvent, sender: Actor) -> Json:
    """The payload of a `push` event. https://docs.github.com/en/webhooks/webhook-events-and-payloads#push."""
    commits = _pushed_commits(repo, event)
    return {
        "ref": f"refs/heads/{event.branch}",
        "before": event.before or ZERO,
        "after": event.after or ZERO,
        "created": event.before is None,
        "deleted": event.after is None,
        "forced": event.forced,
        "repository": repository(url, repo),
        "pusher": {"name": event.pusher},
        "sender": user(sender),
        "commits": commits,
        "head_commit": commits[-1] if commits else None,
    }


def _pushed_commits(repo: Repository, event: PushEvent) -> Sequence[Json]:
    if event.after is None:
        return []
    git = repo.store.open()
    # A new branch's payload carries what the default branch lacks.
    known = event.before or repo.store.head(repo.default_branch)
    listed: list[Json] = []
    for found in repo.store.commits(event.after, without=known if known != event.after else event.before):
        tree = found.tree
        parent = git[found.parent_ids[0]].peel(pygit2.Tree) if found.parent_ids else None
        difference = parent.diff_to_tree(tree) if parent else tree.diff_to_tree(swap=True)
        paths: dict[str, list[str]] = {"A": [], "D": [], "M": []}
        for delta in difference.deltas:
            paths.setdefault(delta.status_char(), []).append(delta.new_file.path)
        listed.append(
            {
                "id": str(found.id),
                "tree_id": str(found.tree_id),
                "message": found.message,
                "timestamp": iso(found.commit_time),
                "author": {"name": found.author.name, "email": found.author.email},
                "committer": {"name": found.committer.name, "email": found.committer.email},
                "added": paths["A"],
                "removed": paths["D"],
                "modified": paths["M"],
            }
        )
    return listed
