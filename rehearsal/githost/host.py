"""`GitHost`: the Git host as a test or the rehearsal uses it."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rehearsal.githost import graphql_api, schema, smart_http
from rehearsal.githost.hub import Hub
from rehearsal.githost.identity import ACTIONS_APP, CONSOLE, PROVIDER
from rehearsal.githost.limits import Limits, Meter
from rehearsal.githost.model import HEADS, Actor, Faults, Problem, PushEvent, Request, no_faults
from rehearsal.githost.records import Environment, Repository, Status
from rehearsal.githost.server import Application, Server
from rehearsal.githost.webhooks import Deliverer, Delivery, Hook, WebhookProxy


class GitHost:
    """A Git host on loopback: real bare repositories, git over HTTP, and the part of GitHub's API that the flow uses.

    The methods are the "console": what people and providers do outside of the tokens under test. The console stands above
    permissions and rules. All repositories are private.

    Attributes:
        url: Address of the API and of clones, such as `http://127.0.0.1:41231`: GraphQL is at `{url}/graphql`, a
            repository at `{url}/{owner}/{name}.git`. Known once the host is entered.
    """

    def __init__(
        self,
        root: Path,
        *,
        latency_seconds: float = 0.0,
        clock: Callable[[], float] = time.time,
        webhook_proxy: WebhookProxy | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Prepare a host.

        Args:
            root: Folder for repositories and hooks.
            latency_seconds: Wait before each API request, as the way to GitHub has one.
            clock: Seconds since 1970, for the validity of tokens, the times in commits, and the limits.
            webhook_proxy: What deliveries go through, so that none leaves this machine; straight to their addresses without.
            limits: What each actor is held to, over REST and GraphQL; nothing without. Neither git nor the console is limited.
        """
        self._hub = Hub(root=root, clock=clock, deliverer=Deliverer(webhook_proxy))
        self._application = Application(hub=self._hub, meter=Meter(clock=clock, limits=limits), latency_seconds=latency_seconds)
        self._server: Server | None = None
        self._threads: list[threading.Thread] = []
        self.url = ""

    def __enter__(self) -> Self:
        """Install the schema if need be, and listen."""
        schema.ensure_schema()
        smart_http.install_hook(self._hub.root)
        self._server = Server(self._application)
        self.url = self._hub.url = f"http://127.0.0.1:{self._server.port}"
        # Parsing the schema takes a second: done beside whatever is set up next, so that no first request pays for it.
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="githost"),
            threading.Thread(target=graphql_api.warm, name="githost-schema"),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop, and wait until nothing of it runs.

        Raises:
            ExceptionGroup: What listeners or the host itself raised meanwhile, unless another error is on its way.
        """
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for thread in self._threads:
            thread.join()
        self._hub.deliverer.close()
        if self._hub.failures and error is None:
            msg = "the Git host or one of its listeners failed"
            raise ExceptionGroup(msg, self._hub.failures)

    # What happened

    @property
    def requests(self) -> list[Request]:
        """The API requests answered so far, in the order of their answers."""
        return self._application.requests

    @property
    def credentials(self) -> frozenset[str]:
        """Every token that was given and every credential that was shown so far, for searches of what must not hold one."""
        return frozenset(self._application.credentials - {""})

    @property
    def deliveries(self) -> list[Delivery]:
        """Webhook deliveries tried so far; `drain` waits for those under way."""
        return self._hub.deliverer.deliveries

    @property
    def faults(self) -> Faults:
        """Hook consulted before each API request; `no_faults` at first."""
        return self._application.faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._application.faults = faults or no_faults

    @property
    def limits(self) -> Limits | None:
        """What each actor is held to; what was asked before it is set counts. None holds nothing."""
        return self._application.meter.limits

    @limits.setter
    def limits(self, limits: Limits | None) -> None:
        self._application.meter.limits = limits

    def on_push(self, callback: Callable[[PushEvent], None]) -> None:
        """Hear of every branch that moves, however it was moved: what CodeConnections is to CodePipeline.

        The callback runs in the thread that made the push, before its answer is sent and after the repository's lock is
        released: it may use the host, and should hand long work to another thread. What it raises is raised when the host
        is left.
        """
        self._hub.listeners.append(callback)

    def drain(self) -> None:
        """Wait until every webhook delivery queued so far has been tried."""
        self._hub.deliverer.drain()

    # Repositories

    def _repo(self, full_name: str) -> Repository:
        return self._hub.repository(full_name, CONSOLE)

    def path(self, full_name: str) -> Path:
        """The bare repository on disk."""
        return self._repo(full_name).store.path

    def create_repository(
        self, full_name: str, *, default_branch: str = "master", auto_init: bool = False, number: int | None = None
    ) -> None:
        """A private repository, empty or, with `auto_init`, with a README as its first commit; its id as given, or any.

        Raises:
            ValueError: When the name is not `owner/name` or is taken.
        """
        repo = self._hub.create_repository(full_name, default_branch, number)
        if auto_init:
            title = f"# {full_name.split('/')[1]}\n".encode()
            self._hub.put(repo, default_branch, {"README.md": title}, "Initial commit", CONSOLE.login)

    def repository(self, full_name: str) -> Repository | None:
        """What the host remembers of a repository, to be read; None without one."""
        return next((each for each in self._hub.repositories() if each.full_name.lower() == full_name.lower()), None)

    def repositories(self, owner: str) -> list[Repository]:
        """An owner's repositories."""
        return [each for each in self._hub.repositories() if each.full_name.lower().startswith(f"{owner.lower()}/")]

    def edit_repository(self, full_name: str, settings: Mapping[str, Any]) -> None:
        """Keep what the owner says of a repository, in REST's names; nothing acts on it."""
        self._repo(full_name).settings.update(settings)

    def archive_repository(self, full_name: str) -> None:
        """Refuse every change from now on; reading goes on."""
        self._repo(full_name).archived = True

    def delete_repository(self, full_name: str) -> None:
        """Take a repository away, with its webhooks; no clone of it survives here."""
        self._hub.delete_repository(self._repo(full_name))

    def head(self, full_name: str, branch: str) -> str | None:
        """The commit at the tip of a branch, None without one."""
        return self._repo(full_name).store.head(branch)

    def read(self, full_name: str, branch: str, path: str) -> bytes | None:
        """A file's content at the tip of a branch, None where there is none."""
        found = self._repo(full_name).store.resolve(f"{HEADS}{branch}:{path}")
        return getattr(found, "data", None)

    def put_file(  # noqa: PLR0913 — the parts of a commit
        self, full_name: str, branch: str, path: str, content: bytes, message: str, *, author: str = "console"
    ) -> str:
        """One file, one commit, as Pulumi's `github.RepositoryFile` makes it; the commit's id."""
        return self.put_files(full_name, branch, {path: content}, message, author=author)

    def put_files(
        self,
        full_name: str,
        branch: str,
        changes: Mapping[str, bytes | None],
        message: str,
        *,
        author: str = "console",
    ) -> str:
        """Any number of files in one commit (None deletes); the commit's id.

        Raises:
            ValueError: When the branch does not exist in a repository that has commits.
        """
        return self._hub.put(self._repo(full_name), branch, changes, message, author)

    def put_contents(
        self,
        full_name: str,
        branch: str,
        changes: Mapping[str, bytes | None],
        message: str,
        *,
        actor: Actor = PROVIDER,
    ) -> str:
        """Commit files through the contents API, as the program's provider does; the commit's id.

        Raises:
            Problem: When there is no such branch, or its rules refuse the commit.
        """
        return self._hub.put_contents(self._repo(full_name), branch, changes, message, actor)

    def create_branch(self, full_name: str, branch: str, *, source: str, actor: Actor = CONSOLE) -> None:
        """Make a branch at another branch's tip, or at a commit.

        Raises:
            ValueError: When the source is neither.
            Problem: When the rules refuse it.
        """
        repo = self._repo(full_name)
        commit = repo.store.head(source) or repo.store.commit_oid(source)
        if commit is None:
            msg = f"{full_name} has no branch or commit {source!r}: it has {sorted(repo.store.refs())}."
            raise ValueError(msg)
        self._hub.move_ref(repo, HEADS + branch, commit, actor)

    def rename_branch(self, full_name: str, branch: str, name: str, *, unseen_reads: int = 0) -> None:
        """Rename a branch as an administrator, who can rename protected branches too.

        https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-branches-in-your-repository/renaming-a-branch

        Args:
            full_name: Repository.
            branch: Its present name.
            name: Its new name.
            unseen_reads: How many reads through the API do not find the new name yet.

        Raises:
            ValueError: When it does not exist.
        """
        if branch == name:
            return
        self.create_branch(full_name, name, source=branch)
        repo = self._repo(full_name)
        if repo.default_branch == branch:
            self.set_default_branch(full_name, name)
        self._hub.move_ref(repo, HEADS + branch, None, CONSOLE)
        if unseen_reads:
            repo.unsettled[name] = unseen_reads

    def sees_branch(self, full_name: str, branch: str) -> bool:
        """Read a branch as an API client does; False where there is none, or a renaming is not seen yet."""
        repo = self._repo(full_name)
        return repo.store.head(branch) is not None and repo.sees(branch)

    def delete_branch(self, full_name: str, branch: str, *, actor: Actor = CONSOLE) -> None:
        """Delete a branch.

        Raises:
            Problem: When it does not exist or is the default one, or the rules refuse it.
        """
        repo = self._repo(full_name)
        if repo.store.head(branch) is None:
            text = "Reference does not exist"
            raise Problem(422, text)
        if branch == repo.default_branch:
            text = f"Cannot delete the default branch {branch}: make another one the default first"
            raise Problem(422, text)
        self._hub.move_ref(repo, HEADS + branch, None, actor)

    def set_default_branch(self, full_name: str, branch: str) -> None:
        """Make an existing branch the default one, for clones too.

        Raises:
            ValueError: When it does not exist.
        """
        repo = self._repo(full_name)
        if repo.store.head(branch) is None:
            msg = f"{full_name} has no branch {branch!r}: it has {sorted(repo.store.refs())}. Create it first."
            raise ValueError(msg)
        repo.default_branch = branch
        repo.store.open().set_head(HEADS + branch)

    def add_ruleset(self, full_name: str, ruleset: Mapping[str, Any]) -> int:
        """Hold a ruleset in REST's shape from now on, for every protocol; its number.

        Raises:
            ValueError: When it holds a rule, parameter, target or bypass actor that this host does not hold.
        """
        return self._hub.add_ruleset(self._repo(full_name), ruleset)

    def set_ruleset(self, full_name: str, number: int, ruleset: Mapping[str, Any]) -> None:
        """Change a ruleset; as `add_ruleset`."""
        self._hub.set_ruleset(self._repo(full_name), number, ruleset)

    def delete_ruleset(self, full_name: str, number: int) -> None:
        """No longer hold a ruleset; one that is not there is no error."""
        self._repo(full_name).rulesets.pop(number, None)

    def set_status(  # noqa: PLR0913 — the parts of a status
        self,
        full_name: str,
        commit: str,
        context: str,
        state: str = "success",
        *,
        description: str | None = None,
        app_id: int | None = None,
    ) -> None:
        """Set a commit status: `success`, `failure`, `error` or `pending`.

        Args:
            full_name: Repository.
            commit: The commit.
            context: Name of the check.
            state: Its state.
            description: A text for the reader.
            app_id: The App that sets it; a person without.
        """
        creator = CONSOLE if app_id is None else self._hub.directory.bot(app_id)
        kept = self._repo(full_name).statuses.setdefault(commit, {})
        kept[context] = Status(
            state=state,
            description=description,
            target_url=None,
            creator=creator,
            seconds=self._hub.clock(),
            count=kept[context].count + 1 if context in kept else 1,
        )

    def set_check_run(self, full_name: str, commit: str, name: str, conclusion: str, *, app_id: int = ACTIONS_APP) -> None:
        """Report a completed check run as an App does: `success`, `failure`, `skipped` and so on."""
        repo = self._repo(full_name)
        self._hub.report_check(repo, commit, {"name": name, "conclusion": conclusion}, self._hub.directory.bot(app_id))

    def statuses(self, full_name: str, commit: str) -> Mapping[str, Status]:
        """The latest status of each context on a commit."""
        return dict(self._repo(full_name).statuses.get(commit, {}))

    def webhooks(self, full_name: str) -> list[Hook]:
        """A repository's webhooks."""
        return self._hub.hooks(self._repo(full_name))

    def set_webhook(self, hook: Hook) -> None:
        """Change a webhook: what has its number makes room for it."""
        self._hub.set_hook(hook)

    def delete_webhook(self, number: int) -> None:
        """Take a webhook away; one that is not there is no error."""
        self._hub.delete_hook(number)

    def add_webhook(  # noqa: PLR0913 — the parts of a webhook
        self,
        full_name: str,
        *,
        url: str,
        content_type: str,
        secret: str = "",
        events: Sequence[str] = ("push",),
        active: bool = True,
        insecure_ssl: bool = False,
    ) -> int:
        """A webhook, which is pinged at once; its number.

        Args:
            full_name: Repository.
            url: Receiver.
            content_type: `json` or `form`.
            secret: Signs each delivery (`X-Hub-Signature-256`).
            events: `push`, `pull_request`, or `*`.
            active: Whether anything but the ping is sent.
            insecure_ssl: Kept, and not acted on: deliveries always check the certificate.
        """
        return self._hub.add_hook(
            self._repo(full_name),
            url=url,
            content_type=content_type,
            secret=secret,
            events=events,
            active=active,
            insecure_ssl=insecure_ssl,
        ).id

    # Teams and Actions

    def set_team_permission(self, full_name: str, team: str, permission: str | None) -> None:
        """Give a team a permission in a repository; None takes it away. Only a team that may push can own code."""
        teams = self._repo(full_name).teams
        if permission is None:
            teams.pop(team, None)
        else:
            teams[team] = permission

    def variables(self, full_name: str) -> Mapping[str, str]:
        """The variables of Actions, by name."""
        return dict(self._repo(full_name).variables)

    def set_variable(self, full_name: str, name: str, value: str | None) -> None:
        """Set a variable of Actions; None takes it away."""
        variables = self._repo(full_name).variables
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = value

    def secrets(self, full_name: str) -> frozenset[str]:
        """Return the names of the repository's secrets of Actions."""
        return frozenset(self._repo(full_name).secrets)

    def set_secret(self, full_name: str, name: str, value: str | None) -> None:
        """Set a repository secret of Actions, as `gh secret set` does; None deletes it."""
        secrets = self._repo(full_name).secrets
        if value is None:
            secrets.pop(name, None)
        else:
            secrets[name] = value

    def environments(self, full_name: str) -> Mapping[str, Environment]:
        """Return the repository's environments by name."""
        return dict(self._repo(full_name).environments)

    def set_environment(
        self, full_name: str, name: str, *, branches: Sequence[str] | None = None, can_admins_bypass: bool = True
    ) -> None:
        """Create an environment, or change its protection; its secrets and variables stay.

        Args:
            full_name: Repository.
            name: Environment.
            branches: Name patterns of the branches whose runs may use it; all without.
            can_admins_bypass: Whether administrators may pass the protection.
        """
        environments = self._repo(full_name).environments
        made = environments.setdefault(name, Environment(name=name))
        made.limited, made.can_admins_bypass = branches is not None, can_admins_bypass
        kept = {number: pattern for number, pattern in made.policies.items() if pattern in (branches or ())}
        made.policies.clear()
        made.policies.update(kept)
        for pattern in branches or ():
            if pattern not in kept.values():
                self.add_branch_policy(full_name, name, pattern)

    def add_branch_policy(self, full_name: str, environment: str, pattern: str) -> int:
        """Let runs of the branches that match a pattern use an environment; the policy's number.

        https://docs.github.com/en/rest/deployments/branch-policies#create-a-deployment-branch-policy

        Raises:
            Problem: When the environment does not exist or lets all branches use it, or has this policy.
        """
        found = self._repo(full_name).environments.get(environment)
        if found is None or not found.limited:
            text = "Not Found or `deployment_branch_policy.custom_branch_policies` property for the environment is set to false"
            raise Problem(404, text)
        if pattern in found.policies.values():
            text = f"The branch policy {pattern!r} exists already"
            raise Problem(303, text)
        number = self._hub.number()
        found.policies[number] = pattern
        return number

    def delete_environment(self, full_name: str, name: str) -> None:
        """Delete an environment with its secrets; one that does not exist is no error."""
        self._repo(full_name).environments.pop(name, None)

    def set_environment_secret(self, full_name: str, environment: str, name: str, value: str | None) -> None:
        """Set a secret of an environment, as `gh secret set --env` does; None deletes it.

        Raises:
            ValueError: When there is no such environment.
        """
        environments = self._repo(full_name).environments
        if environment not in environments:
            msg = f"{full_name} has no environment {environment!r}: it has {sorted(environments)}. Create it first."
            raise ValueError(msg)
        if value is None:
            environments[environment].secrets.pop(name, None)
        else:
            environments[environment].secrets[name] = value

    def set_environment_variable(self, full_name: str, environment: str, name: str, value: str) -> None:
        """Set a variable of an existing environment, as `gh variable set --env` does."""
        self._repo(full_name).environments[environment].variables[name] = value

    def set_workflow_permissions(self, full_name: str, *, default: str, can_approve: bool) -> None:
        """Set what the tokens of workflow runs may do where the workflow does not say, and whether they may approve.

        Raises:
            ValueError: When the default is neither `read` nor `write`.
        """
        if default not in {"read", "write"}:
            msg = f"default_workflow_permissions is {default!r}: GitHub takes read or write."
            raise ValueError(msg)
        repo = self._repo(full_name)
        repo.workflow_permissions, repo.actions_may_approve = default, can_approve

    def job_token(self, full_name: str, permissions: Mapping[str, str]) -> str:
        """Make the token of a workflow's job, with the job's permissions for this repository."""
        token = self._hub.directory.job_token(self._repo(full_name).full_name, permissions)
        self._application.credentials.add(token)
        return token

    def revoke_token(self, token: str) -> None:
        """End a token, as a job's own ends with the job."""
        self._hub.directory.revoke(token)

    def pushed_by(self, full_name: str, branch: str) -> str:
        """Return who last moved a branch; "" if it was never moved."""
        return self._repo(full_name).pushers.get(branch, "")

    # People and Apps

    def add_user(self, login: str, *, role: str = "write", owner: bool = False) -> str:
        """A person, and a token of theirs for git (basic authentication, any user name) and the API.

        Args:
            login: Name.
            role: Role in every repository: read, triage, write, maintain or admin.
            owner: Whether they own the organisation (`OrganizationAdmin` in bypass lists).
        """
        return self._hub.directory.add_user(login, role=role, owner=owner)

    def add_organization(self, name: str, *, number: int, plan: str = "team") -> None:
        """An organization with its id and its plan (`free`, `team`, `enterprise`)."""
        self._hub.directory.add_organization(name, number=number, plan=plan)

    def client_id(self, app_id: int) -> str:
        """Return the client id of an App."""
        return self._hub.directory.app(app_id).client_id

    def install_app(self, app_id: int, repositories: Sequence[str]) -> None:
        """Select the repositories of an App's installation anew, by full names."""
        self._hub.directory.install(app_id, repositories)

    def permissions(self, app_id: int) -> Mapping[str, str]:
        """Return what an App's installation may do."""
        return self._hub.directory.app(app_id).permissions

    def grant(self, app_id: int, permissions: Mapping[str, str]) -> None:
        """Let an App's installation do this and no more; tokens given before keep theirs."""
        self._hub.directory.grant(app_id, permissions)

    def members(self, team: str) -> frozenset[str]:
        """Return the logins of a team `organisation/slug`; none if there is no such team."""
        return self._hub.directory.members(team)

    def add_team(self, name: str, members: Sequence[str]) -> int:
        """A team `organisation/slug`, for CODEOWNERS; its id, for bypass lists."""
        return self._hub.directory.add_team(name, members)

    def add_app(  # noqa: PLR0913 — the parts of an App's registration
        self,
        app_id: int,
        slug: str,
        public_key_pem: bytes,
        *,
        installation_id: int,
        permissions: Mapping[str, str],
        repositories: Sequence[str],
    ) -> None:
        """A GitHub App with its one installation.

        Args:
            app_id: Number of the App, the issuer of its assertions.
            slug: The App acts as `<slug>[bot]`.
            public_key_pem: What its assertions are verified with.
            installation_id: Number of the installation.
            permissions: Levels by permission, such as `{"contents": "write"}`.
            repositories: Full names that the installation reaches.
        """
        self._hub.directory.add_app(
            app_id,
            slug,
            public_key_pem,
            installation_id=installation_id,
            permissions=permissions,
            repositories=repositories,
        )
