"""rehearsal/schema.py: what is declared passes, and each way of getting it wrong is named where it stands."""

import copy
import inspect
import sys
import time
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import pulumi_aws
import pulumi_eks
import pulumi_github
import pulumi_kubernetes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime import rpc

from rehearsal import schema
from rehearsal.program import Declared, Program, evaluate
from tests.rehearsal.cloud.kit import first_up

UNKNOWN: Final = rpc.UNKNOWN
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
RESOURCE: Final = "5cf8f73096256a8f31e491e813e4eb8e"
ARCHIVE: Final = "0def7320c3a5731c473e5ecbe6d01bc7"

# What the clusters' own definitions bring, which no SDK knows.
CUSTOM_GROUPS: Final = ("argoproj.io", "elbv2.k8s.aws", "external-secrets.io")
SDKS: Final = {
    "aws": pulumi_aws,
    "eks": pulumi_eks,
    "github": pulumi_github,
    "kubernetes": pulumi_kubernetes,
}

LISTS: Final[list[list[object]]] = [[]]
NODES: Final[Mapping[str, Any]] = {
    "clusterName": "blue",
    "nodeRoleArn": "arn:aws:iam::111111111111:role/nodes",
    "subnetIds": ["subnet-1"],
    "scalingConfig": {"desiredSize": 2.0, "minSize": 1.0, "maxSize": 3.0},
}
NODE_GROUP: Final = "aws:eks/nodeGroup:NodeGroup"


@pytest.fixture(scope="module")
def programs(programs: Mapping[str, Program]) -> Mapping[str, Program]:
    """The stacks, and the first `up` of the owner, which alone declares the GitOps repository's files."""
    return {**programs, "prd, first up": evaluate("prd", config=first_up("prd"))}


def _resources(programs: Mapping[str, Program]) -> Iterator[Declared]:
    return (each for program in programs.values() for each in program.resources)


def _classed(programs: Mapping[str, Program]) -> Iterator[Declared]:
    return (each for each in _resources(programs) if schema.known(each.type))


def _named(type_: str, inputs: Mapping[str, Any]) -> dict[str, str]:
    return {each.property: each.problem for each in schema.faults(type_, inputs)}


def _paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place inside `value`."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, each in cast("dict[str, object]", value).items():
            yield from _paths(each, (*path, key))
    if isinstance(value, list):
        for index, each in enumerate(cast("list[object]", value)):
            yield from _paths(each, (*path, index))


def _with(inputs: Mapping[str, Any], path: Sequence[str | int], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(dict(inputs))
    at: Any = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return changed


def _at(inputs: Mapping[str, Any], path: Sequence[str | int]) -> object:
    at: Any = inputs
    for step in path:
        at = at[step]
    return at


# The three programs


def test_nothing_is_wrong_with_what_the_programs_declare(programs: Mapping[str, Program]) -> None:
    wrong = {
        f"{each.type} {each.name}": found for each in _resources(programs) if (found := schema.faults(each.type, each.inputs))
    }
    assert wrong == {}


def test_only_components_and_custom_resources_have_no_class(programs: Mapping[str, Program]) -> None:
    without = {each.type for each in _resources(programs) if not schema.known(each.type)}
    others = {each for each in without if not each.startswith(("slipway:", *(f"kubernetes:{group}/" for group in CUSTOM_GROUPS)))}
    assert others == set()
    assert any(each.startswith("kubernetes:argoproj.io/") for each in without)


def test_a_misspelt_property_is_named_with_the_right_one(programs: Mapping[str, Program]) -> None:
    for each in _classed(programs):
        for key in each.inputs:
            wrong = f"{key}x"
            renamed = {wrong if name == key else name: value for name, value in each.inputs.items()}
            problem = _named(each.type, renamed).get(wrong, "")
            assert problem.endswith(f"has no property {wrong}: did you mean {key}?"), (each.type, key, problem)


def test_a_missing_property_is_named_exactly_if_the_constructor_demands_it(programs: Mapping[str, Program]) -> None:
    demanded = 0
    for each in _classed(programs):
        arguments = _arguments_class(each.type)
        required = {
            _camel(arguments, name)
            for name, parameter in inspect.signature(arguments).parameters.items()
            if parameter.default is inspect.Parameter.empty
        }
        for key in each.inputs:
            left = {name: value for name, value in each.inputs.items() if name != key}
            expected = {key: f"{each.type} requires {key}: it is missing"} if key in required else {}
            assert _named(each.type, left) == expected, (each.type, key)
            assert _named(each.type, {**each.inputs, key: None}) == expected, (each.type, key)
            demanded += key in required
    assert demanded > 500


def _arguments_class(token: str) -> type:
    """The class of arguments, by the SDK's naming rather than by its overloads."""
    package, _, rest = token.partition(":")
    if token.startswith("pulumi:providers:"):
        return cast("type", SDKS[token.rpartition(":")[2]].ProviderArgs)
    module, _, name = rest.rpartition(":")
    entry: Any = rpc.get_resource_module(package, module, "")
    home = sys.modules[entry.mod_info["fqn"]]
    made: Any = getattr(home, name)
    there = sys.modules[made.__module__]
    # `InitArgs` where a part of another resource has the plain name.
    return cast("type", getattr(there, f"{name}InitArgs", None) or getattr(there, f"{name}Args"))


def _camel(arguments: type, name: str) -> str:
    getter: Any = getattr(arguments, name).fget
    return str(getter._pulumi_name)  # noqa: SLF001 — where the SDK keeps it


def test_a_value_of_another_type_is_named(programs: Mapping[str, Program]) -> None:
    tried = 0
    for each in _classed(programs):
        for key, value in each.inputs.items():
            # Nothing that is declared takes a list of lists; text stands for text, and for resources by their ids.
            texts = () if isinstance(value, str) or "urn" in (value if isinstance(value, dict) else ()) else ("three",)
            for wrong in (*texts, LISTS):
                problem = _named(each.type, {**each.inputs, key: wrong})
                path, words = next(iter(problem.items()), ("", ""))
                assert path in {key, f"{key}[0]"}, (each.type, key, wrong, problem)
                assert words.startswith("got ")
                assert "allowed is " in words
                tried += 1
    assert tried > 2000


def test_what_is_not_known_yet_fits_anywhere(programs: Mapping[str, Program]) -> None:
    seen: set[str] = set()
    for each in _classed(programs):
        if each.type in seen:
            continue
        seen.add(each.type)
        for path in _paths(each.inputs):
            assert schema.faults(each.type, _with(each.inputs, path, UNKNOWN)) == [], (each.type, path)
            wrapped = {SIGNATURE: OUTPUT}
            assert schema.faults(each.type, _with(each.inputs, path, wrapped)) == [], (each.type, path)


def test_secrets_are_looked_into(programs: Mapping[str, Program]) -> None:
    for each in programs["dev"].resources:
        for path in _paths(each.inputs):
            secret = {SIGNATURE: SECRET, "value": _at(each.inputs, path)}
            assert schema.faults(each.type, _with(each.inputs, path, secret)) == [], (each.type, path)


def test_judging_a_whole_program_takes_no_time_worth_speaking_of(programs: Mapping[str, Program]) -> None:
    resources = programs["prd"].resources
    for each in resources:
        schema.faults(each.type, each.inputs)
    start = time.process_time()
    for each in resources:
        schema.faults(each.type, each.inputs)
    assert time.process_time() - start < 0.5


# Parts of properties


def test_faults_inside_an_object_are_named_by_their_path() -> None:
    scaling = {"desiredSize": 2.5, "minSise": 1.0, "maxSize": "many"}
    assert _named(NODE_GROUP, {**NODES, "scalingConfig": scaling}) == {
        "scalingConfig.desiredSize": "got 2.5, allowed is a whole number",
        "scalingConfig.maxSize": 'got "many", allowed is a whole number',
        "scalingConfig.minSise": "NodeGroupScalingConfig has no property minSise: did you mean minSize?",
        "scalingConfig.minSize": "NodeGroupScalingConfig requires minSize: it is missing",
    }


def test_faults_in_lists_and_maps_are_named_by_their_path() -> None:
    taints = [{"effect": "NO_SCHEDULE", "key": "a"}, {"effect": "NO_SCHEDULE"}]
    inputs: dict[str, Any] = {
        **NODES,
        "taints": taints,
        "tags": {"Name": 1.0, "slipway/colour": True},
        "subnetIds": ["subnet-1", {}],
    }
    assert _named(NODE_GROUP, inputs) == {
        "taints[1].key": "NodeGroupTaint requires key: it is missing",
        "tags.Name": "got a number, allowed is text",
        'tags["slipway/colour"]': "got true or false, allowed is text",
        "subnetIds[1]": "got an object, allowed is text",
    }


def test_a_property_like_no_other_gets_the_whole_list() -> None:
    problem = _named("aws:sqs/queuePolicy:QueuePolicy", {"queueUrl": "q", "policy": "{}", "zzz": 1.0})["zzz"]
    assert problem.endswith("has no property zzz; it has policy, queueUrl, region")


def test_names_as_python_has_them_are_refused() -> None:
    problem = _named(NODE_GROUP, {**NODES, "ami_type": "AL2023_x86_64_STANDARD"})
    assert problem["ami_type"].endswith("did you mean amiType?")


def test_none_is_not_given() -> None:
    inputs = {**NODES, "subnetIds": [None, "subnet-1"], "tags": {"a": None}, "amiType": None, "nonesuch": None}
    assert schema.faults(NODE_GROUP, inputs) == []


@pytest.mark.parametrize("key", ["__defaults", "__internal", "__meta"])
def test_what_the_engine_keeps_beside_the_inputs_is_no_input(key: str) -> None:
    scaling: dict[str, Any] = {**NODES["scalingConfig"], key: []}
    assert (
        schema.faults(NODE_GROUP, {**NODES, "scalingConfig": scaling, "tags": {"a": "b", key: []}, key: {"version": "7"}}) == []
    )


@pytest.mark.parametrize(
    ("type_", "key", "value", "fits"),
    [
        ("aws:sqs/queue:Queue", "fifoQueue", True, True),
        ("aws:sqs/queue:Queue", "fifoQueue", "true", True),
        ("aws:sqs/queue:Queue", "fifoQueue", "false", True),
        ("aws:sqs/queue:Queue", "fifoQueue", "yes", False),
        ("aws:sqs/queue:Queue", "fifoQueue", 1.0, False),
        ("aws:sqs/queue:Queue", "delaySeconds", 5, True),
        ("aws:sqs/queue:Queue", "delaySeconds", 5.0, True),
        ("aws:sqs/queue:Queue", "delaySeconds", "5", True),
        ("aws:sqs/queue:Queue", "delaySeconds", "5.5", False),
        ("aws:sqs/queue:Queue", "delaySeconds", "nan", False),
        ("aws:sqs/queue:Queue", "delaySeconds", "", False),
        ("aws:sqs/queue:Queue", "delaySeconds", True, False),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", "threshold", 0.5, True),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", "threshold", "0.5", True),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", "threshold", "half", False),
        # A union of an enumeration with text takes any text; one alone does not.
        ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "policyArn", "arn:aws:iam::111111111111:policy/own", True),
        ("eks:index:Cluster", "authenticationMode", "API", True),
        ("eks:index:Cluster", "authenticationMode", "NOBODY", False),
        ("kubernetes:core/v1:Namespace", "apiVersion", "v1", True),
        ("kubernetes:core/v1:Namespace", "apiVersion", "v2", False),
        ("kubernetes:core/v1:Namespace", "kind", "Namespace", True),
        # Files, as the wire marks them and as the rehearsal has them.
        ("aws:lambda/function:Function", "code", {SIGNATURE: ARCHIVE, "path": "a.zip", "hash": "0"}, True),
        ("aws:lambda/function:Function", "code", {"path": "a.zip"}, True),
        ("aws:lambda/function:Function", "code", "a.zip", False),
        ("aws:lambda/function:Function", "code", {"file": "a.zip"}, False),
        ("aws:lambda/function:Function", "tags", {SIGNATURE: ARCHIVE, "path": "a.zip", "hash": "0"}, False),
        # Resources: references, their ids, what the programs' recorder makes of them.
        ("eks:index:ManagedNodeGroup", "nodeRole", {SIGNATURE: RESOURCE, "urn": "urn:pulumi:x", "id": "nodes"}, True),
        ("eks:index:ManagedNodeGroup", "nodeRole", {"urn": "urn:pulumi:x", "id": "nodes"}, True),
        ("eks:index:ManagedNodeGroup", "nodeRole", "nodes", True),
        # (or, for this one, an object that has much to be faulted for)
        ("eks:index:ManagedNodeGroup", "cluster", {"urn": "urn:pulumi:x", "id": ""}, True),
        ("eks:index:ManagedNodeGroup", "nodeRole", 5.0, False),
        ("kubernetes:helm.sh/v3:Release", "values", {"anything": [{"goes": None}]}, True),
        ("kubernetes:helm.sh/v3:Release", "values", [], False),
    ],
)
def test_types_are_held_to_as_the_providers_hold_to_them(type_: str, key: str, value: object, fits: bool) -> None:
    of_it = [path for path in _named(type_, {key: value}) if path.startswith(key)]
    assert of_it == ([] if fits else [key])


def test_the_allowed_values_are_told() -> None:
    told = _named("eks:index:Cluster", {"authenticationMode": "NOBODY"})["authenticationMode"]
    assert told == 'got "NOBODY", allowed is "CONFIG_MAP" or "API" or "API_AND_CONFIG_MAP"'


@pytest.mark.parametrize(
    ("type_", "inputs"),
    [
        ("aws:ssm/parameter:Parameter", {"type": "SecureString", "overwrite": {SIGNATURE: SECRET, "value": "hush"}}),
        ("aws:secretsmanager/secretVersion:SecretVersion", {"secretId": "s", "versionStages": "hush"}),
        ("aws:eks/nodeGroup:NodeGroup", {**NODES, "scalingConfig": {SIGNATURE: SECRET, "value": {"minSize": "hush"}}}),
        ("aws:sqs/queue:Queue", {"fifoQueue": {SIGNATURE: OUTPUT, "value": "hush", "secret": True}}),
        # Too long for a slip of the pen: more likely something that stands in the wrong place.
        ("aws:sqs/queue:Queue", {"fifoQueue": "hush" * 20}),
    ],
)
def test_what_may_be_secret_stands_in_no_message(type_: str, inputs: Mapping[str, Any]) -> None:
    found = schema.faults(type_, inputs)
    assert found
    assert "hush" not in str(found)


# Kinds and providers


def test_a_type_that_no_provider_has_is_a_fault() -> None:
    (fault,) = schema.faults("aws:ecr/repository:Repositry", {})
    assert fault.property == ""
    assert fault.problem.endswith("has no type aws:ecr/repository:Repositry: did you mean aws:ecr/repository:Repository?")
    assert len(schema.faults("aws:nowhere/thing:Thing", {})) == 1
    assert len(schema.faults("kubernetes:core/v1:Namespce", {})) == 1


@pytest.mark.parametrize(
    "type_", ["kubernetes:argoproj.io/v1alpha1:Application", "slipway:cluster:Cluster", "pulumi:pulumi:Stack"]
)
def test_kinds_without_a_class_are_for_others_to_judge(type_: str) -> None:
    assert not schema.known(type_)
    assert schema.faults(type_, {"anything": 1.0}) == []
    assert schema.is_input(type_, "anything")


def test_outputs_are_no_inputs() -> None:
    assert schema.is_input("aws:sqs/queue:Queue", "fifoQueue")
    assert not schema.is_input("aws:sqs/queue:Queue", "arn")
    assert not schema.is_input("aws:sqs/queue:Queue", "fifo_queue")


def test_a_providers_structures_may_be_json_in_text() -> None:
    inputs = {
        "region": "eu-central-1",
        "version": "7.0.0",
        "pluginDownloadURL": "",
        "allowedAccountIds": '["111111111111"]',
        "skipMetadataApiCheck": "true",
        "defaultTags": '{"tags":{"a":"b"}}',
    }
    assert schema.faults("pulumi:providers:aws", inputs) == []
    wrong = {**inputs, "defaultTags": '{"tagz":{}}', "allowedAccountIds": "111111111111", "regoin": "x"}
    assert sorted(_named("pulumi:providers:aws", wrong)) == ["allowedAccountIds", "defaultTags.tagz", "regoin"]


def test_a_providers_text_is_read_as_json_once() -> None:
    assert schema.faults("pulumi:providers:aws", {"maxRetries": '"5"'}) == []
    assert list(_named("pulumi:providers:aws", {"maxRetries": r'"\"5\""'})) == ["maxRetries"]


def test_only_a_providers_structures_may_be() -> None:
    assert list(_named(NODE_GROUP, {**NODES, "subnetIds": '["subnet-1"]'})) == ["subnetIds"]


@pytest.mark.parametrize("package", sorted(SDKS))
def test_every_providers_configuration_is_known(package: str) -> None:
    assert schema.known(f"pulumi:providers:{package}")
    assert list(_named(f"pulumi:providers:{package}", {"nonesuch": UNKNOWN})) == ["nonesuch"]


# Anything at all

_TYPES: Final = (
    NODE_GROUP,
    "aws:lambda/function:Function",
    "aws:s3/bucket:Bucket",
    "kubernetes:core/v1:Pod",
    "eks:index:Cluster",
)
_KEYS: Final = st.sampled_from(["spec", "metadata", "labels", "code", "tags", "scalingConfig", "roleMappings"]) | st.text(
    max_size=4
)
_SCALARS: Final = st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.just(UNKNOWN)
_JSON: Final[st.SearchStrategy[Any]] = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=8
)


@given(type_=st.sampled_from(_TYPES), inputs=st.dictionaries(_KEYS, _JSON, max_size=4))
def test_whatever_is_sent_is_judged(type_: str, inputs: dict[str, Any]) -> None:
    before = copy.deepcopy(inputs)
    for fault in schema.faults(type_, inputs):
        assert fault.property
        assert fault.problem
    assert repr(inputs) == repr(before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of classes that nobody here uses, on import
def test_every_class_of_every_sdk_can_be_read() -> None:
    modules: list[Any] = [each for known in rpc._RESOURCE_MODULES.values() for each in known]  # noqa: SLF001 — the register  # pyright: ignore[reportPrivateUsage]
    tokens = [token for each in modules for token in each.mod_info["classes"]]
    assert len(tokens) > 2000
    reached: set[type] = set()
    for token in tokens:
        shape = schema._shape_of(token)  # noqa: SLF001 — nothing public walks all types  # pyright: ignore[reportPrivateUsage]
        assert shape is not None, token
        _walk(shape, reached)
    assert len(reached) > 5000


def _walk(shape: schema._Shape, reached: set[type]) -> None:  # pyright: ignore[reportPrivateUsage]
    left: list[tuple[object, Any]] = [(each, shape.module) for each in shape.annotations.values()]
    while left:
        annotation, module = left.pop()
        for kind in schema._alternatives(annotation, module):  # noqa: SLF001 — same  # pyright: ignore[reportPrivateUsage]
            left += [(each, module) for each in typing.get_args(kind) if typing.get_origin(kind) in {Sequence, Mapping}]
            if kind is not Any:
                schema._is_scalar("text", kind)  # noqa: SLF001 — refuses kinds that it does not know  # pyright: ignore[reportPrivateUsage]
                assert schema._described(kind)  # noqa: SLF001 — same  # pyright: ignore[reportPrivateUsage]
            if schema._is_object(kind) and kind not in reached:  # noqa: SLF001 — same  # pyright: ignore[reportPrivateUsage]
                reached.add(cast("type", kind))
                inner = schema._shape(cast("type", kind))  # noqa: SLF001 — same  # pyright: ignore[reportPrivateUsage]
                left += [(each, inner.module) for each in inner.annotations.values()]
