"""components/settings: a wrong value stops before any resource, and says key, value, expectation and fix."""

import re
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest

from rehearsal.program import Imagined, ProgramError, evaluate, stack_config


def stack_value(key: str, stack: str = "dev") -> Any:  # noqa: ANN401 — any shape of a stack file
    import json  # noqa: PLC0415 — only here

    return json.loads(stack_config(stack)[key])


def changed(key: str, path: str, value: object, stack: str = "dev") -> Mapping[str, object]:
    """The stack's `key` with `value` at the dotted `path`; None takes it away."""
    whole = stack_value(key, stack)
    *way, last = path.split(".")
    place = whole
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return {key: whole}


ENVIRONMENTS, TRACKS, CLUSTERS = "slipway:environments", "slipway:tracks", "slipway:clusters"
PRIVATE = {"private": True}
TWO_COLOURS = {
    "blue": {"version": "1.34", "weight": 100, "endpoint": PRIVATE},
    "green": {"version": "1.35", "weight": 40, "endpoint": PRIVATE},
}

WRONG: list[tuple[str, Mapping[str, object], str]] = [
    ("a missing key", {"slipway:tracks": None}, r"slipway:tracks is missing\. Add it to Pulumi\.dev\.yaml"),
    (
        "an unknown key",
        {"slipway:colour": "red"},
        r"slipway:colour is 'red', but there is no setting of this name .* correct its spelling",
    ),
    (
        "an unknown key inside",
        changed(CLUSTERS, "blue.wieght", 3),
        r"slipway:clusters\.blue\.wieght is 3, but there is no setting of this name .* Did you mean weight\?",
    ),
    (
        "weights over 100",
        {CLUSTERS: TWO_COLOURS},
        r"slipway:clusters\.green\.weight is 40: the weights of all clusters must sum to 100 \(now 140\)\. Lower",
    ),
    ("weights under 100", changed(CLUSTERS, "blue.weight", 90), r"must sum to 100 \(now 90\)\. Raise"),
    (
        "a weight over 100",
        changed(CLUSTERS, "blue.weight", 101),
        r"clusters\.blue\.weight is 101\. It must be a whole number from 0 to 100",
    ),
    (
        "overlapping environments",
        changed(ENVIRONMENTS, "stg.cidr", "10.10.128.0/17"),
        r"environments\.dev\.cidr is 10\.10\.0\.0/16 and overlaps environments\.stg\.cidr, 10\.10\.128\.0/17\. Choose",
    ),
    (
        "a reserved range overlapped",
        {"slipway:network": {"reserved": ["10.10.4.0/22"]}},
        r"overlaps network\.reserved, 10\.10\.4\.0/22",
    ),
    (
        "a CIDR too small",
        changed(ENVIRONMENTS, "dev.cidr", "10.10.0.0/24"),
        r"too small for a VPC\. Choose a prefix from /16 to /20",
    ),
    (
        "a CIDR too large",
        changed(ENVIRONMENTS, "dev.cidr", "10.0.0.0/8"),
        r"too large for a VPC\. Choose a prefix from /16 to /20",
    ),
    (
        "host bits in a CIDR",
        changed(ENVIRONMENTS, "dev.cidr", "10.10.0.1/16"),
        r"environments\.dev\.cidr is '10.10.0.1/16'\. .* The range of this address is 10\.10\.0\.0/16",
    ),
    (
        "a public CIDR",
        changed(ENVIRONMENTS, "dev.cidr", "8.8.0.0/16"),
        r"10\.0\.0\.0/8, 172\.16\.0\.0/12, 192\.168\.0\.0/16 or 100\.64\.0\.0/10 .* Choose a range there",
    ),
    ("a short account", changed(ENVIRONMENTS, "dev.account", "1234"), r"environments\.dev\.account is '1234'"),
    (
        "another partition",
        changed(ENVIRONMENTS, "dev.region", "cn-north-1"),
        r"environments\.dev\.region is 'cn-north-1'",
    ),
    (
        "a bad zone",
        changed(ENVIRONMENTS, "dev.zone", "dev_1.example.com"),
        r"environments\.dev\.zone is 'dev_1.example.com'",
    ),
    ("a zone of one label", changed(ENVIRONMENTS, "dev.zone", "dev"), r"environments\.dev\.zone is 'dev'"),
    (
        "an unknown host",
        changed(TRACKS, "develop.host", "tst"),
        r"tracks\.develop\.host is 'tst', which is no environment\. Name one of dev, stg, prd",
    ),
    (
        "an unknown owner",
        changed("slipway:gitops", "owner", "root"),
        r"gitops\.owner is 'root', which is no environment\. Name one of dev, stg, prd",
    ),
    (
        "two tracks for one environment",
        changed(TRACKS, "develop.environments", ["dev", "stg"]),
        r"stg runs the images of develop and release, and an environment has one track",
    ),
    (
        "an environment without a track",
        changed(TRACKS, "develop.environments", ["ops"]),
        r"no track names dev among its environments, but dev has clusters",
    ),
    (
        "two tracks build one branch",
        changed(TRACKS, "release.applicationBranch", "develop"),
        r"tracks\.release\.applicationBranch is 'develop', as develop's",
    ),
    (
        "two environments on one branch",
        {**changed(ENVIRONMENTS, "stg.gitopsBranch", "master"), **changed(TRACKS, "release.gitopsBranch", "master")},
        r"environments\.prd\.gitopsBranch is 'master', which stg reads: .* branch of its own.* Give one of them another branch\.",
    ),
    (
        "all environments on one branch",
        {
            ENVIRONMENTS: {name: {**each, "gitopsBranch": "master"} for name, each in stack_value(ENVIRONMENTS, "dev").items()},
            TRACKS: {name: {**each, "gitopsBranch": "master"} for name, each in stack_value(TRACKS, "dev").items()},
        },
        r"stg\.gitopsBranch is 'master', which dev reads(.|\n)*prd\.gitopsBranch is 'master', which dev reads",
    ),
    (
        "a writer's branch that nobody reads",
        changed(TRACKS, "release.gitopsBranch", "main"),
        r"tracks\.release\.gitopsBranch is 'main', which none of its environments \(stg, prd\) reads\. Write",
    ),
    (
        "a writer's branch that another track's environment reads",
        changed(TRACKS, "release.gitopsBranch", "dev"),
        r"tracks\.release\.gitopsBranch is 'dev', which none of its environments \(stg, prd\) reads",
    ),
    (
        "no track that writes the base",
        changed(TRACKS, "release.overlay", "stg"),
        r"tracks\.<track>\.overlay is left out by no track: exactly one track writes the base",
    ),
    (
        "two tracks that write the base",
        changed(TRACKS, "develop.overlay", None),
        r"tracks\.<track>\.overlay is left out by develop and release: exactly one track writes the base",
    ),
    ("both lifecycles", changed(TRACKS, "develop.lifecycle", {"days": 3, "images": 20}), r"exactly one of days and images"),
    ("no lifecycle", changed(TRACKS, "develop.lifecycle", {}), r"exactly one of days and images"),
    ("hosting without builds", {"slipway:builds": None}, r"builds is missing, but this stack hosts develop"),
    (
        "a connection that is none",
        changed("slipway:builds", "connectionArn", "arn:aws:s3:::bucket"),
        r"builds\.connectionArn is 'arn:aws:s3:::bucket'",
    ),
    (
        "an odd architecture",
        changed(TRACKS, "develop.architecture", "riscv"),
        r"develop\.architecture is 'riscv'\. It must be arm64 or amd64",
    ),
    ("clusters without a network", {"slipway:network": None}, r"clusters has 1 colours and network is missing"),
    (
        "the API open to all",
        changed(CLUSTERS, "blue.endpoint.allow", ["0.0.0.0/0"]),
        r"allow is \[\"0\.0\.0\.0/0\"\]: together this is everyone",
    ),
    (
        "more minimum than maximum",
        changed(CLUSTERS, "blue.nodes.minimum", 9),
        r"minimum 9 is above maximum 6\. Lower minimum, or raise maximum",
    ),
    (
        "a colour that is no name",
        {CLUSTERS: {"Blue_1": {"version": "1.34", "weight": 100}}},
        r"clusters\.Blue_1 is no colour",
    ),
    (
        "machines of two architectures",
        changed(CLUSTERS, "blue.nodes.instanceTypes", ["m7g.large", "m7i.large"]),
        r"m7g\.large, m7i\.large are of two architectures, and a node group has one",
    ),
    (
        "machines that cannot run the images built here",
        changed(CLUSTERS, "blue.nodes.instanceTypes", ["m7i.large"]),
        r"clusters\.blue\.nodes\.instanceTypes are amd64 machines \(m7i\.large\), but .* track develop are built for arm64",
    ),
    ("an odd team", changed("slipway:gitops", "team", "The Team"), r"gitops\.team is 'The Team'"),
    (
        "a track that is no name",
        {TRACKS: {**stack_value(TRACKS), "Hot_Fix": {**stack_value(TRACKS)["release"], "applicationBranch": "hotfix"}}},
        r"tracks\.Hot_Fix is no name for tracks: lower-case letters.* Rename it",
    ),
    (
        "an environment that is no name",
        {
            ENVIRONMENTS: {
                **stack_value(ENVIRONMENTS),
                "acceptance-and-load": {**stack_value(ENVIRONMENTS)["dev"], "cidr": "10.40.0.0/16"},
            }
        },
        r"environments\.acceptance-and-load is no name for environments: it has 19 characters, at most 16 are allowed",
    ),
    (
        "a colour with a hyphen",
        {CLUSTERS: {"blue-green": {"version": "1.34", "weight": 100}}},
        r"clusters\.blue-green is no colour: a colour has no hyphen",
    ),
    ("an odd version", changed(CLUSTERS, "blue.version", "latest"), r"clusters\.blue\.version is 'latest'"),
    (
        "a retention that AWS has not",
        {"slipway:network": {"flowLogRetentionDays": 31}},
        r"flowLogRetentionDays is 31: CloudWatch Logs keeps logs for 1, 3.* The nearest is 60",
    ),
    (
        "another provider account",
        {"aws:allowedAccountIds": ["222222222222"]},
        r"aws:allowedAccountIds is .*222222222222.*, but dev is account 111111111111",
    ),
    (
        "no provider account",
        {"aws:allowedAccountIds": None},
        r"aws:allowedAccountIds is missing, but dev is account 111111111111",
    ),
    (
        "another provider region",
        {"aws:region": "eu-west-1"},
        r"aws:region is 'eu-west-1', but slipway:environments\.dev\.region is 'eu-central-1'",
    ),
    (
        "the alarms' key of old",
        {"slipway:alarmEmail": "a@example.com"},
        r"slipway:alarmEmail is 'a@example.com': it is slipway:alarms\.email now",
    ),
    ("an address that is none", {"slipway:alarms": {"email": "platform"}}, r"slipway:alarms\.email is 'platform'"),
    (
        "a channel by its name",
        {"slipway:alarms": {"slack": {"workspaceId": "T07EA123LEP", "channelId": "#alarms"}}},
        r"slipway:alarms\.slack\.channelId is '#alarms'",
    ),
    (
        "a workspace by its name",
        {"slipway:alarms": {"slack": {"workspaceId": "EXAMPLE-ORG", "channelId": "C07EZ1ABC23"}}},
        r"slipway:alarms\.slack\.workspaceId is 'EXAMPLE-ORG'",
    ),
    (
        "workspace and channel swapped",
        {"slipway:alarms": {"slack": {"workspaceId": "C07EZ1ABC23", "channelId": "T07EA123LEP"}}},
        r"alarms\.slack\.workspaceId is 'C07EZ1ABC23'[^\n]*\n[^\n]*alarms\.slack\.channelId is 'T07EA123LEP'",
    ),
    (
        "a channel without its workspace",
        {"slipway:alarms": {"slack": {"channelId": "C07EZ1ABC23"}}},
        r"slipway:alarms\.slack\.workspaceId is missing",
    ),
    (
        "another GitHub owner",
        {"github:owner": "someone"},
        r"github:owner is 'someone', but slipway:organization\.name is 'example-org'",
    ),
]


@pytest.mark.parametrize(("config", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_setting_stops_before_any_resource_and_says_how_to_mend_it(config: Mapping[str, object], message: str) -> None:
    with pytest.raises(ProgramError) as caught:
        evaluate("dev", config=config)
    assert caught.value.registered == ()
    assert re.search(message, str(caught.value)), str(caught.value)


def test_another_account_s_credentials_stop_before_any_resource() -> None:
    with pytest.raises(ProgramError, match=r"belong to account 999999999999 .*, and stack dev is account 111111111111") as caught:
        evaluate("dev", world=Imagined(account="999999999999"))
    assert caught.value.registered == ()


def test_every_fault_is_named_at_once() -> None:
    config = {**changed(ENVIRONMENTS, "dev.account", "12"), "slipway:colour": "red"}
    with pytest.raises(ProgramError) as caught:
        evaluate("dev", config=config)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("key", ["builds", "alarms"])
def test_what_only_a_host_needs_is_refused_where_nothing_is_hosted(key: str) -> None:
    config = {f"slipway:{key}": stack_value(f"slipway:{key}")}
    with pytest.raises(ProgramError, match=f"{key} is set, but this stack hosts no track, unlike dev, stg"):
        evaluate("prd", config=config)


def test_a_refusal_is_shown_without_the_way_through_the_program() -> None:
    with pytest.raises(ProgramError) as caught:
        evaluate("dev", config={"slipway:colour": "red"})
    assert isinstance(caught.value.cause, pulumi.RunError)


@pytest.mark.parametrize("text", ["[a, b", "{a: b}", "{", "[a: b]", '{"a": 1'])
def test_structured_text_that_does_not_parse_is_refused_in_one_sentence(text: str) -> None:
    # `pulumi config set slipway:network '{a: b}'` stores text.
    with pytest.raises(ProgramError) as caught:
        evaluate("dev", config={"slipway:network": text})
    assert isinstance(caught.value.cause, pulumi.RunError)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"slipway:network is the text {text!r}, which looks like YAML or JSON")
    assert "Pulumi.dev.yaml" in line


def test_the_stack_s_name_is_no_setting() -> None:
    with pytest.raises(ProgramError, match=r"slipway:stack is set, but the stack's name is no setting\. Remove the key"):
        evaluate("dev", config={"slipway:stack": "prd"})
