"""The deploy role may do all that deploying needs, the preview role all that reading needs, and neither has a right to spare."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from components import iam
from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.engine import construct
from rehearsal.program import Call, Declared, Program, evaluate, stack_config
from rehearsal.registry.policy import Identity, PolicyError
from tests.conftest import EXAMPLE, STACKS
from tests.roles.asks import Ask, asks, asks_of, exception, expanded, guarded, holder, managed, refusals, verdict, wanted
from tests.roles.needs import INVOKES, LEFT_OUT, PROVIDER, TABLE, VERBS, Place
from tests.roles.reference import exists, handlers, reads

REGION: Final = "eu-central-1"
PLACES: Final = {
    "dev": Place(account="111111111111", region=REGION),
    "stg": Place(account="222222222222", region=REGION),
    "prd": Place(account="333333333333", region=REGION),
}
# All that the settings can turn on, in the stack that hosts both tracks.
FULL: Final = "full"
VARIANTS: Final = (*STACKS, FULL)


def catalogue(platform: Platform) -> None:
    """Declare one service of each kind, with permissions."""
    carts = iam.allow("ReadCarts", actions=["s3:GetObject"], resources=["arn:aws:s3:::carts/*"])
    Service("storefront", ServiceArgs(platform=platform, repository="storefront", port=8080, permissions=[carts]))
    Service("invoices", ServiceArgs(platform=platform, repository="invoices"))
    Service("ledger", ServiceArgs(platform=platform, repository="ledger", port=8080, public=False))


def full_config() -> Mapping[str, Any]:
    config = stack_config("dev", folder=EXAMPLE)
    tracks, clusters = json.loads(config["slipway:tracks"]), json.loads(config["slipway:clusters"])
    tracks["release"]["host"] = "dev"
    return {
        "slipway:tracks": tracks,
        "slipway:clusters": {**clusters, "green": {**clusters["blue"], "weight": 0}},
        "slipway:network": {"natPerZone": True, "ecrEndpoints": True},
        "slipway:argocd": {"ui": {"clientId": "Iv1.example", "teams": {"platform": "admin"}}},
        "slipway:alarms": {"email": "a@example.com", "slack": {"workspaceId": "T07EA123LEP", "channelId": "C07EZ1ABC23"}},
    }


@pytest.fixture(scope="module")
def variants(programs: Mapping[str, Program]) -> Mapping[str, Program]:
    """The three stacks of the example, and one with all that can be turned on."""
    return {**programs, FULL: evaluate("dev", config=full_config(), catalogue=catalogue)}


def place_of(program: Program) -> Place:
    return PLACES[program.stack]


@pytest.fixture(scope="module")
def asked(variants: Mapping[str, Program]) -> Mapping[str, Sequence[Ask]]:
    """What each of them asks for."""
    return {name: asks(program, place_of(program)) for name, program in variants.items()}


def kept(program: Program) -> Sequence[Declared]:
    """What a person changes, and not the deploy role."""
    found = [each for each in expanded(program) if guarded(each, place_of(program), program.stack)]
    assert len(found) == 6  # the boundary; two roles with a policy each; PowerUserAccess's attachment
    return found


def deployed(program: Program, asked: Iterable[Ask]) -> Iterator[Ask]:
    """What the deploy role is asked for."""
    of_people = {each.urn for each in kept(program)}
    return (each for each in asked if each.verb == "read" or each.who not in of_people)


def previewed(asked: Iterable[Ask]) -> Iterator[Ask]:
    """What the preview role is asked for."""
    return (each for each in asked if each.verb == "read" and not each.hidden)


# The table.


def test_every_declared_type_has_a_row_and_every_row_a_declared_type(variants: Mapping[str, Program]) -> None:
    types = {each.type for program in variants.values() for each in expanded(program)}
    assert types == set(TABLE)


def test_what_pulumi_eks_declares_for_itself_is_asked_for_too(variants: Mapping[str, Program]) -> None:
    """The real component's children, as the lab's stand-in of it names them."""
    source = Path(construct.__file__).read_text(encoding="utf-8")
    made = set(re.findall(r'"(aws:[\w/]+:\w+)"', source))
    assert len(made) >= 4
    (cluster,) = (each for each in variants["prd"].resources if each.remote)
    asked = {each.type for each in expanded(variants["prd"]) if each.urn.startswith(f"{cluster.urn}$")}
    assert asked == made


def test_every_function_of_the_provider_that_the_program_calls_has_a_row(variants: Mapping[str, Program]) -> None:
    called = {call.token for program in variants.values() for call in program.calls}
    assert called <= set(INVOKES)
    assert {token for token, each in INVOKES.items() if not each.by} <= called


def test_a_type_or_an_invoke_without_a_row_and_a_read_of_nothing_are_errors(programs: Mapping[str, Program]) -> None:
    program = programs["prd"]
    (some,) = program.of("s3/bucket:Bucket")
    strange = replace(some, type="aws:dynamodb/table:Table")
    with pytest.raises(LookupError, match="aws:dynamodb/table:Table has no row"):
        asks(replace(program, resources=[strange]), PLACES["prd"])
    with pytest.raises(LookupError, match="aws:ec2/getAmi:getAmi"):
        asks(replace(program, calls=[Call(token="aws:ec2/getAmi:getAmi", args={})]), PLACES["prd"])
    needs = replace(TABLE[some.type], arns=TABLE["aws:ec2/subnet:Subnet"].arns)  # of nothing
    with pytest.raises(LookupError, match="is judged on"):
        list(asks_of(some, needs, PLACES["prd"], "prd"))


def test_every_schema_lists_handlers_and_every_call_of_the_provider_names_its_source() -> None:
    for type_, needs in TABLE.items():
        assert bool(needs.calls) == bool(needs.source), type_
        assert needs.calls or needs.schema, type_
        assert not needs.schema or set(handlers(needs.schema)) - {LEFT_OUT}, type_
        assert set(needs.calls) <= set(VERBS), type_
        for action in (action for each in needs.calls.values() for action in each):
            assert exists(action), f"{type_}: {action}"
    sources = [each.source for each in (*TABLE.values(), *INVOKES.values()) if each.source]
    assert all(re.fullmatch(r"https://\S+", each if "//" in each else f"{PROVIDER}{each}") for each in sources)
    assert all(each.endswith(".go") or each.startswith("https://docs.aws.amazon.com/") for each in sources)


def test_no_call_of_the_provider_repeats_what_the_schema_lists() -> None:
    repeated = [
        f"{type_} {verb} {action}"
        for type_, needs in TABLE.items()
        if needs.schema
        for verb, actions in needs.calls.items()
        for action in actions
        if action in handlers(needs.schema).get(verb, [])
    ]
    assert repeated == []


def test_every_exception_has_a_reason_and_without_it_something_is_refused(variants: Mapping[str, Program]) -> None:
    """An exception that changes nothing is a slip, or PowerUserAccess covers it: both do without."""
    program = variants[FULL]
    place = place_of(program)
    deploy, preview = (holder(program, purpose, place) for purpose in ("deploy", "preview"))
    some = {each.type: each for each in expanded(program)}
    for type_, needs in TABLE.items():
        for key, reason in needs.never.items():
            assert len(reason) > 15, type_
            more = replace(needs, never={each: why for each, why in needs.never.items() if each != key})
            try:
                found = [each for each in asks_of(some[type_], more, place, program.stack) if exception(each.action, {key: ""})]
                refused = [*refusals(deploy, found), *refusals(preview, (each for each in found if each.verb == "read"))]
            except (LookupError, PolicyError):  # nothing to judge it on, or no action that a policy could name
                continue
            assert refused, f"{type_} {key}"
        for action, reason in needs.hidden.items():
            assert len(reason) > 15, type_
            assert action in wanted(needs, "read"), type_


def test_the_attached_policy_is_aws_s_own_document() -> None:
    document = managed("arn:aws:iam::aws:policy/PowerUserAccess")
    caller = Identity(account="111111111111", principal_arn="arn:aws:iam::111111111111:role/x", policies=[document])
    assert verdict(caller, "eks:CreateCluster", "arn:aws:eks:eu-central-1:111111111111:cluster/x")
    assert not verdict(caller, "iam:GetRole", "arn:aws:iam::111111111111:role/x")


# The roles.


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_deploy_role_may_do_all_that_the_declared_resources_ask_for(
    variant: str, variants: Mapping[str, Program], asked: Mapping[str, Sequence[Ask]]
) -> None:
    program = variants[variant]
    assert refusals(holder(program, "deploy", place_of(program)), deployed(program, asked[variant])) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_preview_role_may_read_all_that_is_declared(
    variant: str, variants: Mapping[str, Program], asked: Mapping[str, Sequence[Ask]]
) -> None:
    program = variants[variant]
    assert refusals(holder(program, "preview", place_of(program)), previewed(asked[variant])) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_preview_role_may_create_update_and_delete_nothing(
    variant: str, variants: Mapping[str, Program], asked: Mapping[str, Sequence[Ask]]
) -> None:
    program = variants[variant]
    preview = holder(program, "preview", place_of(program))
    changes = {each.question for each in asked[variant] if each.verb != "read" and not reads(each.action)}
    assert len(changes) > 100
    assert [question for question in changes if verdict(preview, *question)] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_preview_role_has_none_of_the_reads_that_are_kept_from_it(
    variant: str, variants: Mapping[str, Program], asked: Mapping[str, Sequence[Ask]]
) -> None:
    program = variants[variant]
    hidden = {each.question for each in asked[variant] if each.hidden}
    preview, deploy = (holder(program, purpose, place_of(program)) for purpose in ("preview", "deploy"))
    assert hidden
    assert [question for question in hidden if verdict(preview, *question)] == []
    assert [question for question in hidden if not verdict(deploy, *question)] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_person_changes_the_deploy_role_does_not(
    variant: str, variants: Mapping[str, Program], asked: Mapping[str, Sequence[Ask]]
) -> None:
    program = variants[variant]
    deploy = holder(program, "deploy", place_of(program))
    for each in kept(program):
        # Each verb has a call that is refused, so none of them comes about.
        for verb in ("update", "delete"):
            calls = [ask for ask in asked[variant] if (ask.who, ask.verb) == (each.urn, verb) and not reads(ask.action)]
            if each.type == "aws:iam/rolePolicyAttachment:RolePolicyAttachment" and verb == "update":
                continue
            assert calls, (each.urn, verb)
            assert refusals(deploy, calls), (each.urn, verb)


# Nothing to spare.


def without(document: str, sid: str, action: str) -> str | None:
    """Return the document without one action of one statement."""
    parsed = json.loads(document)
    for each in parsed["Statement"]:
        if each["Sid"] == sid:
            each["Action"] = [name for name in each["Action"] if name != action]
    parsed["Statement"] = [each for each in parsed["Statement"] if each["Action"]]
    return json.dumps(parsed)


@pytest.mark.parametrize("purpose", ["deploy", "preview"])
def test_without_any_one_of_its_actions_a_role_is_refused_something(
    purpose: str, variants: Mapping[str, Program], asked: Mapping[str, Sequence[Ask]]
) -> None:
    program = variants[FULL]
    whole = holder(program, purpose, place_of(program))
    questions = list(deployed(program, asked[FULL]) if purpose == "deploy" else previewed(asked[FULL]))
    inline = str(whole.policies[0])
    tried, spare = 0, list[str]()
    for statement in json.loads(inline)["Statement"]:
        for action in statement["Action"]:
            tried += 1
            less = replace(whole, policies=[without(inline, statement["Sid"], action), *whole.policies[1:]])
            if not refusals(less, (each for each in questions if each.action == action)):
                spare.append(f"{statement['Sid']} {action}")
    assert tried > 20
    assert spare == []


def test_without_any_one_of_its_resources_the_preview_role_is_refused_something(
    variants: Mapping[str, Program], asked: Mapping[str, Sequence[Ask]]
) -> None:
    program = variants[FULL]
    whole = holder(program, "preview", place_of(program))
    questions = list(previewed(asked[FULL]))
    (inline,) = (str(each) for each in whole.policies)
    spare: list[str] = []
    for number, statement in enumerate(json.loads(inline)["Statement"]):
        for resource in statement["Resource"]:
            parsed = json.loads(inline)
            left = [each for each in statement["Resource"] if each != resource]
            parsed["Statement"][number]["Resource"] = left or ["arn:aws:s3:::nothing"]
            less = replace(whole, policies=[json.dumps(parsed)])
            if not refusals(less, (each for each in questions if each.action in statement["Action"])):
                spare.append(f"{statement['Sid']} {resource}")
    assert spare == []


def test_without_any_one_of_the_services_that_roles_are_handed_to_the_deploy_role_is_refused(
    variants: Mapping[str, Program], asked: Mapping[str, Sequence[Ask]]
) -> None:
    program = variants[FULL]
    whole = holder(program, "deploy", place_of(program))
    passed = [each for each in deployed(program, asked[FULL]) if each.action == "iam:PassRole"]
    inline = str(whole.policies[0])
    (handing,) = (each for each in json.loads(inline)["Statement"] if each["Action"] == ["iam:PassRole"])
    services = handing["Condition"]["StringEquals"]["iam:PassedToService"]
    assert len(services) > 5
    for service in services:
        less = replace(whole, policies=[inline.replace(f'"{service}"', '"nobody.amazonaws.com"'), *whole.policies[1:]])
        assert refusals(less, passed), service


@pytest.mark.parametrize("purpose", ["deploy", "preview"])
def test_settings_that_change_often_do_not_change_a_role_that_only_a_person_can_change(
    purpose: str, programs: Mapping[str, Program]
) -> None:
    """Or a deployment that adds a colour, an administrator or a chat would be refused half-way."""
    config = {key: value for key, value in full_config().items() if key != "slipway:tracks"}
    changed = evaluate("dev", config=config, catalogue=catalogue)
    for type_, name in (("iam/rolePolicy:RolePolicy", f"access-{purpose}"), ("iam/policy:Policy", "boundary")):
        assert changed.one(type_, name).inputs == programs["dev"].one(type_, name).inputs


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_inline_policies_of_a_role_fit_what_aws_holds(variant: str, variants: Mapping[str, Program]) -> None:
    # "IAM doesn't count white space when calculating the size of a policy": 10,240 characters for all of a role together.
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entity-length
    sizes: dict[str, int] = {}
    for each in variants[variant].of("iam/rolePolicy:RolePolicy"):
        role = each.inputs["role"]
        sizes[role] = sizes.get(role, 0) + len(re.sub(r"\s", "", each.inputs["policy"]))
    assert sizes
    assert {role: size for role, size in sizes.items() if size > 10_240} == {}
    worn = variants[variant].one("iam/policy:Policy", "boundary").inputs["policy"]
    assert len(re.sub(r"\s", "", worn)) <= 6_144
