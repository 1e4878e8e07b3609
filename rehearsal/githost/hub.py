"""What the host can do, whoever asks and over whatever protocol: every change of a branch goes through here.

One lock per repository is held around reading, judging and moving a ref; what has happened is told to listeners and
webhooks after the lock is released, each thread's own in order; of two threads that follow each other closely, the later may
tell first, as GitHub's deliveries may.
"""

import shutil
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from rehearsal.githost import rules, views
from rehearsal.githost.identity import ACTIONS_APP, CONSOLE, Directory
from rehearsal.githost.model import HEADS, ROLES, TAGS, Actor, Json, Problem, PushEvent, forbidden, not_found, rule_violation
from rehearsal.githost.records import CheckRun, Pull, Release, Repository, Review
from rehearsal.githost.store import Note, Signature, StaleRefError, Store
from rehearsal.githost.webhooks import Deliverer, Hook

GITHUB: Final = "GitHub"
_CODEOWNERS: Final = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
_WORKFLOWS: Final = ".github/workflows/"
_TEAM_WRITES: Final = frozenset({"push", "maintain", "admin"})


@dataclass(frozen=True, kw_only=True)
class PullEvent:
    """A pull request changed; `action` as in the webhook."""

    action: str
    pull: Pull
    before: str = ""


Happening: TypeAlias = tuple[PushEvent | PullEvent, Actor]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What an API commit is to change.

    Attributes:
        branch: Short name.
        expected: Head that the client saw.
        changes: New content by path; None deletes.
        message: Commit message.
    """

    branch: str
    expected: str
    changes: Mapping[str, bytes | None]
    message: str


@dataclass(frozen=True, kw_only=True)
class _Push:
    """A git push under way, for the question that its pre-receive hook asks."""

    repo: Repository
    actor: Actor


@dataclass
class Hub:
    """Repositories and everyone who works on them.

    Attributes:
        root: Folder of the host; `repositories/<owner>/<name>.git` are below it.
        clock: Seconds since 1970.
        url: Address of the host, known once it listens.
        directory: People, Apps and tokens.
        deliverer: Sends webhooks.
        listeners: Called after every push, in the thread that made it.
        failures: What listeners raised; the host raises it when it is closed.
    """

    root: Path
    clock: Callable[[], float]
    deliverer: Deliverer
    url: str = ""
    directory: Directory = field(init=False)
    listeners: list[Callable[[PushEvent], None]] = field(default_factory=list[Callable[[PushEvent], None]])
    failures: list[Exception] = field(default_factory=list[Exception])

    def __post_init__(self) -> None:
        """Begin empty."""
        self.directory = Directory(self.clock)
        self._lock = threading.Lock()
        self._repositories: dict[str, Repository] = {}
        self._hooks: dict[int, Hook] = {}
        self._pushes: dict[str, _Push] = {}
        self._numbers = 0

    def number(self) -> int:
        """Return a number that nothing on the host has yet."""
        with self._lock:
            self._numbers += 1
            return self._numbers

    # Repositories

    def create_repository(self, full_name: str, default_branch: str, number: int | None = None) -> Repository:
        """An empty repository; its id is the next free one unless given.

        Raises:
            ValueError: When the name is not `owner/name` or is taken.
        """
        if full_name.count("/") != 1 or full_name.lower() in self._repositories:
            msg = f"repository {full_name!r}: expected an unused `owner/name`; there are {sorted(self._repositories)}."
            raise ValueError(msg)
        store = Store.create(self.root / "repositories" / f"{full_name}.git", default_branch)
        repo = Repository(id=number or self.number(), full_name=full_name, store=store, default_branch=default_branch)
        self._repositories[full_name.lower()] = repo
        return repo

    def repository(self, full_name: str, actor: Actor) -> Repository:
        """A repository as an actor sees it.

        Raises:
            Problem: NOT_FOUND when there is none or the actor's token does not reach it.
        """
        found = self._repositories.get(full_name.lower())
        if found is None or not actor.sees(full_name):
            text = f"Could not resolve to a Repository with the name '{full_name}'."
            raise not_found(text)
        return found

    def repositories(self) -> list[Repository]:
        """All there are."""
        return list(self._repositories.values())

    def delete_repository(self, repo: Repository) -> None:
        """Take a repository away, with its webhooks."""
        with repo.lock:
            del self._repositories[repo.full_name.lower()]
            for hook in self.hooks(repo):
                del self._hooks[hook.id]
            shutil.rmtree(repo.store.path)

    def add_ruleset(self, repo: Repository, ruleset: Mapping[str, Any]) -> int:
        """Hold a ruleset from now on."""
        number = self.number()
        self.set_ruleset(repo, number, ruleset)
        return number

    def set_ruleset(self, repo: Repository, number: int, ruleset: Mapping[str, Any]) -> None:
        """Hold a ruleset under its number, in the place of what was there."""
        parsed = rules.parse(number, ruleset)
        if any(each.name == parsed.name and each.id != number for each in repo.rulesets.values()):
            text = f"Validation Failed: Name must be unique: {parsed.name}"
            raise Problem(422, text)
        repo.rulesets[number] = parsed

    # Telling

    @contextmanager
    def locked(self, repo: Repository) -> Generator[list[Happening]]:
        """Hold a repository's lock; what is put into the list is told after it is released, also when the body fails."""
        told: list[Happening] = []
        if repo.archived:
            # https://docs.github.com/en/repositories/archiving-a-github-repository/archiving-repositories
            text = "Repository was archived so is read-only."
            raise forbidden(text)
        try:
            with repo.lock:
                yield told
        finally:
            for event, actor in told:
                self._tell(repo, event, actor)

    def _tell(self, repo: Repository, event: PushEvent | PullEvent, actor: Actor) -> None:
        if isinstance(event, PushEvent):
            if any(hook.repository == repo.full_name for hook in self._hooks.values()):
                self.notify(repo, "push", views.push(self.url, repo, event, actor))
            for listener in self.listeners:
                try:
                    listener(event)
                except Exception as error:  # noqa: BLE001 — a listener's fault must not become GitHub's: kept, raised at the end
                    self.failures.append(error)
            return
        payload: Json = {
            "action": event.action,
            "number": event.pull.number,
            "pull_request": views.pull(self.url, repo, event.pull),
            "repository": views.repository(self.url, repo),
            "sender": views.user(actor),
        }
        if event.before:
            payload |= {"before": event.before, "after": event.pull.head_oid}
        self.notify(repo, "pull_request", payload)

    def notify(self, repo: Repository, event: str, payload: Json) -> None:
        """Send an event to the repository's webhooks that want it."""
        for hook in list(self._hooks.values()):
            if hook.repository == repo.full_name and hook.wants(event):
                self.deliverer.send(hook, event, payload)

    def set_hook(self, hook: Hook) -> None:
        """Put a webhook under its number, in the place of what was there.

        Raises:
            Problem: When GitHub would not take it.
        """
        if hook.content_type not in {"json", "form"}:
            raise Problem(422, f"content_type is {hook.content_type!r}: allowed are json and form.")
        self._hooks[hook.id] = hook

    def delete_hook(self, number: int) -> None:
        """Take a webhook away; one that is not there is no error."""
        self._hooks.pop(number, None)

    def add_hook(  # noqa: PLR0913 — the parts of a webhook
        self,
        repo: Repository,
        *,
        url: str,
        content_type: str,
        secret: str,
        events: Sequence[str],
        active: bool = True,
        insecure_ssl: bool = False,
    ) -> Hook:
        """Add a webhook and ping it, as GitHub does."""
        hook = Hook(
            id=self.number(),
            repository=repo.full_name,
            url=url,
            content_type=content_type,
            secret=secret,
            events=tuple(events),
            active=active,
            insecure_ssl=insecure_ssl,
        )
        self.set_hook(hook)
        ping = {"zen": "Keep it logically awesome.", "hook_id": hook.id, "repository": views.repository(self.url, repo)}
        self.deliverer.send(hook, "ping", ping)
        return hook

    def hooks(self, repo: Repository) -> list[Hook]:
        """A repository's webhooks."""
        return [hook for hook in self._hooks.values() if hook.repository == repo.full_name]

    # Moving refs

    def signature(self, actor: Actor) -> Signature:
        """An actor's name in a commit made now."""
        return Signature(name=actor.login, email=actor.email, seconds=int(self.clock()))

    def note(self, message: str, actor: Actor) -> Note:
        """People of a commit made through the API: the actor as author, GitHub as committer."""
        committer = Signature(name=GITHUB, email="noreply@github.com", seconds=int(self.clock()))
        return Note(message=message, author=self.signature(actor), committer=committer)

    def judge(self, repo: Repository, change: rules.Change, actor: Actor) -> list[str]:
        """What the repository's rules say against a change."""
        return rules.push_violations(list(repo.rulesets.values()), repo.default_branch, change, actor)

    def _change(self, repo: Repository, ref: str, before: str | None, after: str | None, *, quarantine: str = "") -> rules.Change:
        forced = bool(before and after) and not repo.store.is_ancestor(str(before), str(after), quarantine=quarantine)
        return rules.Change(ref=ref, before=before, after=after, forced=forced, reports=repo.reports(after))

    def move_ref(self, repo: Repository, ref: str, after: str | None, actor: Actor, *, force: bool = False) -> None:
        """Create, move or delete a branch through the API.

        Raises:
            Problem: When the rules refuse it, or it is no fast-forward and not forced.
        """
        with self.locked(repo) as told:
            before = repo.store.ref(ref)
            change = self._change(repo, ref, before, after)
            if after and ref.startswith(HEADS):
                self.judge_workflows(repo, before, after, actor)
            if refused := self.judge(repo, change, actor):
                raise rule_violation(refused)
            if change.forced and not force:
                text = "Update is not a fast forward"
                raise Problem(422, text)
            if before == after:
                return
            self._set_ref(repo, ref, before, after)
            self.landed(repo, change, actor, told)

    @staticmethod
    def _set_ref(repo: Repository, ref: str, before: str | None, after: str | None) -> None:
        try:
            repo.store.update_ref(ref, after, before=before)
        except StaleRefError as error:
            # Only a writer that goes past the lock, straight at the files, gets here.
            text = f'Expected branch to point to "{before}" but it did not.  Pull and try again.'
            raise Problem(409, text, kind="STALE_DATA") from error

    def landed(self, repo: Repository, change: rules.Change, actor: Actor, told: list[Happening]) -> None:
        """Record that a branch has moved: events, and the pull requests that start from it."""
        if not change.ref.startswith(HEADS):
            return
        branch, before, after = change.ref.removeprefix(HEADS), change.before, change.after
        event = PushEvent(
            repository=repo.full_name,
            branch=branch,
            before=before,
            after=after,
            pusher=actor.login,
            changed_paths=repo.store.changed_paths(before, after),
            forced=change.forced,
        )
        told.append((event, actor))
        repo.pushers[branch] = actor.login
        for pull in repo.pulls.values():
            if pull.state == "open" and pull.base == branch and after and repo.store.is_ancestor(pull.head_oid, after):
                # Merged with git and pushed: GitHub marks it merged all the same, "indirectly".
                # https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/incorporating-changes-from-a-pull-request/about-pull-request-merges#indirect-merges
                pull.state, pull.merge_oid, pull.merged_by = "closed", after, actor
                told.append((PullEvent(action="closed", pull=pull), actor))
            if pull.state != "open" or pull.head != branch:
                continue
            if after is None:
                pull.state = "closed"
                told.append((PullEvent(action="closed", pull=pull), actor))
                continue
            before_head, pull.head_oid = pull.head_oid, after
            if rules.dismisses_stale_reviews(list(repo.rulesets.values()), repo.default_branch, HEADS + pull.base):
                pull.dismiss_approvals()
            told.append((PullEvent(action="synchronize", pull=pull, before=before_head), actor))

    # Commits through the API

    def commit(self, repo: Repository, draft: Draft, actor: Actor) -> str:
        """Put one commit on a branch, if its head is still the expected one.

        Raises:
            Problem: STALE_DATA when it is not; NOT_FOUND, FORBIDDEN or UNPROCESSABLE otherwise.
        """
        ref = HEADS + draft.branch
        with self.locked(repo) as told:
            head = repo.store.head(draft.branch)
            if head is None:
                text = f"No such branch: {draft.branch}"
                raise not_found(text)
            if head != draft.expected:
                text = f'Expected branch to point to "{draft.expected}" but it did not.  Pull and try again.'
                raise Problem(409, text, kind="STALE_DATA")
            made = repo.store.commit(head, draft.changes, self.note(draft.message, actor))
            self.judge_workflows(repo, head, made, actor)
            change = self._change(repo, ref, head, made)
            if refused := self.judge(repo, change, actor):
                raise rule_violation(refused)
            self._set_ref(repo, ref, head, made)
            self.landed(repo, change, actor, told)
            return made

    def put_contents(self, repo: Repository, branch: str, changes: Mapping[str, bytes | None], message: str, actor: Actor) -> str:
        """Commit files through the contents API.

        https://docs.github.com/en/rest/repos/contents#create-or-update-file-contents

        Raises:
            Problem: 404 when there is no such branch, 409 when its rules refuse the commit.
        """
        ref = HEADS + branch
        with self.locked(repo) as told:
            head = repo.store.head(branch)
            if head is None:
                text = f"Branch {branch} not found"
                raise not_found(text)
            made = repo.store.commit(head, changes, self.note(message, actor))
            self.judge_workflows(repo, head, made, actor)
            change = self._change(repo, ref, head, made)
            if refused := self.judge(repo, change, actor):
                raise rule_violation(refused, status=409)
            self._set_ref(repo, ref, head, made)
            self.landed(repo, change, actor, told)
            return made

    def put(self, repo: Repository, branch: str, changes: Mapping[str, bytes | None], message: str, author: str) -> str:
        """One commit from the console; the first one of an empty repository creates the branch.

        Raises:
            ValueError: When the branch does not exist in a repository that has commits.
        """
        person = Actor(login=author, user_id=CONSOLE.user_id, console=True)
        with self.locked(repo) as told:
            head = repo.store.head(branch)
            if head is None and (known := repo.store.refs()):
                msg = f"{repo.full_name} has no branch {branch!r}: it has {sorted(known)}. Create it first."
                raise ValueError(msg)
            made = repo.store.commit(head, changes, self.note(message, person))
            self._set_ref(repo, HEADS + branch, head, made)
            self.landed(repo, self._change(repo, HEADS + branch, head, made), person, told)
            return made

    def judge_workflows(self, repo: Repository, before: str | None, after: str, actor: Actor, *, quarantine: str = "") -> None:
        """Refuse an App that brings in workflow files without the `workflows` permission.

        A file that some branch already holds with the same content may pass:
        https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps#available-scopes

        Raises:
            Problem: When it brings in another one.
        """
        if actor.app_id is None or actor.may("workflows", "write"):
            return
        changed = [path for path in repo.store.changed_paths(before, after, quarantine=quarantine) if path.startswith(_WORKFLOWS)]
        if not changed:
            return
        tips = repo.store.refs().values()
        for path in changed:
            new = repo.store.resolve(f"{after}:{path}", repo.store.open(quarantine=quarantine))
            held = {found.id for tip in tips if (found := repo.store.resolve(f"{tip}:{path}"))}
            if new is None or new.id not in held:
                text = f"refusing to allow a GitHub App to create or update workflow `{path}` without `workflows` permission"
                raise forbidden(text)

    # git push

    @contextmanager
    def receiving(self, repo: Repository, actor: Actor, session: str) -> Generator[None]:
        """Hold the lock while git's own receive-pack runs, and tell afterwards what it moved."""
        self._pushes[session] = _Push(repo=repo, actor=actor)
        try:
            with self.locked(repo) as told:
                before = repo.store.refs()
                try:
                    yield
                finally:
                    after = repo.store.refs()
                    for ref in sorted(before.keys() | after.keys()):
                        if before.get(ref) != after.get(ref):
                            change = self._change(repo, ref, before.get(ref), after.get(ref))
                            self.landed(repo, change, actor, told)
        finally:
            del self._pushes[session]

    def judge_push(self, session: str, updates: Sequence[tuple[str, str | None, str | None]], quarantine: str) -> str:
        """What the pre-receive hook of a push prints; "" lets the push pass.

        Called from another thread than `receiving`, which holds the lock meanwhile: it only reads.

        Args:
            session: Names the push.
            updates: Ref, commit before, commit after.
            quarantine: Folder of the objects that came with the push.
        """
        push = self._pushes.get(session)
        if push is None:
            return "error: this push is not one of the host's own"
        lines: list[str] = []
        for ref, before, after in updates:
            if not ref.startswith((HEADS, TAGS)):
                continue
            refused = self.judge(push.repo, self._change(push.repo, ref, before, after, quarantine=quarantine), push.actor)
            if refused:
                where = f"{self.url}/{push.repo.full_name}/rules?ref={ref.replace('/', '%2F')}"
                lines += [
                    f"error: GH013: Repository rule violations found for {ref}.",
                    f"Review all repository rules at {where}",
                    "",
                ]
                lines += [line for violation in refused for line in (f"- {violation}", "")]
            elif after and ref.startswith(HEADS):
                try:
                    self.judge_workflows(push.repo, before, after, push.actor, quarantine=quarantine)
                except Problem as problem:
                    lines.append(problem.message)
        return "\n".join(lines)

    # Pull requests

    def open_pull(self, repo: Repository, wanted: Json, actor: Actor) -> Pull:
        """Open a pull request within the repository.

        Raises:
            Problem: 422 when a branch is missing, there is nothing to merge, or one is open already.
        """
        head, base = str(wanted.get("head", "")).split(":")[-1], str(wanted.get("base", ""))
        if actor.app_id == ACTIONS_APP and not repo.actions_may_approve:
            text = "GitHub Actions is not permitted to create or approve pull requests."
            raise forbidden(text)
        with self.locked(repo) as told:
            tips = {branch: repo.store.head(branch) for branch in (head, base)}
            for name, branch in (("head", head), ("base", base)):
                if tips[branch] is None:
                    raise Problem(
                        422, "Validation Failed", errors=[{"resource": "PullRequest", "field": name, "code": "invalid"}]
                    )
            if any(pull.state == "open" and (pull.head, pull.base) == (head, base) for pull in repo.pulls.values()):
                owner = repo.full_name.split("/", maxsplit=1)[0]
                said = f"A pull request already exists for {owner}:{head}."
                raise Problem(422, "Validation Failed", errors=[{"resource": "PullRequest", "code": "custom", "message": said}])
            if not repo.store.ahead_behind(str(tips[head]), str(tips[base]))[0]:
                said = f"No commits between {base} and {head}"
                raise Problem(422, "Validation Failed", errors=[{"resource": "PullRequest", "code": "custom", "message": said}])
            pull = Pull(
                number=len(repo.pulls) + 1,
                title=str(wanted["title"]),
                body=str(wanted.get("body") or ""),
                head=head,
                base=base,
                head_oid=str(tips[head]),
                base_oid=str(tips[base]),
                author=actor,
                seconds=self.clock(),
                draft=bool(wanted.get("draft")),
            )
            repo.pulls[pull.number] = pull
            told.append((PullEvent(action="opened", pull=pull), actor))
            return pull

    def pull(self, repo: Repository, number: int) -> Pull:
        """A pull request by number."""
        if number not in repo.pulls:
            raise not_found()
        return repo.pulls[number]

    def edit_pull(self, repo: Repository, pull: Pull, wanted: Json, actor: Actor) -> Pull:
        """Change title, description or base, close or open again.

        A new base is a new merge base: where rules dismiss stale approvals, those of the old base are dismissed.
        https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/available-rules-for-rulesets#require-a-pull-request-before-merging

        Raises:
            Problem: 403 for a person who can neither write nor opened it; 422 for a base or state that cannot be.
        """
        if actor.app_id is None and not actor.may("contents", "write") and actor.login != pull.author.login:
            text = f"{actor.login} does not have the correct permissions to execute `UpdatePullRequest`"
            raise forbidden(text)
        with self.locked(repo) as told:
            base = str(wanted.get("base", pull.base))
            if repo.store.head(base) is None:
                raise Problem(422, "Validation Failed", errors=[{"resource": "PullRequest", "field": "base", "code": "invalid"}])
            if base != pull.base:
                if any(each.state == "open" and (each.head, each.base) == (pull.head, base) for each in repo.pulls.values()):
                    said = f"A pull request already exists for base branch '{base}' and head branch '{pull.head}'"
                    raise Problem(
                        422, "Validation Failed", errors=[{"resource": "PullRequest", "code": "custom", "message": said}]
                    )
                for ref in (pull.base, base):
                    if rules.dismisses_stale_reviews(list(repo.rulesets.values()), repo.default_branch, HEADS + ref):
                        pull.dismiss_approvals()
                pull.base_oid = str(repo.store.head(base))
            pull.title, pull.base = str(wanted.get("title", pull.title)), base
            pull.body = str(wanted.get("body", pull.body) or "")
            state = str(wanted.get("state", pull.state))
            if state == pull.state:
                told.append((PullEvent(action="edited", pull=pull), actor))
            elif pull.merge_oid is not None or repo.store.head(pull.head) is None:
                raise Problem(422, "Validation Failed", errors=[{"resource": "PullRequest", "field": "state", "code": "invalid"}])
            else:
                pull.state, pull.head_oid = state, str(repo.store.head(pull.head))
                told.append((PullEvent(action="closed" if state == "closed" else "reopened", pull=pull), actor))
            return pull

    def review(self, repo: Repository, pull: Pull, wanted: Json, actor: Actor) -> Review:
        """Review the present head.

        Raises:
            Problem: 422 when the author approves, or asks changes of, their own pull request.
        """
        states = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
        event = str(wanted.get("event", "COMMENT"))
        if event not in states:
            raise Problem(422, f"event is {event!r}: this Git host knows {', '.join(states)}.")
        with repo.lock:
            if actor.login == pull.author.login and event != "COMMENT":
                verb = "approve" if event == "APPROVE" else "request changes on"
                raise Problem(422, "Unprocessable Entity", errors=[{"message": f"Can not {verb} your own pull request"}])
            if actor.app_id == ACTIONS_APP and event == "APPROVE" and not repo.actions_may_approve:
                # https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/enabling-features-for-your-repository/managing-github-actions-settings-for-a-repository#preventing-github-actions-from-creating-or-approving-pull-requests
                said = "GitHub Actions is not permitted to approve pull requests."
                raise Problem(422, "Unprocessable Entity", errors=[{"message": said}])
            commit = str(wanted.get("commit_id") or pull.head_oid)
            # A verdict on an older head is stale from the start.
            state = states[event] if commit == pull.head_oid or event == "COMMENT" else "DISMISSED"
            review = Review(actor=actor, state=state, commit=commit, body=str(wanted.get("body") or ""), seconds=self.clock())
            pull.reviews.append(review)
            return review

    def mergeable(self, repo: Repository, pull: Pull) -> bool:
        """Whether Git can merge it without a conflict; rules are another matter."""
        base = repo.store.head(pull.base)
        return base is not None and repo.store.merge(base, pull.head_oid, None) is not None

    def merge(self, repo: Repository, pull: Pull, wanted: Json, actor: Actor) -> str:
        """Merge a pull request into its base.

        https://docs.github.com/en/rest/pulls/pulls#merge-a-pull-request

        Raises:
            Problem: 405 when it cannot be merged or the rules refuse; 409 when `sha` is not the head.
        """
        method = str(wanted.get("merge_method", "merge"))
        with self.locked(repo) as told:
            base = repo.store.head(pull.base)
            if pull.state != "open" or pull.draft or base is None:
                raise Problem(405, "Pull Request is not mergeable")
            if wanted.get("sha") not in {None, pull.head_oid}:
                raise Problem(409, "Head branch was modified. Review and try the merge again.")
            if refused := self._merge_refusals(repo, pull, method, actor):
                raise rule_violation(refused, status=405)
            if method not in {"merge", "squash"}:
                raise Problem(405, f"This Git host does not merge by {method}: use merge or squash.")
            self.judge_workflows(repo, base, pull.head_oid, actor)
            made = repo.store.merge(base, pull.head_oid, self._merge_note(repo, pull, wanted, actor), squash=method == "squash")
            if made is None:
                raise Problem(405, "Pull Request is not mergeable")
            self._set_ref(repo, HEADS + pull.base, base, made)
            pull.state, pull.merge_oid, pull.merged_by, pull.base_oid = "closed", made, actor, base
            self.landed(repo, self._change(repo, HEADS + pull.base, base, made), actor, told)
            told.append((PullEvent(action="closed", pull=pull), actor))
            return made

    def release(self, repo: Repository, wanted: Json, actor: Actor) -> Release:
        """Make the release of a tag that is there.

        GitHub would make a missing tag as well; this host does not, so that nobody relies on it unseen.
        https://docs.github.com/en/rest/releases/releases#create-a-release

        Raises:
            Problem: 422 when there is no such tag, or it has a release.
        """
        tag = str(wanted["tag_name"])
        with self.locked(repo):
            if repo.store.commit_oid(TAGS + tag) is None:
                raise Problem(422, f"This Git host releases tags that are there: there is no {tag}.")
            if tag in repo.releases:
                taken = {"resource": "Release", "code": "already_exists", "field": "tag_name"}
                raise Problem(422, "Validation Failed", errors=[taken])
            made = Release(
                id=len(repo.releases) + 1,
                tag=tag,
                name=str(wanted.get("name") or tag),
                body=str(wanted.get("body") or ""),
                author=actor,
                seconds=self.clock(),
            )
            repo.releases[tag] = made
            return made

    def report_check(self, repo: Repository, commit: str, wanted: Json, actor: Actor) -> CheckRun:
        """Make a check run. https://docs.github.com/en/rest/checks/runs#create-a-check-run .

        Raises:
            Problem: 403 for a person: only Apps may.
        """
        if actor.app_id is None:
            text = "You must authenticate via a GitHub App."
            raise forbidden(text)
        conclusion = wanted.get("conclusion")
        status = "completed" if conclusion else str(wanted.get("status") or "queued")
        with repo.lock:
            made = CheckRun(
                id=self.number(),
                name=str(wanted["name"]),
                commit=commit,
                app=actor,
                status=status,
                conclusion=str(conclusion) if conclusion else None,
                seconds=self.clock(),
            )
            repo.checks[made.id] = made
            return made

    def _owners(self, repo: Repository, owner: str) -> frozenset[str]:
        """Return the people behind an entry of CODEOWNERS, as far as GitHub accepts it.

        A person must have write access, and a team must be visible and have it explicitly, even if its members have it. An App
        is neither.
        https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
        """
        organization, slash, team = owner.partition("/")
        if slash:
            named = {organization.lower()} == {repo.full_name.split("/", maxsplit=1)[0].lower()}
            return self.directory.members(owner) if named and repo.teams.get(team) in _TEAM_WRITES else frozenset()
        person = self.directory.person(owner)
        return frozenset({owner}) if person and ROLES.index(person.role) >= ROLES.index("write") else frozenset()

    def _merge_note(self, repo: Repository, pull: Pull, wanted: Json, actor: Actor) -> Note:
        owner = repo.full_name.split("/", maxsplit=1)[0]
        title = wanted.get("commit_title") or f"Merge pull request #{pull.number} from {owner}/{pull.head}"
        message = wanted.get("commit_message", pull.title)
        return self.note(f"{title}\n\n{message}".rstrip() + "\n", actor)

    def _merge_refusals(self, repo: Repository, pull: Pull, method: str, actor: Actor) -> list[str]:
        base = str(repo.store.head(pull.base))
        common = repo.store.merge_base(base, pull.head_oid)
        # Code owners are those of the base: a pull request cannot choose its own.
        found = next((entry for name in _CODEOWNERS if (entry := repo.store.resolve(f"{base}:{name}"))), None)
        text = getattr(found, "data", b"").decode()
        paths = repo.store.changed_paths(common, pull.head_oid)
        merge = rules.Merge(
            ref=HEADS + pull.base,
            method=method,
            approvals=pull.reviewers("APPROVED") - pull.reviewers("CHANGES_REQUESTED"),
            last_pusher=repo.pushers.get(pull.head, ""),
            reports=repo.reports(pull.head_oid),
            up_to_date=common == base,
            owners=rules.code_owners(text, paths, lambda owner: self._owners(repo, owner)),
        )
        return rules.merge_violations(list(repo.rulesets.values()), repo.default_branch, merge, actor)
