"""The GitOps repository: made, filled once, and ruled by the one stack that owns it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pulumi
import pulumi_github as github

from components.settings import Settings

# Files of the new repository: workflows, their scripts, code owners. Real files, tested in tests/scaffold_repository.
SCAFFOLD: Final = Path(__file__).resolve().parent.parent / "scaffold" / "repository"
# Four of them say what the settings say: which environments and tracks there are, who answers for the workflows, and which
# branches promotions start from and releases lead to.
PLATFORM_FILE: Final = ".github/slipway/platform.json"
OWNERS_FILE: Final = ".github/CODEOWNERS"
PROMOTE_FILE: Final = ".github/workflows/promote.yml"
RELEASED_FILE: Final = ".github/workflows/released.yml"
_EXAMPLE_OWNERS: Final = "@example-org/platform"
_EXAMPLE_SOURCES: Final = "branches: [dev]"
_EXAMPLE_TARGETS: Final = "branches: [master]"
# The App that runs GitHub's own workflows: a check of that name from anybody else counts for nothing.
# https://api.github.com/apps/github-actions
_GITHUB_ACTIONS: Final = 15368


@dataclass(frozen=True, kw_only=True)
class GitOpsArgs:
    """Arguments of `GitOps`.

    Attributes:
        settings: The owning stack's settings.
        default_branch: The branch that prd reads and releases are merged into.
    """

    settings: Settings
    default_branch: str


class GitOps(pulumi.ComponentResource):
    """Repository → first files → branches → rules, in this order: rules would refuse the first files.

    Repository and branches stay when the stack goes, and the files belong to people from the first commit on: a changed
    scaffold is not pushed over theirs.
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
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        last: pulumi.Resource = default_branch
        for path, content in repository_files(settings).items():
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
            # Its key is a secret of the repository, which a person puts there: it is in no state (docs/adopt.md).
            variable_name="SLIPWAY_PROMOTER_APP",
            value=str(settings.gitops.promoter.app_id),
            opts=pulumi.ResourceOptions(parent=self),
        )
        branches = [
            github.Branch(
                f"{name}-{branch}",
                repository=self.repository.name,
                branch=branch,
                source_branch=default,
                opts=pulumi.ResourceOptions(parent=self, depends_on=[last], protect=True, retain_on_delete=True),
            )
            for branch in sorted({each.gitops_branch for each in settings.environments.values()} - {default})
        ]
        self._rules(name, args, after=[last, *branches])
        self.register_outputs({"repository": self.repository.name})

    def _rules(self, name: str, args: GitOpsArgs, *, after: Sequence[pulumi.Resource]) -> None:
        """One ruleset per environment branch, so that each App can pass its own branch's rule and no other."""
        passing = passing_by_branch(args.settings)
        for branch in emergency_branches(args.settings):
            # A bypass is one of a whole ruleset. What no emergency needs, to force or to delete, stays refused by another one.
            github.RepositoryRuleset(
                f"{name}-{branch}-history",
                name=f"slipway {branch} history",
                repository=self.repository.name,
                target="branch",
                enforcement="active",
                conditions={"ref_name": {"includes": [f"refs/heads/{branch}"], "excludes": []}},
                rules={"deletion": True, "non_fast_forward": True},
                opts=pulumi.ResourceOptions(parent=self, depends_on=after),
            )
        for branch in sorted({each.gitops_branch for each in args.settings.environments.values()}):
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
                    "deletion": True,
                    "non_fast_forward": True,
                    "pull_request": {
                        "required_approving_review_count": args.settings.gitops.reviewers,
                        "dismiss_stale_reviews_on_push": True,
                        "require_code_owner_review": True,
                        "require_last_push_approval": True,
                        "allowed_merge_methods": ["merge"],
                    },
                    "required_status_checks": {
                        # Named after the branch: a check that passed for one says nothing about another (verify.yml).
                        "required_checks": [{"context": f"verify {branch}", "integration_id": _GITHUB_ACTIONS}],
                    },
                },
                opts=pulumi.ResourceOptions(parent=self, depends_on=after),
            )


def passing_by_branch(settings: Settings) -> Mapping[str, Sequence[int]]:
    """The App ids that may commit to a branch without review.

    Each track's writer, on that track's branch alone; and with emergency pins the promoter, where releases lead to. Rules
    cannot hold an App to some files:
    https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/available-rules-for-rulesets
    """
    found: dict[str, list[int]] = {}
    for track in settings.tracks.values():
        found.setdefault(track.gitops_branch, []).append(track.writer.app_id)
    for branch in emergency_branches(settings):
        found.setdefault(branch, []).append(settings.gitops.promoter.app_id)
    return found


def emergency_branches(settings: Settings) -> Sequence[str]:
    """The branches to which the promoter may commit pins without review; none unless that is set."""
    return release_branches(settings) if settings.gitops.emergency_pins else []


def release_branches(settings: Settings) -> Sequence[str]:
    """The branches that releases lead to: those of environments that run a track's images and read no track's branch."""
    running = {name for track in settings.tracks.values() if not track.overlay for name in track.environments}
    written = {track.gitops_branch for track in settings.tracks.values()}
    return sorted({settings.environments[name].gitops_branch for name in running} - written)


def repository_files(settings: Settings) -> Mapping[str, str]:
    """The new repository's first files by path: the scaffold, with platform, owners and branches as the settings have them.

    Raises:
        FileNotFoundError: there is no scaffold.
        ValueError: a file of it no longer has the example that the settings' value takes the place of.
    """
    files = dict(scaffold_files(SCAFFOLD))
    files[PLATFORM_FILE] = json.dumps(platform(settings), indent=2) + "\n"
    sources = sorted({track.gitops_branch for track in settings.tracks.values() if track.overlay})
    targets = release_branches(settings)
    for path, example, ours in (
        (OWNERS_FILE, _EXAMPLE_OWNERS, f"@{settings.organization.name}/{settings.gitops.team}"),
        (PROMOTE_FILE, _EXAMPLE_SOURCES, f"branches: [{', '.join(sources)}]"),
        (RELEASED_FILE, _EXAMPLE_TARGETS, f"branches: [{', '.join(targets)}]"),
    ):
        if files[path].count(example) != 1:
            times = files[path].count(example)
            msg = f"scaffold/repository/{path} has {example!r} {times} times: once is allowed. Restore the file"
            raise ValueError(msg)
        files[path] = files[path].replace(example, ours)
    return files


def platform(settings: Settings) -> Mapping[str, Mapping[str, object]]:
    """What the repository's workflows must know of the platform (scaffold/repository/.github/slipway/layout.py reads it)."""
    return {
        "environments": {name: {"branch": each.gitops_branch} for name, each in settings.environments.items()},
        "tracks": {
            name: {"branch": each.gitops_branch, "overlay": each.overlay, "environments": list(each.environments)}
            for name, each in settings.tracks.items()
        },
        # A service's own repository has its name, unless `repositories` holds another one by service.
        "applications": {"host": settings.gitops.git_url, "owner": settings.organization.name, "repositories": {}},
    }


def check_scaffold(settings: Settings) -> None:
    """Make sure, before anything is registered, that the owning stack has the first files at hand.

    Raises:
        FileNotFoundError: they are not there.
    """
    if settings.owns_gitops:
        repository_files(settings)


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
