"""The GitOps repository: made, filled once, and ruled by the one stack that owns it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pulumi
import pulumi_github as github

from components import naming
from components.catalogue import FORBIDDEN_KINDS
from components.settings import Settings

# Files of the new repository: workflows, their scripts, code owners. Real files, tested in tests/scaffold_repository.
SCAFFOLD: Final = Path(__file__).resolve().parent.parent / "scaffold" / "repository"
# Five of them say what the settings say: which environments and tracks there are, who answers for the workflows, and which
# branches promotions start from and releases lead to.
PLATFORM_FILE: Final = ".github/slipway/platform.json"
OWNERS_FILE: Final = ".github/CODEOWNERS"
MOVED_FILE: Final = ".github/workflows/moved.yml"
PROMOTE_FILE: Final = ".github/workflows/promote.yml"
RELEASE_FILE: Final = ".github/workflows/release.yml"
RELEASED_FILE: Final = ".github/workflows/released.yml"
_EXAMPLE_OWNERS: Final = "@example-org/platform"
_EXAMPLE_SOURCES: Final = "branches: [dev]"
_EXAMPLE_TARGETS: Final = "branches: [master]"
_EXAMPLE_MOVED: Final = "branches: [dev, master]"
# The tags that `released` makes (scaffold/repository/.github/slipway/released.py).
_RELEASE_TAGS: Final = "release-*"
_REVIEWERS: Final = 1
"""Approvals that any other branch needs: its pull requests have people as authors, or bring nothing to production."""


@dataclass(frozen=True, kw_only=True)
class GitOpsArgs:
    """Arguments of `GitOps`.

    Attributes:
        settings: The owning stack's settings.
        default_branch: The branch that prd reads and releases are merged into.
        repositories: Name of a service's application repository by service, where it is not the service's.
    """

    settings: Settings
    default_branch: str
    repositories: Mapping[str, str] = field(default_factory=dict[str, str])


class GitOps(pulumi.ComponentResource):
    """Repository → first files → branches → rules, in this order: rules would refuse the first files.

    Repository and branches stay when the stack goes. The files belong to people from the first commit on. They
    are declared only until `gitops.id` is set, which is once the repository is there: then the rules refuse every write.
    """

    repository: github.Repository

    def __init__(self, name: str, args: GitOpsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the repository."""
        super().__init__("slipway:gitops:GitOps", name, None, opts)
        settings, default = args.settings, args.default_branch
        # It holds what every environment runs, and its history: it cannot be made again.
        kept = pulumi.ResourceOptions(parent=self, protect=True, retain_on_delete=True)
        self.repository = github.Repository(
            name,
            name=settings.gitops.repository,
            description="What Argo CD applies: one directory per service, one branch per environment",
            visibility="private",
            auto_init=True,
            has_issues=False,
            has_projects=False,
            has_wiki=False,
            # A squashed promotion loses the merge base, and the next one conflicts: merge commits only.
            allow_merge_commit=True,
            allow_squash_merge=False,
            allow_rebase_merge=False,
            allow_auto_merge=False,
            delete_branch_on_merge=True,
            archive_on_destroy=True,
            opts=kept,
        )
        default_branch = github.BranchDefault(
            name,
            repository=self.repository.name,
            branch=default,
            # The first commit lies on the organization's own default branch name, which may be another.
            rename=True,
            # GitHub answers before it has renamed, and what comes next would not find the branch.
            # https://docs.github.com/en/rest/branches/branches#rename-a-branch
            wait_for_rename=True,
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        last: pulumi.Resource = default_branch
        files = repository_files(settings, args.repositories) if settings.gitops.id is None else dict[str, str]()
        for path, content in files.items():
            # One after another: two commits at once to one branch answer 409.
            last = github.RepositoryFile(
                f"{name}-{path}",
                repository=self.repository.name,
                branch=default,
                file=path,
                content=content,
                commit_message=f"Add {path}",
                overwrite_on_create=True,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[last],
                    retain_on_delete=True,
                    ignore_changes=["content", "commitMessage", "overwriteOnCreate"],
                ),
            )
        github.TeamRepository(
            name,
            repository=self.repository.name,
            team_id=settings.gitops.team,
            # GitHub takes no owners from CODEOWNERS who cannot write; the branches' rules hold them as everybody.
            # https://docs.github.com/articles/about-code-owners
            permission="push",
            opts=pulumi.ResourceOptions(parent=self),
        )
        github.ActionsVariable(
            name,
            repository=self.repository.name,
            # Its key is a secret of the environment below, which a person puts there: it is in no state (docs/adopt.md).
            variable_name="SLIPWAY_PROMOTER_APP",
            value=str(settings.gitops.promoter.app_id),
            opts=pulumi.ResourceOptions(parent=self),
        )
        if settings.gitops.id is not None:
            github.ActionsVariable(
                f"{name}-image-readers",
                repository=self.repository.name,
                variable_name="SLIPWAY_IMAGE_READERS",
                value=json.dumps(image_readers(settings)),
                opts=pulumi.ResourceOptions(parent=self),
            )
        self._workflows(name, default)
        branches = [
            github.Branch(
                f"{name}-{branch}",
                repository=self.repository.name,
                branch=branch,
                source_branch=default,
                opts=pulumi.ResourceOptions(parent=self, depends_on=[last], protect=True, retain_on_delete=True),
            )
            for branch in environment_branches(settings)
            if branch != default
        ]
        self._rules(name, args, after=[last, *branches])
        self.register_outputs({"repository": self.repository.name})

    def _workflows(self, name: str, default: str) -> None:
        """Limit what a workflow on a pushed branch can have.

        A secret of the repository is open to each of them. One of an environment is open to the branches that it admits.
        https://docs.github.com/en/actions/reference/workflows-and-actions/deployments-and-environments#deployment-branches-and-tags
        """
        for environment in (naming.PROMOTER_ENVIRONMENT, naming.VERIFY_ENVIRONMENT):
            made = github.RepositoryEnvironment(
                f"{name}-{environment}",
                repository=self.repository.name,
                environment=environment,
                can_admins_bypass=False,
                deployment_branch_policy={"protected_branches": False, "custom_branch_policies": True},
                opts=pulumi.ResourceOptions(parent=self),
            )
            github.RepositoryEnvironmentDeploymentPolicy(
                f"{name}-{environment}",
                repository=self.repository.name,
                environment=made.environment,
                branch_pattern=default,
                opts=pulumi.ResourceOptions(parent=self),
            )
        github.WorkflowRepositoryPermissions(
            name,
            repository=self.repository.name,
            default_workflow_permissions="read",
            # Of a run's own token: it would count as a review. It also may open no pull request.
            can_approve_pull_request_reviews=False,
            # The repository stays when the stack goes, and is never without such a setting: it stays narrow.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )

    def _rules(self, name: str, args: GitOpsArgs, *, after: Sequence[pulumi.Resource]) -> None:
        """What nobody passes; then one ruleset per branch, so that each App can pass its own branch's and no other.

        A bypass is one of a whole ruleset. What no App needs, to force or to delete, stands in one that has none.
        """
        passing, reviewers = passing_by_branch(args.settings), reviewers_by_branch(args.settings, args.default_branch)
        branches = sorted({args.default_branch, *environment_branches(args.settings)})
        history = github.RepositoryRulesetRulesArgs(deletion=True, non_fast_forward=True)
        # A tag that moves on to a later commit is not forced: only `update` holds it. Making one stays open: GitHub puts a
        # workflow run's token on no bypass list, and `released` has no other.
        tags = github.RepositoryRulesetRulesArgs(deletion=True, update=True)
        for kind, target, refs, rules in (
            ("history", "branch", [f"refs/heads/{branch}" for branch in branches], history),
            ("release-tags", "tag", [f"refs/tags/{_RELEASE_TAGS}"], tags),
        ):
            github.RepositoryRuleset(
                # No branch's name has a colon.
                f"{name}:{kind}",
                name=f"slipway: {kind}",
                repository=self.repository.name,
                target=target,
                enforcement="active",
                conditions={"ref_name": {"includes": refs, "excludes": []}},
                rules=rules,
                opts=pulumi.ResourceOptions(parent=self, depends_on=after),
            )
        for branch in branches:
            github.RepositoryRuleset(
                f"{name}-{branch}",
                name=f"slipway {branch}",
                repository=self.repository.name,
                target="branch",
                enforcement="active",
                conditions={"ref_name": {"includes": [f"refs/heads/{branch}"], "excludes": []}},
                bypass_actors=[
                    {"actor_id": app, "actor_type": "Integration", "bypass_mode": "always"} for app in passing.get(branch, [])
                ],
                rules={
                    "pull_request": {
                        "required_approving_review_count": reviewers[branch],
                        "dismiss_stale_reviews_on_push": True,
                        "require_code_owner_review": True,
                        "require_last_push_approval": True,
                        "allowed_merge_methods": ["merge"],
                    },
                    "required_status_checks": {
                        # Named after the branch: a status set for one says nothing about another. Only the promoter App's
                        # counts: a workflow on any branch may report a check of any name as GitHub's own App (verify.yml).
                        "required_checks": [
                            {"context": f"verify {branch}", "integration_id": args.settings.gitops.promoter.app_id}
                        ],
                    },
                },
                opts=pulumi.ResourceOptions(parent=self, depends_on=after),
            )


def passing_by_branch(settings: Settings) -> Mapping[str, Sequence[int]]:
    """The App ids that may commit to a branch without review.

    Each track's writer, on that track's branch alone; and with emergency pins the promoter, where releases lead to. A
    branch's rules cannot hold an App to some files:
    https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/available-rules-for-rulesets
    """
    found: dict[str, list[int]] = {}
    for track in settings.tracks.values():
        found.setdefault(track.gitops_branch, []).append(track.writer.app_id)
    for branch in emergency_branches(settings):
        found.setdefault(branch, []).append(settings.gitops.promoter.app_id)
    return found


def reviewers_by_branch(settings: Settings, default_branch: str) -> Mapping[str, int]:
    """Approvals that each branch needs.

    `gitops.reviewers` where a change reaches production, and on the default branch, whose workflows hold the promoter's key.
    """
    guarded = {default_branch, *release_branches(settings)}
    return {
        branch: settings.gitops.reviewers if branch in guarded else _REVIEWERS
        for branch in {default_branch, *environment_branches(settings)}
    }


def emergency_branches(settings: Settings) -> Sequence[str]:
    """The branches to which the promoter may commit pins without review; none unless that is set."""
    return release_branches(settings) if settings.gitops.emergency_pins else []


def environment_branches(settings: Settings) -> Sequence[str]:
    """The branches that Argo CD reads: a tooling stack's is none of them."""
    return sorted({settings.environments[name].gitops_branch for name in settings.overlays})


def release_branches(settings: Settings) -> Sequence[str]:
    """The branches that releases lead to: those of environments that run a track's images and read no track's branch."""
    running = {name for track in settings.tracks.values() if not track.overlay for name in track.environments}
    written = {track.gitops_branch for track in settings.tracks.values()}
    return sorted({settings.environments[name].gitops_branch for name in running} - written)


def repository_files(settings: Settings, repositories: Mapping[str, str]) -> Mapping[str, str]:
    """The new repository's first files by path: the scaffold, with platform, owners and branches as the settings have them.

    A workflow that would have no branch to start from is left out: GitHub takes no empty list of branches.

    Args:
        settings: The owning stack's settings.
        repositories: Name of a service's application repository by service, where it is not the service's.

    Raises:
        FileNotFoundError: there is no scaffold.
        ValueError: a file of it no longer has the example that the settings' value takes the place of.
    """
    files = dict(scaffold_files(SCAFFOLD))
    files[PLATFORM_FILE] = json.dumps(platform(settings, repositories), indent=2) + "\n"
    sources = sorted({track.gitops_branch for track in settings.tracks.values() if track.overlay})
    targets = release_branches(settings)
    for path, example, ours in (
        (OWNERS_FILE, _EXAMPLE_OWNERS, f"@{settings.organization.name}/{settings.gitops.team}"),
        (MOVED_FILE, _EXAMPLE_MOVED, f"branches: [{', '.join([*sources, *targets])}]"),
        (PROMOTE_FILE, _EXAMPLE_SOURCES, f"branches: [{', '.join(sources)}]"),
        (RELEASED_FILE, _EXAMPLE_TARGETS, f"branches: [{', '.join(targets)}]"),
    ):
        if not files[path].count(example):
            msg = f"scaffold/repository/{path} does not have {example!r}, which the settings' value replaces. Restore the file"
            raise ValueError(msg)
        files[path] = files[path].replace(example, ours)
    left_out = {
        *([] if sources else [PROMOTE_FILE]),
        *([] if targets else [RELEASE_FILE, RELEASED_FILE]),
        *([] if sources or targets else [MOVED_FILE]),
    }
    return {path: content for path, content in files.items() if path not in left_out}


def platform(settings: Settings, repositories: Mapping[str, str]) -> Mapping[str, object]:
    """What the repository's workflows must know of the platform (scaffold/repository/.github/slipway/layout.py reads it).

    Another stack's clusters are not known here: every environment is told the versions of the owner's.
    """
    versions = sorted({each.version for each in settings.clusters.values()})
    return {
        "environments": {
            name: {"branch": settings.environments[name].gitops_branch, "kubernetes": versions} for name in settings.overlays
        },
        "tracks": {
            name: {
                "branch": each.gitops_branch,
                "overlay": each.overlay,
                "environments": list(each.environments),
                "registry": f"{settings.registry_of(name)}/{naming.repository_prefix(name)}".rstrip("/"),
            }
            for name, each in settings.tracks.items()
        },
        # A service's own repository has its name, unless `repositories` holds another one by service.
        "applications": {
            "host": settings.gitops.git_url,
            "owner": settings.organization.name,
            "repositories": dict(repositories),
        },
        "forbidden": [f"{group}/{kind}" if group else kind for group, kind in FORBIDDEN_KINDS],
    }


def image_readers(settings: Settings) -> Mapping[str, str]:
    """ARN by track of the role that sees which images there are (components/ci_access.py makes each in its track's account)."""
    return {
        name: f"arn:aws:iam::{settings.environments[track.host].account}:role/{naming.image_reader(name)}"
        for name, track in settings.tracks.items()
    }


def check_scaffold(settings: Settings) -> None:
    """Make sure, before anything is registered, that the owning stack has the first files at hand.

    Raises:
        FileNotFoundError: they are not there.
    """
    if settings.owns_gitops:
        repository_files(settings, {})


def scaffold_files(root: Path) -> Mapping[str, str]:
    """Path → content of every file below `root`, sorted by path.

    Raises:
        FileNotFoundError: there is none: the program was not run from a whole checkout.
    """
    files = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    if not files:
        msg = f"no file below {root}: the GitOps repository's first files are needed there. Check out the whole repository"
        raise FileNotFoundError(msg)
    return files
