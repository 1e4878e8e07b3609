"""GitHub's GraphQL API: the published schema, executed over the bare repositories.

Validation is against all of the schema. Execution answers what the flow asks for; a field that GitHub has but this host does
not serve is an error that says so, never a null. Errors have GitHub's shape: HTTP 200, `type` and `path` beside `message`.
"""

import base64
import binascii
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final, cast

import graphql
import pygit2
from graphql.validation import FieldsOnCorrectTypeRule, specified_rules
from pygit2 import enums

from rehearsal.githost import schema
from rehearsal.githost.hub import Draft, Hub
from rehearsal.githost.identity import iso
from rehearsal.githost.limits import Rate
from rehearsal.githost.model import HEADS, Actor, Json, Problem, not_found
from rehearsal.githost.records import Repository, Status
from rehearsal.githost.store import GitObject

MAX_PAGE: Final = 100
"""`first` and `last` are at most 100.
https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api#node-limit"""


@dataclass(kw_only=True)
class Session:
    """One GraphQL request.

    Attributes:
        hub: The host.
        actor: Who asks.
        rate: Their allowance.
        opened: Repositories that this request has opened, for its one thread.
    """

    hub: Hub
    actor: Actor
    rate: Rate
    opened: dict[str, pygit2.Repository] = field(default_factory=dict[str, pygit2.Repository])

    def git(self, repo: Repository) -> pygit2.Repository:
        """The repository for libgit2, opened once a request."""
        if repo.full_name not in self.opened:
            self.opened[repo.full_name] = repo.store.open()
        return self.opened[repo.full_name]


@dataclass(frozen=True)
class _Node:
    """A GraphQL object: each attribute or method is a field, in snake_case; methods take the field's arguments."""

    session: Session

    @property
    def typename(self) -> str:
        return type(self).__name__.lstrip("_")


@dataclass(frozen=True)
class _Object(_Node):
    repo: Repository

    @property
    def git(self) -> pygit2.Repository:
        return self.session.git(self.repo)

    def repository(self) -> "_Repository":
        return _Repository(self.session, self.repo)


@dataclass(frozen=True)
class _RateLimit(_Node):
    cost: int = 1

    def limit(self) -> int:
        return self.session.rate.limit

    def used(self) -> int:
        return self.session.rate.used

    def remaining(self) -> int:
        return self.session.rate.limit - self.session.rate.used

    def reset_at(self) -> str:
        return iso(self.session.rate.reset_seconds)


@dataclass(frozen=True)
class _Login(_Node):
    """A user, bot or organisation, of whom only the login is served."""

    login: str
    kind: str

    @property
    def typename(self) -> str:
        return self.kind


@dataclass(frozen=True)
class _Repository(_Object):
    def id(self) -> str:
        return _node_id("Repository", self.repo.full_name)

    def name(self) -> str:
        return self.repo.full_name.split("/")[1]

    def name_with_owner(self) -> str:
        return self.repo.full_name

    def is_private(self) -> bool:
        return True

    def url(self) -> str:
        return f"{self.session.hub.url}/{self.repo.full_name}"

    def owner(self) -> _Login:
        return _Login(self.session, self.repo.full_name.split("/")[0], "Organization")

    def default_branch_ref(self) -> "_Ref | None":
        return self.ref(qualified_name=HEADS + self.repo.default_branch)

    def ref(self, *, qualified_name: str) -> "_Ref | None":
        self._need_contents()
        # `dev`, `heads/dev` and `refs/heads/dev` name the same branch, and a branch goes before a tag.
        for candidate in (qualified_name, f"refs/{qualified_name}", HEADS + qualified_name, f"refs/tags/{qualified_name}"):
            if candidate.startswith("refs/") and candidate in self.git.references:
                return _Ref(self.session, self.repo, candidate)
        return None

    def object(self, *, expression: str = "", oid: str = "") -> _Node | None:
        self._need_contents()
        found = self.repo.store.resolve(oid or expression, self.git)
        path = expression.partition(":")[2].strip("/")
        return _object(self, found, path)

    def _need_contents(self) -> None:
        if not self.session.actor.may("contents", "read"):
            raise _inaccessible()


@dataclass(frozen=True)
class _Ref(_Object):
    full: str

    def id(self) -> str:
        return _node_id("Ref", self.repo.full_name, self.full)

    def prefix(self) -> str:
        return "/".join(self.full.split("/")[:2]) + "/"

    def name(self) -> str:
        return self.full.split("/", maxsplit=2)[2]

    def target(self) -> _Node | None:
        return _object(self, self.git.get(self.git.references[self.full].resolve().target), "")


@dataclass(frozen=True)
class _GitObject(_Object):
    found: GitObject
    path: str

    def oid(self) -> str:
        return str(self.found.id)

    def abbreviated_oid(self) -> str:
        return self.oid()[:7]

    def id(self) -> str:
        return _node_id(self.typename, self.repo.full_name, self.oid())


@dataclass(frozen=True)
class _Blob(_GitObject):
    @property
    def _blob(self) -> pygit2.Blob:
        return cast("pygit2.Blob", self.found)

    def byte_size(self) -> int:
        return self._blob.size

    def is_binary(self) -> bool:
        return self._blob.is_binary

    def is_truncated(self) -> bool:
        return False

    def text(self) -> str | None:
        return None if self._blob.is_binary else self._blob.data.decode("utf-8", errors="replace")


@dataclass(frozen=True)
class _Tree(_GitObject):
    def entries(self) -> "list[_TreeEntry]":
        prefix = f"{self.path}/" if self.path else ""
        tree = cast("pygit2.Tree", self.found)
        return [_TreeEntry(self.session, self.repo, entry, f"{prefix}{entry.name}") for entry in tree]


@dataclass(frozen=True)
class _TreeEntry(_Object):
    entry: pygit2.Object
    path: str

    def name(self) -> str:
        return str(self.entry.name)

    def oid(self) -> str:
        return str(self.entry.id)

    def type(self) -> str:
        return str(self.entry.type_str)

    def mode(self) -> int:
        return int(self.entry.filemode)

    def size(self) -> int:
        return self.entry.size if isinstance(self.entry, pygit2.Blob) else 0

    def extension(self) -> str:
        name, dot, suffix = self.name().rpartition(".")
        return f"{dot}{suffix}" if name else ""

    def object(self) -> _Node | None:
        return _object(self, self.entry, self.path)


@dataclass(frozen=True)
class _GitActor(_Node):
    signature: pygit2.Signature

    def name(self) -> str:
        return self.signature.name

    def email(self) -> str:
        return self.signature.email

    def date(self) -> str:
        return iso(self.signature.time)


@dataclass(frozen=True)
class _Commit(_GitObject):
    @property
    def _commit(self) -> pygit2.Commit:
        return cast("pygit2.Commit", self.found)

    def message(self) -> str:
        return self._commit.message

    def message_headline(self) -> str:
        return self.message().split("\n", maxsplit=1)[0]

    def message_body(self) -> str:
        return self.message().partition("\n")[2].strip("\n")

    def url(self) -> str:
        return f"{self.session.hub.url}/{self.repo.full_name}/commit/{self.oid()}"

    def commit_url(self) -> str:
        return self.url()

    def author(self) -> _GitActor:
        return _GitActor(self.session, self._commit.author)

    def committer(self) -> _GitActor:
        return _GitActor(self.session, self._commit.committer)

    def authored_date(self) -> str:
        return iso(self._commit.author.time)

    def committed_date(self) -> str:
        return iso(self._commit.committer.time)

    def status(self) -> "_Status | None":
        if not self.session.actor.may("statuses", "read"):
            raise _inaccessible()
        # GitHub has none for a commit without any.
        return _Status(self.session, self.repo, self.oid()) if self.oid() in self.repo.statuses else None

    def tree(self) -> _Tree:
        return _Tree(self.session, self.repo, self._commit.tree, "")

    def file(self, *, path: str) -> _TreeEntry | None:
        try:
            return _TreeEntry(self.session, self.repo, self._commit.tree[path], path)
        except KeyError:
            return None

    def parents(self, *, first: int = 0, after: str = "", **_: object) -> "_Commits":
        parents = [cast("pygit2.Commit", self.git[oid]) for oid in self._commit.parent_ids]
        return _commits(self, parents, "parents", first, after)

    def history(self, *, first: int = 0, after: str = "", path: str = "", **others: object) -> "_Commits":
        if others:
            raise _unserved(self.typename, f"history({', '.join(others)})")
        walk = self.git.walk(self.found.id, enums.SortMode.TOPOLOGICAL)
        return _commits(self, [found for found in walk if not path or _touches(found, path)], "history", first, after)


@dataclass(frozen=True)
class _Status(_Object):
    commit_oid: str

    def contexts(self) -> "list[_StatusContext]":
        found = self.repo.statuses[self.commit_oid]
        return [_StatusContext(self.session, name, status) for name, status in sorted(found.items())]

    def context(self, *, name: str) -> "_StatusContext | None":
        found = self.repo.statuses[self.commit_oid].get(name)
        return _StatusContext(self.session, name, found) if found else None


@dataclass(frozen=True)
class _StatusContext(_Node):
    context: str
    found: Status

    def state(self) -> str:
        return self.found.state.upper()

    def description(self) -> str | None:
        return self.found.description

    def target_url(self) -> str | None:
        return self.found.target_url

    def created_at(self) -> str:
        return iso(self.found.seconds)

    def creator(self) -> _Login:
        return _Login(self.session, self.found.creator.login, self.found.creator.kind)


def _touches(commit: pygit2.Commit, path: str) -> bool:
    def at(found: pygit2.Commit) -> pygit2.Oid | None:
        return found.tree[path].id if path in found.tree else None

    return all(at(parent) != at(commit) for parent in commit.parents) if commit.parents else at(commit) is not None


@dataclass(frozen=True)
class _PageInfo(_Node):
    end_cursor: str | None
    has_next_page: bool


@dataclass(frozen=True)
class _Commits(_Node):
    """A page of commits; its type's name depends on the field."""

    nodes: list[_Commit]
    total_count: int
    page_info: _PageInfo


def _commits(source: _Object, every: Sequence[pygit2.Commit], name: str, first: int, after: str) -> _Commits:
    if not first:
        text = f"You must provide a `first` or `last` value to properly paginate the `{name}` connection."
        raise Problem(422, text, kind="MISSING_PAGINATION_BOUNDARIES")
    if first > MAX_PAGE:
        text = f"Requesting {first} records on the `{name}` connection exceeds the `first` limit of {MAX_PAGE} records."
        raise Problem(422, text, kind="EXCESSIVE_PAGINATION")
    start = int(after or 0)
    end = min(start + first, len(every))
    page = _PageInfo(source.session, str(end) if end > start else None, end < len(every))
    nodes = [_Commit(source.session, source.repo, found, "") for found in every[start:end]]
    return _Commits(source.session, nodes, len(every), page)


def _object(source: _Object, found: object, path: str) -> _Node | None:
    match found:
        case pygit2.Blob():
            return _Blob(source.session, source.repo, found, path)
        case pygit2.Tree():
            return _Tree(source.session, source.repo, found, path)
        case pygit2.Commit():
            return _Commit(source.session, source.repo, found, "")
        case _:
            return None


@dataclass(frozen=True)
class _CreateCommitOnBranchPayload(_Object):
    client_mutation_id: str | None
    oid: str
    branch: str

    def commit(self) -> _Node | None:
        return _object(self, self.git[self.oid], "")

    def ref(self) -> _Ref:
        return _Ref(self.session, self.repo, HEADS + self.branch)


@dataclass(frozen=True)
class _Root(_Node):
    """Query and Mutation."""

    def rate_limit(self, **_: object) -> _RateLimit:
        return _RateLimit(self.session)

    def viewer(self) -> _Login:
        return _Login(self.session, self.session.actor.login, "User")

    def repository(self, *, owner: str, name: str, **_: object) -> _Repository:
        session = self.session
        return _Repository(session, session.hub.repository(f"{owner}/{name}", session.actor))

    def create_commit_on_branch(self, *, input: Json) -> _CreateCommitOnBranchPayload:  # noqa: A002 — GitHub's name for the argument
        hub, actor = self.session.hub, self.session.actor
        full_name, branch = _locate(cast("Json", input["branch"]))
        repo = hub.repository(full_name, actor)
        if not actor.may("contents", "write"):
            raise _inaccessible()
        message = cast("Json", input["message"])
        body = str(message.get("body") or "")
        draft = Draft(
            branch=branch,
            expected=str(input["expectedHeadOid"]),
            changes=_changes(cast("Json", input.get("fileChanges") or {})),
            message=str(message["headline"]) + (f"\n\n{body}" if body else ""),
        )
        made = hub.commit(repo, draft, actor)
        return _CreateCommitOnBranchPayload(self.session, repo, input.get("clientMutationId"), made, branch)


def _inaccessible() -> Problem:
    return Problem(403, "Resource not accessible by integration", kind="FORBIDDEN")


def _node_id(*parts: str) -> str:
    return base64.b64encode(":".join(parts).encode()).decode()


def _locate(branch: Json) -> tuple[str, str]:
    """Repository and branch of a `CommittableBranch`."""
    full_name, name = branch.get("repositoryNameWithOwner"), branch.get("branchName")
    if given := branch.get("id"):
        try:
            kind, full_name, name = base64.b64decode(str(given), validate=True).decode().split(":")
        except ValueError:
            kind = ""
        if kind != "Ref":
            text = f"Could not resolve to a node with the global id of '{given}'"
            raise not_found(text)
    if not full_name or not name:
        text = "A branch must be given by its `id`, or by `repositoryNameWithOwner` and `branchName`."
        raise Problem(422, text)
    return str(full_name), str(name).removeprefix(HEADS)


def _changes(file_changes: Json) -> dict[str, bytes | None]:
    changes: dict[str, bytes | None] = {}
    entries = cast("Sequence[Json]", [*(file_changes.get("deletions") or ()), *(file_changes.get("additions") or ())])
    for entry in entries:
        path = str(entry["path"])
        if path in changes:
            text = f"Path must be unique: {path}"
            raise Problem(422, text)
        try:
            changes[path] = base64.b64decode(str(entry["contents"]), validate=True) if "contents" in entry else None
        except binascii.Error as error:
            text = f"The contents of {path} are not valid Base64."
            raise Problem(422, text) from error
    return changes


@cache
def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def _unserved(kind: str, name: str) -> Problem:
    return Problem(501, f"{kind}.{name} exists at GitHub, but the rehearsal's Git host does not serve it.", kind="NOT_SERVED")


def _resolve_field(source: _Node, info: graphql.GraphQLResolveInfo[Any], **arguments: object) -> object:
    name = _snake(info.field_name)
    value = getattr(source, name, _unserved)
    if value is _unserved:
        raise _unserved(info.parent_type.name, info.field_name)
    if not callable(value):
        return value
    try:
        return cast("Any", value)(**{_snake(key): given for key, given in arguments.items() if given is not None})
    except TypeError as error:
        # An argument that the method does not take; a TypeError from within has a deeper trace and is a bug of the host.
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise _unserved(info.parent_type.name, f"{info.field_name}({', '.join(arguments)})") from error
        raise


def _resolve_type(value: _Node, *_: object) -> str:
    return value.typename


class _UndefinedField(FieldsOnCorrectTypeRule):
    """The same check, reported as GitHub reports it."""

    def enter_field(self, node: graphql.FieldNode, *rest: Any) -> None:  # noqa: ANN401 — graphql-core's signature
        parent = self.context.get_parent_type()
        if parent is None or self.context.get_field_def() is not None:
            return
        ancestors = cast("Sequence[object]", rest[3])
        name = node.name.value
        extensions: Json = {
            "path": [*_names(ancestors), node.alias.value if node.alias else name],
            "extensions": {"code": "undefinedField", "typeName": parent.name, "fieldName": name},
        }
        self.report_error(
            graphql.GraphQLError(f"Field '{name}' doesn't exist on type '{parent.name}'", node, extensions=extensions)
        )


def _names(ancestors: Sequence[object]) -> Generator[str]:
    for node in ancestors:
        match node:
            case graphql.OperationDefinitionNode():
                yield f"{node.operation.value} {node.name.value}" if node.name else node.operation.value
            case graphql.FragmentDefinitionNode():
                yield f"fragment {node.name.value}"
            case graphql.InlineFragmentNode() if node.type_condition:
                yield f"... on {node.type_condition.name.value}"
            case graphql.FieldNode():
                yield node.alias.value if node.alias else node.name.value
            case _:
                pass


_RULES: Final = [_UndefinedField if rule is FieldsOnCorrectTypeRule else rule for rule in specified_rules]


@lru_cache(maxsize=64)
def _document(query: str) -> tuple[graphql.DocumentNode | None, list[graphql.GraphQLError]]:
    """Parse and validate; clients send the same few documents again and again."""
    try:
        document = graphql.parse(query)
    except graphql.GraphQLSyntaxError as error:
        return None, [error]
    return document, graphql.validate(schema.load(), document, _RULES)


def warm() -> None:
    """Load the schema, and have graphql-core work out what it puts off until the first query (0.1 s)."""
    sample = '{ repository(owner: "o", name: "n") { object(expression: "e") { oid ... on Blob { text } } } }'
    _document(sample)


def operation_of(body: Json) -> str:
    """The name by which a request is recorded: the operation's own, else its top-level fields joined by `+`."""
    if name := body.get("operationName"):
        return str(name)
    document, _ = _document(str(body.get("query") or ""))
    definitions = document.definitions if document else ()
    for definition in definitions:
        if isinstance(definition, graphql.OperationDefinitionNode):
            if definition.name:
                return definition.name.value
            fields = definition.selection_set.selections
            return "+".join(one.name.value for one in fields if isinstance(one, graphql.FieldNode))
    return ""


def is_mutation(body: Json) -> bool:
    """Whether a request means to change something."""
    document, _ = _document(str(body.get("query") or ""))
    wanted = body.get("operationName")
    return any(
        isinstance(definition, graphql.OperationDefinitionNode)
        and definition.operation is graphql.OperationType.MUTATION
        and (not wanted or (definition.name is not None and definition.name.value == wanted))
        for definition in (document.definitions if document else ())
    )


def _shown(error: graphql.GraphQLError) -> Json:
    shown: Json = {"message": error.message}
    if error.locations:
        shown["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    if error.path:
        shown["path"] = error.path
    cause = error.original_error
    if isinstance(cause, Problem):
        return {"type": cause.kind, **shown}
    return shown | dict(error.extensions or {})


def execute(session: Session, body: Mapping[str, Any]) -> Json:
    """Answer a GraphQL request; every refusal is within the answer, whose HTTP status is 200.

    Args:
        session: Who asks, and of whom.
        body: `query`, `variables`, `operationName`.

    Raises:
        Exception: Whatever a bug of the host raises, so that it is not taken for GitHub's answer.
    """
    query = body.get("query")
    if not isinstance(query, str) or not query:
        return {"errors": [{"message": "A query attribute must be specified and must be a string."}]}
    document, errors = _document(query)
    if errors or document is None:
        return {"errors": [_shown(error) for error in errors]}
    result = graphql.execute_sync(  # pyright: ignore[reportUnknownMemberType] — graphql-core leaves `middleware` half typed
        schema.load(),
        document,
        root_value=_Root(session),
        variable_values=cast("dict[str, Any] | None", body.get("variables")),
        operation_name=cast("str | None", body.get("operationName")),
        field_resolver=_resolve_field,
        type_resolver=_resolve_type,
    )
    for error in result.errors or ():
        if error.original_error and not isinstance(error.original_error, Problem | graphql.GraphQLError):
            raise error.original_error
    answer: Json = {} if result.data is None and result.errors and not result.errors[0].path else {"data": result.data}
    if result.errors:
        answer["errors"] = [_shown(error) for error in result.errors]
    return answer
