"""People, Apps and their tokens: who a request comes from.

App authentication is GitHub's: a JSON Web Token signed with the App's key is exchanged for an installation token.
https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
"""

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, cast

import jwt

from rehearsal.githost.model import LEVELS, Actor, Json, Problem, not_found

JWT_LIFETIME_SECONDS: Final = 600
"""`exp` lies at most ten minutes ahead (the page above)."""

TOKEN_LIFETIME_SECONDS: Final = 3600
"""An installation token lives one hour.
https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-an-installation-access-token-for-a-github-app"""

CONSOLE: Final = Actor(login="console", user_id=1, role="admin", owner=True, console=True)
"""What people and providers do outside of the tokens under test."""

ACTIONS_APP: Final = 15368
"""The App that workflow runs act as. https://api.github.com/apps/github-actions"""

PROVIDER: Final = Actor(login="pulumi", user_id=2, role="admin", owner=True)
"""The organization owner whose token the program's provider has: rules hold for owners that no bypass list names."""

_ACTIONS: Final = Actor(login="github-actions[bot]", user_id=41_898_282, app_id=ACTIONS_APP)


@dataclass(frozen=True, kw_only=True)
class App:
    """A GitHub App and its one installation."""

    app_id: int
    slug: str
    public_key_pem: bytes
    installation_id: int
    permissions: Mapping[str, str]
    repositories: frozenset[str]
    user_id: int
    owner: str = ""

    @property
    def client_id(self) -> str:
        """The id that GitHub recommends as the issuer of an App's assertions.

        https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
        """
        return f"Iv23li{self.app_id:014d}"


@dataclass(frozen=True, kw_only=True)
class Organization:
    """An organization.

    Attributes:
        name: Its login.
        id: Its number.
        plan: `free`, `team` or `enterprise`: its owners see it.
    """

    name: str
    id: int
    plan: str


@dataclass(frozen=True, kw_only=True)
class _Token:
    actor: Actor
    expires: float
    # Of an installation token: the repositories that its request named, None for all of the installation's.
    narrowed_to: frozenset[str] | None = None


def _unauthorized(message: str = "Bad credentials") -> Problem:
    return Problem(401, message, kind="UNAUTHORIZED")


def iso(seconds: float) -> str:
    """A moment as GitHub's APIs write it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Directory:
    """Everyone whom the host knows."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start with nobody.

        Args:
            clock: Seconds since 1970; tests move it.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._apps: dict[int, App] = {}
        self._users: dict[str, Actor] = {}
        self._teams: dict[str, tuple[int, frozenset[str]]] = {}
        self._tokens: dict[str, _Token] = {}
        self._organizations: dict[str, Organization] = {}

    # Entering people and Apps

    def _next_user_id(self) -> int:
        return 100_000 + len(self._apps) + len(self._users)

    def add_user(self, login: str, *, role: str, owner: bool) -> str:
        """A person's personal token, which does not expire."""
        with self._lock:
            actor = Actor(login=login, user_id=self._next_user_id(), role=role, owner=owner)
            self._users[login] = actor
            token = f"ghp_{secrets.token_hex(18)}"
            self._tokens[token] = _Token(actor=actor, expires=float("inf"))
            return token

    def add_organization(self, name: str, *, number: int, plan: str) -> None:
        """An organization, in place of the one with its name."""
        self._organizations[name.lower()] = Organization(name=name, id=number, plan=plan)

    def organization(self, name: str) -> Organization:
        """Return an organization.

        Raises:
            Problem: 404 when there is none.
        """
        if name.lower() not in self._organizations:
            raise not_found()
        return self._organizations[name.lower()]

    def install(self, app_id: int, repositories: Sequence[str]) -> None:
        """Select the repositories of an App's installation anew.

        Tokens given before follow it: GitHub judges what an installation reaches at each request. A token that was narrowed to
        some repositories reaches those of them that are still selected.
        """
        with self._lock:
            self._apps[app_id] = replace(self._apps[app_id], repositories=frozenset(each.lower() for each in repositories))

    def grant(self, app_id: int, permissions: Mapping[str, str]) -> None:
        """Give an App's installation these permissions alone; tokens given before keep theirs."""
        with self._lock:
            self._apps[app_id] = replace(self._apps[app_id], permissions=dict(permissions))

    def apps(self, organization: str) -> list[App]:
        """Return the Apps installed in an organization, by id."""
        return sorted(
            (each for each in self._apps.values() if each.owner.lower() == organization.lower()), key=lambda each: each.app_id
        )

    def app(self, app_id: int) -> App:
        """Return an App."""
        return self._apps[app_id]

    def team(self, name: str) -> tuple[int, list[Actor]]:
        """Return a team's id and its people, by login.

        Raises:
            Problem: 404 when there is none.
        """
        found = next((each for each in self._teams if each.lower() == name.lower()), None)
        if found is None:
            raise not_found()
        return self._teams[found][0], [self._users[each] for each in sorted(self.members(found))]

    def add_team(self, name: str, members: Sequence[str]) -> int:
        """A team `organisation/slug`; its id is what bypass lists name."""
        with self._lock:
            number = 5000 + len(self._teams)
            self._teams[name] = (number, frozenset(members))
            return number

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
        """Register an App together with its installation.

        Raises:
            ValueError: When a permission has a level that GitHub does not know.
        """
        for permission, level in permissions.items():
            if level not in LEVELS:
                msg = f"App {slug}: permission {permission} is {level!r}: allowed are {', '.join(LEVELS)}."
                raise ValueError(msg)
        with self._lock:
            self._apps[app_id] = App(
                app_id=app_id,
                slug=slug,
                public_key_pem=public_key_pem,
                installation_id=installation_id,
                permissions=dict(permissions),
                repositories=frozenset(name.lower() for name in repositories),
                user_id=self._next_user_id(),
                owner=next((name.split("/")[0] for name in repositories), ""),
            )

    def members(self, team: str) -> frozenset[str]:
        """Return the people of a team; none if there is no such team."""
        return self._teams.get(team, (0, frozenset[str]()))[1] & self._users.keys()

    def person(self, login: str) -> Actor | None:
        """Return a person; None for an App and for a login that is not known."""
        return self._users.get(login)

    def bot(self, app_id: int) -> Actor:
        """Return what an App acts as, without any permission.

        Raises:
            ValueError: there is no such App.
        """
        if app_id == ACTIONS_APP:
            return _ACTIONS
        if app_id not in self._apps:
            msg = f"no App has the id {app_id}: {sorted({*self._apps, ACTIONS_APP})} are known. Add it with add_app."
            raise ValueError(msg)
        app = self._apps[app_id]
        return Actor(login=f"{app.slug}[bot]", user_id=app.user_id, app_id=app_id)

    def job_token(self, full_name: str, permissions: Mapping[str, str]) -> str:
        """Make the token of a workflow's job: of the Actions App, for one repository.

        https://docs.github.com/en/actions/concepts/security/github_token

        Args:
            full_name: The repository.
            permissions: What the job may do.
        """
        actor = replace(_ACTIONS, permissions=dict(permissions), repositories=frozenset({full_name.lower()}))
        token = f"ghs_{secrets.token_hex(18)}"
        with self._lock:
            self._tokens[token] = _Token(actor=actor, expires=self._clock() + TOKEN_LIFETIME_SECONDS)
        return token

    def revoke(self, token: str) -> None:
        """Forget a token: a job's own ends with the job."""
        with self._lock:
            self._tokens.pop(token, None)

    def installation(self, full_name: str, assertion: str) -> App:
        """Return the App of an assertion, if it is installed in a repository.

        https://docs.github.com/en/rest/apps/apps#get-a-repository-installation-for-the-authenticated-app

        Raises:
            Problem: 401 as `app_of` does; 404 when it is not installed there.
        """
        app = self.app_of(assertion)
        if full_name.lower() not in app.repositories:
            raise not_found()
        return app

    # Authentication

    def actor_of(self, token: str) -> Actor:
        """Who holds a token.

        Raises:
            Problem: 401 when it is unknown or has expired.
        """
        found = self._tokens.get(token)
        if found is None or found.expires <= self._clock():
            raise _unauthorized()
        teams = frozenset(number for number, members in self._teams.values() if found.actor.login in members)
        return replace(found.actor, teams=teams, repositories=self._reached(found))

    def _reached(self, token: _Token) -> frozenset[str] | None:
        """The repositories that a token reaches now."""
        app = self._apps.get(token.actor.app_id or 0)
        if app is None:
            return token.actor.repositories
        return app.repositories if token.narrowed_to is None else app.repositories & token.narrowed_to

    def app_of(self, assertion: str) -> App:
        """The App behind a JSON Web Token.

        Raises:
            Problem: 401 in GitHub's words when the signature, `iat` or `exp` is not as it must be; 404 when no App has
                the issuer's id.
        """
        unreadable = "A JSON web token could not be decoded"
        try:
            claims: Json = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.InvalidTokenError as error:
            raise _unauthorized(unreadable) from error
        issuer = str(claims.get("iss", ""))
        app = self._apps.get(int(issuer)) if issuer.isdecimal() else None
        app = app or next((each for each in self._apps.values() if each.client_id == issuer), None)
        if app is None:
            # https://github.com/actions/create-github-app-token/issues/76 shows GitHub's words for this.
            text = "Integration not found"
            raise not_found(text)
        # The times are judged below, by the host's clock and with GitHub's words.
        try:
            jwt.decode(assertion, app.public_key_pem, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False})
        except jwt.InvalidTokenError as error:
            raise _unauthorized(unreadable) from error
        self._judge_times(claims)
        return app

    def _judge_times(self, claims: Json) -> None:
        now = self._clock()
        issued, expires = claims.get("iat"), claims.get("exp")
        if not isinstance(issued, int) or issued > now:
            text = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
            raise _unauthorized(text)
        if not isinstance(expires, int | float) or expires <= now:
            text = (
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the "
                "assertion expires"
            )
            raise _unauthorized(text)
        # Exactly ten minutes is already too far when both clocks agree to the second:
        # https://github.com/github/docs/issues/36558. Ten minutes from GitHub's own clock, whatever `iat` says.
        if expires > now + JWT_LIFETIME_SECONDS:
            text = "'Expiration time' claim ('exp') is too far in the future"
            raise _unauthorized(text)

    def installation_token(self, installation_id: int, assertion: str, wanted: Json) -> Json:
        """Exchange an App's assertion for an installation token.

        https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app

        Args:
            installation_id: The installation, which must be the App's own.
            assertion: JSON Web Token.
            wanted: The request's body, which may narrow `repositories` (names without owner) and `permissions`.

        Raises:
            Problem: As `app_of` does; 404 for another App's installation, 422 for more than was granted.
        """
        app = self.app_of(assertion)
        if app.installation_id != installation_id:
            raise not_found()
        permissions = dict(cast("Mapping[str, str]", wanted.get("permissions") or app.permissions))
        for name, level in permissions.items():
            if level not in LEVELS or LEVELS.index(level) > LEVELS.index(app.permissions.get(name, "none")):
                text = "The permissions requested are not granted to this installation."
                raise Problem(422, text)
        repositories = app.repositories
        if names := cast("Sequence[str]", wanted.get("repositories") or ()):
            short = {name.lower() for name in names}
            repositories = frozenset(full for full in app.repositories if full.split("/")[1] in short)
            if len(repositories) != len(short):
                text = "There is at least one repository that does not exist or is not accessible to the parent installation."
                raise Problem(422, text)
        actor = Actor(
            login=f"{app.slug}[bot]",
            user_id=app.user_id,
            app_id=app.app_id,
            permissions=permissions,
            repositories=repositories,
        )
        token, expires = f"ghs_{secrets.token_hex(18)}", self._clock() + TOKEN_LIFETIME_SECONDS
        with self._lock:
            self._tokens[token] = _Token(actor=actor, expires=expires, narrowed_to=repositories if names else None)
        return {
            "token": token,
            "expires_at": iso(expires),
            "permissions": {"metadata": "read", **permissions},
            "repository_selection": "selected",
        }
