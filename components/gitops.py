"""The GitOps repository: made, filled once, and ruled by the one stack that owns it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pulumi
import pulumi_github as github

from components.settings import Settings

# Files of the new repository: workflows, their scripts, code owners. Real files, tested in tests/scaffold_repository.
SCAFFOLD: Final = Path(__file__).resolve().parent.parent / "scaffold" / "repository"


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
        for path, content in scaffold_files(SCAFFOLD).items():
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
        writers = writers_by_branch(args.settings)
        for branch in sorted({each.gitops_branch for each in args.settings.environments.values()}):
            github.RepositoryRuleset(
                f"{name}-{branch}",
                name=f"slipway {branch}",
                repository=self.repository.name,
                target="branch",
                enforcement="active",
                conditions={"ref_name": {"includes": [f"refs/heads/{branch}"], "excludes": []}},
                bypass_actors=[
                    {"actor_id": app, "actor_type": "Integration", "bypass_mode": "always"} for app in writers.get(branch, [])
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
                },
                opts=pulumi.ResourceOptions(parent=self, depends_on=after),
            )


def writers_by_branch(settings: Settings) -> Mapping[str, Sequence[int]]:
    """The App ids that may commit to a branch without review: each track's writer, on that track's branch alone."""
    found: dict[str, list[int]] = {}
    for track in settings.tracks.values():
        found.setdefault(track.gitops_branch, []).append(track.writer.app_id)
    return found


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
