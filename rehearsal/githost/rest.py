"""The part of GitHub's REST API that the flow uses: routes, the permission each needs, and their answers.

Permissions are those of https://docs.github.com/en/rest/authentication/permissions-required-for-github-apps.
"""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import pygit2
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from rehearsal.githost import views
from rehearsal.githost.hub import Hub
from rehearsal.githost.limits import Rate
from rehearsal.githost.model import HEADS, Actor, Json, Problem, forbidden, not_found
from rehearsal.githost.records import Environment, Pull, Repository, Status
from rehearsal.githost.webhooks import Hook

# https://docs.github.com/en/rest/commits/statuses#create-a-commit-status: the states, and 1,000 of one context on a commit.
_STATES: Final = frozenset({"error", "failure", "pending", "success"})
_STATUSES: Final = 1000
_CONTEXT_LENGTH: Final = 255
# https://docs.github.com/en/rest/checks/runs#create-a-check-run
_CONCLUSIONS: Final = frozenset({"action_required", "cancelled", "failure", "neutral", "skipped", "success", "timed_out"})
# Argo CD cuts there: https://argo-cd.readthedocs.io/en/stable/operator-manual/notifications/services/github/
_DESCRIPTION_LENGTH: Final = 140
# https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api#using-query-parameters
_PAGE, _LARGEST_PAGE = 30, 100
_SCHEMES: Final = ("http://", "https://")

Answer: TypeAlias = Json | list[Json] | Response
"""JSON is sent with status 200; a Response as it is."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One authorised request to a repository's resource.

    Attributes:
        hub: The host.
        repo: The repository.
        actor: Who asks.
        request: The request.
    """

    hub: Hub
    repo: Repository
    actor: Actor
    request: Request

    def body(self) -> Json:
        """The JSON body, {} without one.

        Raises:
            Problem: 400 when it is not a JSON object.
        """
        if not self.request.get_data():
            return {}
        found: object = self.request.get_json(force=True, silent=True)
        if not isinstance(found, dict):
            raise Problem(400, "Problems parsing JSON")
        return cast("Json", found)

    def text(self, body: Json, key: str) -> str:
        """A required string of the body.

        Raises:
            Problem: 422 when it is missing.
        """
        if not isinstance(body.get(key), str):
            raise Problem(422, "Invalid request.", errors=[{"field": key, "code": "missing_field"}])
        return str(body[key])

    def commit(self, name: str) -> str:
        """The commit behind a branch, ref or id.

        Raises:
            Problem: 404 when there is none.
        """
        found = self.repo.store.head(name) or self.repo.store.commit_oid(name)
        if found is None:
            raise not_found()
        return found

    def pull(self, number: int) -> Pull:
        """A pull request of the repository."""
        return self.hub.pull(self.repo, number)

    def show(self, pull: Pull) -> Json:
        """A pull request, with what only the single one's answer holds."""
        mergeable = self.hub.mergeable(self.repo, pull) if pull.state == "open" else None
        return views.pull(self.hub.url, self.repo, pull) | {"mergeable": mergeable}


Handler: TypeAlias = Callable[..., Answer]


@dataclass(frozen=True, kw_only=True)
class Route:
    """What answers a request, and what it asks of the token."""

    handler: Handler
    permission: str
    level: str
    path: str


ROUTES: Final[list[Rule]] = []


def _route(method: str, path: str, permission: str, level: str = "read") -> Callable[[Handler], Handler]:
    """Register a handler of a path below the repository."""

    def register(handler: Handler) -> Handler:
        full = f"/repos/<owner>/<name>{path}"
        route = Route(handler=handler, permission=permission, level=level, path=full)
        ROUTES.append(Rule(full, methods=[method], endpoint=route))
        return handler

    return register


def created(found: Json) -> Response:
    """Status 201."""
    return json_response(found, 201)


def json_response(found: object, status: int = 200) -> Response:
    """JSON as GitHub sends it."""
    return Response(dumps(found), status=status, content_type="application/json; charset=utf-8")


def dumps(found: object) -> str:
    """Compact JSON."""
    return json.dumps(found, separators=(",", ":"))


# Repository, branches, refs


@_route("GET", "", "metadata")
def _repository(ask: Ask) -> Answer:
    return views.repository(ask.hub.url, ask.repo)


@_route("GET", "/branches/<path:branch>", "contents")
def _branch(ask: Ask, branch: str) -> Answer:
    head = ask.repo.store.head(branch)
    if head is None or not ask.repo.sees(branch):
        text = "Branch not found"
        raise not_found(text)
    found = cast("pygit2.Commit", ask.repo.store.resolve(head))
    rulesets = ask.repo.rulesets.values()
    protected = any(ruleset.covers(HEADS + branch, ask.repo.default_branch) for ruleset in rulesets)
    return {"name": branch, "commit": views.commit(found), "protected": protected}


def _ref_json(ask: Ask, ref: str, oid: str) -> Json:
    where = f"{ask.hub.url}/repos/{ask.repo.full_name}"
    shown = {"sha": oid, "type": "commit", "url": f"{where}/git/commits/{oid}"}
    return {"ref": ref, "url": f"{where}/git/{ref}", "object": shown}


@_route("GET", "/git/ref/<path:ref>", "contents")
def _ref(ask: Ask, ref: str) -> Answer:
    full = f"refs/{ref}"
    found = ask.repo.store.ref(full)
    if found is None or not ask.repo.sees(full.removeprefix(HEADS)):
        raise not_found()
    return _ref_json(ask, full, found)


def _branch_ref(ref: str) -> str:
    if not ref.startswith(HEADS):
        raise Problem(422, f"This Git host moves branches only: {ref!r} does not begin with {HEADS}.")
    return ref


@_route("POST", "/git/refs", "contents", "write")
def _create_ref(ask: Ask) -> Answer:
    body = ask.body()
    ref, oid = _branch_ref(ask.text(body, "ref")), ask.text(body, "sha")
    if ask.repo.store.ref(ref):
        raise Problem(422, "Reference already exists")
    if ask.repo.store.commit_oid(oid) != oid:
        raise Problem(422, "Object does not exist")
    ask.hub.move_ref(ask.repo, ref, oid, ask.actor)
    return created(_ref_json(ask, ref, oid))


@_route("PATCH", "/git/refs/<path:ref>", "contents", "write")
def _update_ref(ask: Ask, ref: str) -> Answer:
    body = ask.body()
    full, oid = _branch_ref(f"refs/{ref}"), ask.text(body, "sha")
    if ask.repo.store.ref(full) is None:
        raise Problem(422, "Reference does not exist")
    if ask.repo.store.commit_oid(oid) != oid:
        raise Problem(422, "Object does not exist")
    ask.hub.move_ref(ask.repo, full, oid, ask.actor, force=bool(body.get("force")))
    return _ref_json(ask, full, oid)


@_route("DELETE", "/git/refs/<path:ref>", "contents", "write")
def _delete_ref(ask: Ask, ref: str) -> Answer:
    full = _branch_ref(f"refs/{ref}")
    if ask.repo.store.ref(full) is None:
        raise Problem(422, "Reference does not exist")
    ask.hub.move_ref(ask.repo, full, None, ask.actor)
    return Response(status=204)


# Contents and comparisons


def _entry(ask: Ask, found: pygit2.Object, path: str) -> Json:
    kind = "dir" if isinstance(found, pygit2.Tree) else "file"
    size = found.size if isinstance(found, pygit2.Blob) else 0
    return {
        "type": kind,
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": str(found.id),
        "size": size,
        "url": f"{ask.hub.url}/repos/{ask.repo.full_name}/contents/{path}",
    }


@_route("GET", "/contents/", "contents")
@_route("GET", "/contents/<path:path>", "contents")
def _contents(ask: Ask, path: str = "") -> Answer:
    path = path.strip("/")
    commit = ask.commit(ask.request.args.get("ref", ask.repo.default_branch))
    found = ask.repo.store.resolve(f"{commit}:{path}")
    if isinstance(found, pygit2.Tree):
        return [_entry(ask, entry, f"{path}/{entry.name}".lstrip("/")) for entry in found]
    if not isinstance(found, pygit2.Blob):
        raise not_found()
    if ".raw" in ask.request.headers.get("Accept", ""):
        return Response(found.data, content_type="application/vnd.github.raw+json; charset=utf-8")
    return _entry(ask, found, path) | {"encoding": "base64", "content": base64.encodebytes(found.data).decode()}


def _commit_contents(ask: Ask, path: str, content: bytes | None) -> tuple[str, str]:
    """Commit one file; the branch and the commit's id. `sha` must be the file's blob where there is one."""
    body = ask.body()
    message, branch = ask.text(body, "message"), str(body.get("branch") or ask.repo.default_branch)
    there = ask.repo.store.resolve(f"{HEADS}{branch}:{path}")
    if there is None and content is None:
        raise not_found()
    if there is not None and body.get("sha") != str(there.id):
        if not body.get("sha"):
            raise Problem(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
        raise Problem(409, f"{path} does not match {body['sha']}")
    return branch, ask.hub.put_contents(ask.repo, branch, {path: content}, message, ask.actor)


@_route("PUT", "/contents/<path:path>", "contents", "write")
def _put_contents(ask: Ask, path: str) -> Answer:
    try:
        content = base64.b64decode(ask.text(ask.body(), "content"), validate=False)
    except ValueError as error:
        raise Problem(422, "content is not valid Base64") from error
    there = ask.repo.store.resolve(f"{ask.body().get('branch') or ask.repo.default_branch}:{path}")
    _, made = _commit_contents(ask, path, content)
    entry = _entry(ask, cast("pygit2.Object", ask.repo.store.resolve(f"{made}:{path}")), path)
    return json_response({"content": entry, "commit": {"sha": made}}, 200 if there else 201)


@_route("DELETE", "/contents/<path:path>", "contents", "write")
def _delete_contents(ask: Ask, path: str) -> Answer:
    _, made = _commit_contents(ask, path, None)
    return {"content": None, "commit": {"sha": made}}


@_route("GET", "/compare/<path:basehead>", "contents")
def _compare(ask: Ask, basehead: str) -> Answer:
    base, dots, head = basehead.partition("...")
    if not dots:
        raise not_found()
    store, one, other = ask.repo.store, ask.commit(base), ask.commit(head)
    common = store.merge_base(one, other)
    if common is None:
        text = f"No common ancestor between {base} and {head}."
        raise not_found(text)
    ahead, behind = store.ahead_behind(other, one)
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind", (True, True): "diverged"}
    commits = [views.commit(found) for found in store.commits(other, without=one)]
    return {
        "status": status[bool(ahead), bool(behind)],
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "base_commit": views.commit(cast("pygit2.Commit", store.resolve(one))),
        "merge_base_commit": views.commit(cast("pygit2.Commit", store.resolve(common))),
        "commits": commits,
        "files": store.changed_files(common, other),
    }


@_route("POST", "/statuses/<oid>", "statuses", "write")
def _set_status(ask: Ask, oid: str) -> Answer:
    body = ask.body()
    if ask.repo.store.commit_oid(oid) != oid:
        raise Problem(422, f"No commit found for SHA: {oid}")
    state, context = ask.text(body, "state"), str(body.get("context") or "default")
    description, target = body.get("description"), body.get("target_url")
    faults = [
        *(["state is not included in the list"] if state not in _STATES else []),
        *(["context is too long (maximum is 255 characters)"] if len(context) > _CONTEXT_LENGTH else []),
        *(
            [f"description is too long (maximum is {_DESCRIPTION_LENGTH} characters)"]
            if len(str(description or "")) > _DESCRIPTION_LENGTH
            else []
        ),
        # Whether GitHub takes an empty one, it does not say; that it refuses others, its users do:
        # https://github.com/jenkinsci/ghprb-plugin/issues/219
        *(["target_url must use http(s) scheme"] if target is not None and not str(target).startswith(_SCHEMES) else []),
    ]
    with ask.repo.lock:
        kept = ask.repo.statuses.setdefault(oid, {})
        count = kept[context].count + 1 if context in kept else 1
        if count > _STATUSES:
            faults.append("This SHA and context has reached the maximum number of statuses.")
        if faults:
            raise Problem(
                422, "Validation Failed", errors=[{"resource": "Status", "code": "custom", "message": each} for each in faults]
            )
        kept[context] = Status(
            state=state, description=description, target_url=target, creator=ask.actor, seconds=ask.hub.clock(), count=count
        )
    return created(views.status(context, kept[context]))


@_route("GET", "/commits/<path:ref>/status", "statuses")
def _combined_status(ask: Ask, ref: str) -> Answer:
    oid = ask.commit(ref)
    kept = ask.repo.statuses.get(oid, {})
    states = {each.state for each in kept.values()}
    # https://docs.github.com/en/rest/commits/statuses#get-the-combined-status-for-a-specific-reference
    state = "failure" if states & {"failure", "error"} else "pending" if not states or "pending" in states else "success"
    return {"sha": oid, "state": state, "statuses": [views.status(name, each) for name, each in kept.items()]}


@_route("POST", "/check-runs", "checks", "write")
def _create_check(ask: Ask) -> Answer:
    body = ask.body()
    ask.text(body, "name")
    oid = ask.text(body, "head_sha")
    if ask.repo.store.commit_oid(oid) != oid:
        raise Problem(422, f"No commit found for SHA: {oid}")
    if body.get("conclusion") not in {None, *_CONCLUSIONS}:
        raise Problem(422, f"Invalid request. conclusion {body['conclusion']!r} is not a possible value.")
    return created(views.check_run(ask.hub.report_check(ask.repo, oid, body, ask.actor)))


@_route("GET", "/commits/<path:ref>/check-runs", "checks")
def _check_runs(ask: Ask, ref: str) -> Answer:
    oid = ask.commit(ref)
    found = [views.check_run(each) for each in ask.repo.checks.values() if each.commit == oid]
    return {"total_count": len(found), "check_runs": found}


# Pull requests


@_route("GET", "/pulls", "pull_requests")
def _pulls(ask: Ask) -> Answer:
    wanted = {key: ask.request.args.get(key, "") for key in ("state", "head", "base")}
    state, head = wanted["state"] or "open", wanted["head"].split(":")[-1]
    return [
        views.pull(ask.hub.url, ask.repo, pull)
        for pull in sorted(ask.repo.pulls.values(), key=lambda pull: -pull.number)
        if state in {"all", pull.state} and head in {"", pull.head} and wanted["base"] in {"", pull.base}
    ]


@_route("POST", "/pulls", "pull_requests", "write")
def _open_pull(ask: Ask) -> Answer:
    body = ask.body()
    for key in ("title", "head", "base"):
        ask.text(body, key)
    return created(ask.show(ask.hub.open_pull(ask.repo, body, ask.actor)))


@_route("GET", "/pulls/<int:number>", "pull_requests")
def _pull(ask: Ask, number: int) -> Answer:
    return ask.show(ask.pull(number))


@_route("PATCH", "/pulls/<int:number>", "pull_requests", "write")
def _edit_pull(ask: Ask, number: int) -> Answer:
    return ask.show(ask.hub.edit_pull(ask.repo, ask.pull(number), ask.body(), ask.actor))


@_route("GET", "/pulls/<int:number>/files", "pull_requests")
def _pull_files(ask: Ask, number: int) -> Answer:
    pull = ask.pull(number)
    common = ask.repo.store.merge_base(pull.base_oid, pull.head_oid)
    return ask.repo.store.changed_files(common or pull.base_oid, pull.head_oid)


@_route("GET", "/pulls/<int:number>/reviews", "pull_requests")
def _reviews(ask: Ask, number: int) -> Answer:
    return [views.review(found, index) for index, found in enumerate(ask.pull(number).reviews, start=1)]


@_route("POST", "/pulls/<int:number>/reviews", "pull_requests", "write")
def _review(ask: Ask, number: int) -> Answer:
    pull = ask.pull(number)
    made = ask.hub.review(ask.repo, pull, ask.body(), ask.actor)
    return views.review(made, len(pull.reviews))


@_route("GET", "/pulls/<int:number>/merge", "pull_requests")
def _is_merged(ask: Ask, number: int) -> Answer:
    if ask.pull(number).merge_oid is None:
        raise not_found()
    return Response(status=204)


@_route("PUT", "/pulls/<int:number>/merge", "contents", "write")
def _merge(ask: Ask, number: int) -> Answer:
    made = ask.hub.merge(ask.repo, ask.pull(number), ask.body(), ask.actor)
    return {"sha": made, "merged": True, "message": "Pull Request successfully merged"}


# Releases


@_route("GET", "/releases", "contents")
def _releases(ask: Ask) -> Answer:
    return [views.release(ask.hub.url, ask.repo, each) for each in reversed(ask.repo.releases.values())]


@_route("POST", "/releases", "contents", "write")
def _release(ask: Ask) -> Answer:
    body = ask.body()
    ask.text(body, "tag_name")
    return created(views.release(ask.hub.url, ask.repo, ask.hub.release(ask.repo, body, ask.actor)))


@_route("GET", "/releases/tags/<path:tag>", "contents")
def _release_of(ask: Ask, tag: str) -> Answer:
    if tag not in ask.repo.releases:
        raise not_found()
    return views.release(ask.hub.url, ask.repo, ask.repo.releases[tag])


# Webhooks


@_route("GET", "/hooks", "repository_hooks")
def _hooks(ask: Ask) -> Answer:
    return [views.hook(ask.hub.url, hook) for hook in ask.hub.hooks(ask.repo)]


@_route("POST", "/hooks", "repository_hooks", "write")
def _add_hook(ask: Ask) -> Answer:
    body = ask.body()
    config = cast("Json", body.get("config") or {})
    hook: Hook = ask.hub.add_hook(
        ask.repo,
        url=ask.text(config, "url"),
        content_type=str(config.get("content_type", "form")),
        secret=str(config.get("secret", "")),
        events=cast("list[str]", body.get("events") or ["push"]),
    )
    return created(views.hook(ask.hub.url, hook))


# Environments, variables, and names of secrets


def _page(request: Request, key: str, found: Sequence[Json]) -> Json:
    """One page of a list. https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api ."""
    return {"total_count": len(found), key: _part(request, found)}


def _part(request: Request, found: Sequence[Json]) -> list[Json]:
    size = min(int(request.args.get("per_page", _PAGE)), _LARGEST_PAGE)
    start = (int(request.args.get("page", 1)) - 1) * size
    return list(found[start : start + size])


def _environment_of(ask: Ask, environment: str) -> Environment:
    # GitHub does not tell them apart by case.
    found = next((each for name, each in ask.repo.environments.items() if name.lower() == environment.lower()), None)
    if found is None:
        raise not_found()
    return found


@_route("GET", "/environments/<environment>", "actions")
def _environment(ask: Ask, environment: str) -> Answer:
    return views.environment(ask.hub.url, ask.repo, _environment_of(ask, environment))


@_route("GET", "/environments/<environment>/deployment-branch-policies", "actions")
def _branch_policies(ask: Ask, environment: str) -> Answer:
    policies = _environment_of(ask, environment).policies
    shown: list[Json] = [{"id": number, "name": name, "type": "branch"} for number, name in policies.items()]
    return _page(ask.request, "branch_policies", shown)


@_route("GET", "/environments/<environment>/secrets", "environments")
def _environment_secrets(ask: Ask, environment: str) -> Answer:
    # Names alone: no answer of GitHub's ever holds a secret.
    return _page(ask.request, "secrets", [{"name": each} for each in sorted(_environment_of(ask, environment).secrets)])


@_route("GET", "/environments/<environment>/variables", "environments")
def _environment_variables(ask: Ask, environment: str) -> Answer:
    found = _environment_of(ask, environment).variables
    return _page(ask.request, "variables", [{"name": name, "value": value} for name, value in sorted(found.items())])


@_route("GET", "/environments/<environment>/variables/<variable>", "environments")
def _environment_variable(ask: Ask, environment: str, variable: str) -> Answer:
    found = _environment_of(ask, environment).variables
    if variable.upper() not in found:
        raise not_found()
    return {"name": variable.upper(), "value": found[variable.upper()]}


@_route("GET", "/actions/variables", "actions_variables")
def _variables(ask: Ask) -> Answer:
    found = ask.repo.variables
    return _page(ask.request, "variables", [{"name": name, "value": value} for name, value in sorted(found.items())])


@_route("GET", "/actions/secrets", "secrets")
def _secrets(ask: Ask) -> Answer:
    return _page(ask.request, "secrets", [{"name": each} for each in sorted(ask.repo.secrets)])


@_route("GET", "/actions/organization-secrets", "secrets")
def _organization_secrets(ask: Ask) -> Answer:
    # This host keeps none.
    return _page(ask.request, "secrets", [])


# Organizations


def organization(hub: Hub, actor: Actor, request: Request, name: str, rest_of_path: str) -> Answer:
    """What stands below an organization.

    Raises:
        Problem: 404 where there is nothing, or nothing for this actor.
    """
    found = hub.directory.organization(name)
    match rest_of_path.strip("/").split("/"):
        case [""]:
            return views.organization(found, owner=actor.owner)
        case ["installations"] if actor.owner:
            # https://docs.github.com/en/rest/orgs/orgs#list-app-installations-for-an-organization: for owners
            shown = [views.installation(each) for each in hub.directory.apps(name)]
            return _page(request, "installations", shown)
        case ["teams", slug]:
            number, _ = hub.directory.team(f"{name}/{slug}")
            return {"id": number, "slug": slug, "name": slug, "privacy": "closed"}
        case ["teams", slug, "members"]:
            _, members = hub.directory.team(f"{name}/{slug}")
            return _part(request, [views.user(each) for each in members])
        case _:
            raise not_found()


# What belongs to no repository


@dataclass(frozen=True, kw_only=True)
class Special:
    """A route that checks its own credentials."""

    name: str
    path: str


SPECIAL: Final = [
    Rule(path, methods=[method], endpoint=Special(name=name, path=path))
    for name, method, path in (
        ("token", "POST", "/app/installations/<int:installation_id>/access_tokens"),
        ("installation", "GET", "/repos/<owner>/<name>/installation"),
        ("app", "GET", "/app"),
        ("installation of the App", "GET", "/app/installations/<int:installation_id>"),
        ("organization", "GET", "/orgs/<organization>"),
        ("organization", "GET", "/orgs/<organization>/<path:rest_of_path>"),
        ("rate_limit", "GET", "/rate_limit"),
        ("graphql", "POST", "/graphql"),
    )
]

URLS: Final = Map([*ROUTES, *SPECIAL], strict_slashes=False, merge_slashes=False)


def authorise(hub: Hub, actor: Actor | None, route: Route, owner: str, name: str) -> tuple[Actor, Repository]:
    """Whether an actor may use a route of a repository.

    Raises:
        Problem: 404 where the actor cannot see it, 403 where the permission is missing.
    """
    if actor is None:
        # All repositories are private: to the anonymous there is none.
        raise not_found()
    try:
        repo = hub.repository(f"{owner}/{name}", actor)
    except Problem as problem:
        raise not_found() from problem
    if not actor.may(route.permission, route.level):
        raise forbidden() if actor.app_id else forbidden("Must have admin rights to Repository.")
    return actor, repo


def resources(core: Rate, graphql: Rate) -> Json:
    """The answer of `GET /rate_limit`."""

    def shown(rate: Rate) -> Json:
        remaining = rate.limit - rate.used
        return {"limit": rate.limit, "used": rate.used, "remaining": remaining, "reset": int(rate.reset_seconds)}

    return {"resources": {"core": shown(core), "graphql": shown(graphql)}, "rate": shown(core)}
