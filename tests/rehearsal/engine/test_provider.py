"""A stand-in provider: what it asks of the world behind it, and what it answers the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2

from rehearsal.cloud.row import RealiseError, Where
from rehearsal.engine import wire
from rehearsal.engine.plugins import Start
from rehearsal.engine.provider import Meddler, Provider
from rehearsal.engine.wire import UNKNOWN
from rehearsal.program import Created, Request

ACCOUNT: Final = "1" * 12
URN: Final = "urn:pulumi:dev::slipway::slipway:hook:Hook$aws:sqs/queue:Queue::images"
QUEUE: Final[Mapping[str, Any]] = {"name": "images", "visibilityTimeoutSeconds": 30.0}


class AbortedError(Exception):
    """What grpc raises when a call is aborted: it says nothing."""


@dataclass(kw_only=True)
class Context:
    """A call's context."""

    active: bool = True
    aborts: list[tuple[grpc.StatusCode, str]] = field(default_factory=list[tuple[grpc.StatusCode, str]])

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        """End the call."""
        self.aborts.append((code, details))
        raise AbortedError

    def is_active(self) -> bool:
        """Whether anybody waits for the answer."""
        return self.active


@dataclass(kw_only=True)
class Realm:
    """A world of queues, which can be told to refuse, and to keep some properties otherwise than declared.

    Attributes:
        there: Properties by id.
        otherwise: What every queue has, whatever is declared.
        fixed: Inputs that cannot be changed in place.
        refuses: The words with which everything is refused.
        asked: What was asked for: operation, request, and where.
    """

    there: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    otherwise: dict[str, Any] = field(default_factory=dict[str, Any])
    fixed: frozenset[str] = frozenset({"name"})
    refuses: str = ""
    asked: list[tuple[str, Request, Where | None]] = field(default_factory=list[tuple[str, Request, Where | None]])
    before: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])

    def operations(self) -> list[str]:
        """What was asked for, in its order."""
        return [each for each, _, _ in self.asked]

    def create(self, request: Request, *, where: Where | None = None) -> Created:
        """Make a queue."""
        self._take("create", request, where)
        arn = f"arn:aws:sqs:::{request.inputs['name']}"
        self.there["q-1"] = {**request.inputs, **self.otherwise, "arn": arn}
        return Created(id="q-1", outputs={**request.inputs, "arn": arn})

    def read(self, request: Request, id_: str, *, where: Where | None = None) -> Mapping[str, Any] | None:
        """Look it up."""
        self._take("read", request, where)
        return self.there.get(id_)

    def update(self, request: Request, id_: str, old: Mapping[str, Any], *, where: Where | None = None) -> Created:
        """Change it; tells only the inputs."""
        self._take("update", request, where)
        self.before.append(old)
        self.there[id_] |= {**request.inputs, **self.otherwise}
        return Created(id=id_, outputs=dict(request.inputs))

    def delete(self, request: Request, id_: str, *, where: Where | None = None) -> None:
        """Take it away."""
        self._take("delete", request, where)
        self.there.pop(id_, None)

    def check(self, request: Request, *, where: Where | None = None) -> Sequence[str]:
        """Refuse, if so told."""
        self.asked.append(("check", request, where))
        return (self.refuses,) if self.refuses else ()

    def call(self, stack: str, token: str, args: Mapping[str, Any], *, where: Where | None = None) -> Mapping[str, Any]:
        """Answer with what was asked."""
        del where
        if self.refuses:
            raise RealiseError(self.refuses)
        return {"stack": stack, "token": token, **args}

    def attempt(self, request: Request, *, where: Where | None = None) -> None:
        """Try it."""
        self._take("attempt", request, where)

    def replaced(
        self, request: Request, changed: Sequence[str], old: Mapping[str, Any], *, where: Where | None = None
    ) -> Sequence[str]:
        """What is fixed."""
        del request, old, where
        return [each for each in changed if each in self.fixed]

    def _take(self, operation: str, request: Request, where: Where | None) -> None:
        self.asked.append((operation, request, where))
        if self.refuses:
            raise RealiseError(self.refuses)


@pytest.fixture
def realm() -> Realm:
    """The world."""
    return Realm()


@pytest.fixture
def meddler() -> Meddler:
    """Whoever stands between."""
    return Meddler()


@pytest.fixture
def context() -> Context:
    """Of every call of a test."""
    return Context()


@pytest.fixture
def provider(realm: Realm, meddler: Meddler, context: Context) -> Provider:
    """A provider of AWS, configured as the stack dev does."""
    made = Provider("aws", _start(), realm, meddler)
    _configure(made, context, {"region": "eu-central-1"})
    return made


def _start() -> Start:
    return Start(
        plugin="pulumi-resource-aws",
        arguments=("127.0.0.1:7",),
        environment={"AWS_ACCESS_KEY_ID": ACCOUNT},
        folder=Path("/project"),
        write=lambda text: None,  # noqa: ARG005 — nobody listens
    )


def _configure(provider: Provider, context: Context, args: Mapping[str, Any]) -> None:
    urn = "urn:pulumi:dev::slipway::pulumi:providers:aws::here"
    provider.Configure(provider_pb2.ConfigureRequest(urn=urn, args=wire.write(args)), context)


def check(provider: Provider, context: Context, inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Failures: property and reason."""
    answer = provider.Check(provider_pb2.CheckRequest(urn=URN, news=wire.write(inputs)), context)
    assert wire.read(answer.inputs) == dict(inputs)
    return [(each.property, each.reason) for each in answer.failures]


def create(provider: Provider, context: Context, inputs: Mapping[str, Any] = QUEUE, *, preview: bool = False) -> Any:  # noqa: ANN401 — untyped messages
    """Ask for a queue."""
    return provider.Create(provider_pb2.CreateRequest(urn=URN, properties=wire.write(inputs), preview=preview), context)


def diff(provider: Provider, context: Context, old: Mapping[str, Any], new: Mapping[str, Any], **stands: Any) -> Any:  # noqa: ANN401 — untyped messages
    """Compare the inputs `old` and `new`, where a state `stands` otherwise than `old`."""
    request = provider_pb2.DiffRequest(
        id="q-1", urn=URN, olds=wire.write({**old, **stands}), old_inputs=wire.write(old), news=wire.write(new)
    )
    return provider.Diff(request, context)


def read(provider: Provider, context: Context, inputs: Mapping[str, Any], **state: Any) -> Any:  # noqa: ANN401 — untyped messages
    """Look a queue up."""
    request = provider_pb2.ReadRequest(id="q-1", urn=URN, inputs=wire.write(inputs), properties=wire.write({**inputs, **state}))
    return provider.Read(request, context)


# Before anything is made


def test_a_property_that_the_sdk_does_not_know_is_named_and_the_world_is_not_asked(
    provider: Provider, context: Context, realm: Realm
) -> None:
    ((property_, reason),) = check(provider, context, {**QUEUE, "visibilityTimeoutSecond": 3.0})
    assert property_ == "visibilityTimeoutSecond"
    assert "visibilityTimeoutSeconds" in reason
    assert realm.operations() == []


def test_what_the_world_would_refuse_is_a_failure_in_its_words(provider: Provider, context: Context, realm: Realm) -> None:
    assert check(provider, context, QUEUE) == []
    realm.refuses = "AWS would refuse sqs:create_queue"
    assert check(provider, context, QUEUE) == [("", "AWS would refuse sqs:create_queue")]
    _, request, where = realm.asked[-1]
    assert (request.stack, request.type, request.name, request.inputs) == ("dev", "aws:sqs/queue:Queue", "images", QUEUE)
    assert where is not None
    assert (where.place.account, where.place.region) == (ACCOUNT, "eu-central-1")


def test_the_world_is_not_asked_while_something_is_not_known(provider: Provider, context: Context, realm: Realm) -> None:
    realm.refuses = "no"
    assert check(provider, context, {**QUEUE, "kmsMasterKeyId": UNKNOWN}) == []


def test_a_providers_own_settings_are_held_to_its_class(provider: Provider, context: Context) -> None:
    news = wire.write({"region": "eu-central-1", "colour": "blue"})
    answer = provider.CheckConfig(provider_pb2.CheckRequest(urn=URN, news=news), context)
    assert [each.property for each in answer.failures] == ["colour"]


def test_credentials_of_another_account_are_refused(realm: Realm, meddler: Meddler, context: Context) -> None:
    provider = Provider("aws", _start(), realm, meddler)
    _configure(provider, context, {"allowedAccountIds": f'["{ACCOUNT}"]'})
    with pytest.raises(AbortedError):
        _configure(provider, context, {"allowedAccountIds": '["222222222222"]'})
    ((_, said),) = context.aborts
    assert said == f"AWS account ID not allowed: {ACCOUNT}"


# What differs


def test_nothing_differs_where_all_stands_as_declared(provider: Provider, context: Context) -> None:
    answer = diff(provider, context, QUEUE, QUEUE, arn="arn", url="url")
    assert (answer.changes, list(answer.diffs)) == (provider_pb2.DiffResponse.DIFF_NONE, [])


def test_a_diff_is_against_what_was_read_back_not_what_was_declared(provider: Provider, context: Context) -> None:
    answer = diff(provider, context, QUEUE, QUEUE, visibilityTimeoutSeconds=60.0)
    assert (answer.changes, list(answer.diffs)) == (provider_pb2.DiffResponse.DIFF_SOME, ["visibilityTimeoutSeconds"])
    assert list(answer.replaces) == []


def test_a_property_that_is_declared_no_more_differs_and_an_output_does_not(provider: Provider, context: Context) -> None:
    assert list(diff(provider, context, QUEUE, {"name": "images"}, arn="arn").diffs) == ["visibilityTimeoutSeconds"]
    assert list(diff(provider, context, {"name": "images"}, QUEUE, arn="arn").diffs) == ["visibilityTimeoutSeconds"]


def test_what_cannot_be_changed_in_place_asks_for_a_replacement(provider: Provider, context: Context) -> None:
    answer = diff(provider, context, QUEUE, {"name": "other", "visibilityTimeoutSeconds": 60.0})
    assert (list(answer.diffs), list(answer.replaces)) == (["name", "visibilityTimeoutSeconds"], ["name"])
    kinds = {key: each.kind for key, each in answer.detailedDiff.items()}
    assert kinds == {
        "name": provider_pb2.PropertyDiff.UPDATE_REPLACE,
        "visibilityTimeoutSeconds": provider_pb2.PropertyDiff.UPDATE,
    }


# Made, changed, looked up, taken away


def test_what_is_made_is_read_back_and_kept_with_its_outputs(
    provider: Provider, context: Context, realm: Realm, meddler: Meddler
) -> None:
    realm.otherwise = {"visibilityTimeoutSeconds": 60.0, "delaySeconds": 0.0}
    made = create(provider, context)
    assert made.id == "q-1"
    # Nobody declares the delay.
    assert wire.read(made.properties) == {"name": "images", "visibilityTimeoutSeconds": 60.0, "arn": "arn:aws:sqs:::images"}
    assert realm.operations() == ["create", "read"]
    assert meddler.counts == {("dev", "create"): 1}


def test_what_travelled_as_a_secret_is_kept_as_one(provider: Provider, context: Context, realm: Realm) -> None:
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "key"}
    made = create(provider, context, {**QUEUE, "kmsMasterKeyId": secret})
    assert realm.asked[0][1].inputs["kmsMasterKeyId"] == "key"
    assert wire.read(made.properties)["kmsMasterKeyId"] == secret


def test_a_preview_makes_and_changes_nothing(provider: Provider, context: Context, realm: Realm) -> None:
    made = create(provider, context, preview=True)
    assert (made.id, wire.read(made.properties)) == ("", QUEUE)
    request = provider_pb2.UpdateRequest(
        id="q-1", urn=URN, olds=wire.write({**QUEUE, "arn": "arn"}), news=wire.write({"name": "other"}), preview=True
    )
    assert wire.read(provider.Update(request, context).properties) == {**QUEUE, "name": "other", "arn": "arn"}
    assert realm.operations() == ["attempt", "attempt"]
    assert realm.there == {}


def test_a_preview_that_its_caller_may_not_try_fails(provider: Provider, context: Context, realm: Realm) -> None:
    realm.refuses = 'namespaces is forbidden: User "preview" cannot patch resource "namespaces"'
    with pytest.raises(AbortedError):
        create(provider, context, preview=True)
    assert context.aborts == [(grpc.StatusCode.UNKNOWN, realm.refuses)]


def test_a_refusal_reaches_the_engine_in_the_worlds_words(provider: Provider, context: Context, realm: Realm) -> None:
    realm.refuses = "moto refused sqs:create_queue: QueueAlreadyExists"
    with pytest.raises(AbortedError):
        create(provider, context)
    assert context.aborts == [(grpc.StatusCode.UNKNOWN, realm.refuses)]
    with pytest.raises(AbortedError):
        read(provider, context, QUEUE)
    with pytest.raises(AbortedError):
        provider.Invoke(provider_pb2.InvokeRequest(tok="aws:index/getRegion:getRegion"), context)
    assert context.aborts[1:] == [(grpc.StatusCode.UNKNOWN, realm.refuses)] * 2


def test_a_fault_of_the_stand_ins_own_is_told_with_the_way_to_it(
    provider: Provider, context: Context, meddler: Meddler, realm: Realm
) -> None:
    def stumble(request: Request) -> None:
        msg = f"{request.name} is one too many"
        raise ValueError(msg)

    meddler.before_create["dev"] = stumble
    with pytest.raises(AbortedError):
        create(provider, context)
    ((code, said),) = context.aborts
    assert code is grpc.StatusCode.INTERNAL
    assert "in stumble" in said
    assert "ValueError: images is one too many" in said
    assert realm.asked == []


def test_nothing_is_made_for_an_engine_that_is_gone(provider: Provider, context: Context, realm: Realm, meddler: Meddler) -> None:
    context.active = False
    with pytest.raises(AbortedError):
        create(provider, context)
    assert context.aborts == [(grpc.StatusCode.CANCELLED, "images was not made: nobody waits for it")]
    assert (realm.asked, meddler.counts) == ([], {})


def test_an_update_keeps_outputs_that_it_does_not_speak_of_and_drops_what_is_declared_no_more(
    provider: Provider, context: Context, realm: Realm
) -> None:
    made = create(provider, context, {**QUEUE, "delaySeconds": 5.0})
    realm.otherwise = {"visibilityTimeoutSeconds": 90.0}
    news = {"name": "images", "visibilityTimeoutSeconds": 60.0}
    request = provider_pb2.UpdateRequest(
        id="q-1", urn=URN, olds=made.properties, old_inputs=wire.write({**QUEUE, "delaySeconds": 5.0}), news=wire.write(news)
    )
    answer = provider.Update(request, context)
    assert wire.read(answer.properties) == {"name": "images", "visibilityTimeoutSeconds": 90.0, "arn": "arn:aws:sqs:::images"}
    assert realm.before == [{**QUEUE, "delaySeconds": 5.0}]


def test_a_refresh_reports_drift_of_what_is_declared_and_of_nothing_else(
    provider: Provider, context: Context, realm: Realm
) -> None:
    create(provider, context)
    realm.there["q-1"] |= {"visibilityTimeoutSeconds": 60.0, "delaySeconds": 7.0}
    found = read(provider, context, QUEUE, arn="arn:aws:sqs:::images")
    assert found.id == "q-1"
    assert wire.read(found.inputs) == {"name": "images", "visibilityTimeoutSeconds": 60.0}
    assert wire.read(found.properties) == {"name": "images", "visibilityTimeoutSeconds": 60.0, "arn": "arn:aws:sqs:::images"}


def test_a_refresh_of_what_stands_as_declared_changes_nothing(provider: Provider, context: Context, realm: Realm) -> None:
    create(provider, context)
    # As an API spells it.
    realm.there["q-1"]["visibilityTimeoutSeconds"] = "30"
    found = read(provider, context, QUEUE, arn="arn")
    assert (wire.read(found.inputs), wire.read(found.properties)) == (QUEUE, {**QUEUE, "arn": "arn"})


def test_what_is_gone_has_no_id_any_more(provider: Provider, context: Context) -> None:
    assert read(provider, context, QUEUE).id == ""


def test_an_import_takes_all_from_an_id_alone_and_tells_inputs_from_outputs(
    provider: Provider, context: Context, realm: Realm
) -> None:
    create(provider, context)
    found = read(provider, context, {})
    assert realm.asked[-1][1].inputs == {}
    assert (found.id, wire.read(found.inputs)) == ("q-1", QUEUE)
    assert wire.read(found.properties) == {**QUEUE, "arn": "arn:aws:sqs:::images"}


def test_what_is_taken_away_is_named_by_its_inputs(provider: Provider, context: Context, realm: Realm, meddler: Meddler) -> None:
    made = create(provider, context)
    request = provider_pb2.DeleteRequest(id="q-1", urn=URN, properties=made.properties, old_inputs=wire.write(QUEUE))
    provider.Delete(request, context)
    assert realm.there == {}
    assert realm.asked[-1][1].inputs == QUEUE
    assert meddler.counts == {("dev", "create"): 1, ("dev", "delete"): 1}


def test_a_function_is_answered_for_the_stack_that_configured_the_provider(provider: Provider, context: Context) -> None:
    request = provider_pb2.InvokeRequest(tok="aws:index/getRegion:getRegion", args=wire.write({"name": "here"}))
    answer = provider.Invoke(request, context)
    told = wire.read(getattr(answer, "return"))
    assert told == {"stack": "dev", "token": "aws:index/getRegion:getRegion", "name": "here"}
