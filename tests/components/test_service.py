"""components/service.py over the three stacks: what one call declares, and what it leaves alone."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from components.platform import Platform
from components.service import Service, ServiceArgs
from functions.gitops_writer.catalogue import parse
from rehearsal.program import Declared, Program, evaluate, read_services, stack_config
from tests.components.test_settings import changed
from tests.conftest import EXAMPLE, STACKS

# What one service with a host is, over the three stacks.
EXACTLY = {
    "aws:ecr/repository:Repository": 2,
    "aws:codepipeline/pipeline:Pipeline": 2,
    "aws:codebuild/project:Project": 2,
    "aws:cloudwatch/eventRule:EventRule": 2,
    "aws:lb/listenerRule:ListenerRule": 3,
    "aws:lb/targetGroup:TargetGroup": 3,
    "aws:route53/record:Record": 3,
    "kubernetes:argoproj.io/v1alpha1:Application": 3,
    "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding": 3,
    "kubernetes:core/v1:Namespace": 3,
}
EDGE = {
    "aws:lb/listenerRule:ListenerRule",
    "aws:lb/targetGroup:TargetGroup",
    "aws:route53/record:Record",
    "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding",
}


def below(program: Program, service: str) -> list[Declared]:
    """Everything that stands below one service's component."""
    (component,) = (each for each in program.of("slipway:service:Service") if each.name == service)
    found: list[Declared] = []
    waiting = [component.urn]
    while waiting:
        children = program.children(waiting.pop())
        found += children
        waiting += [child.urn for child in children]
    return found


def counted(programs: Mapping[str, Program], service: str) -> Counter[str]:
    return Counter(each.type for program in programs.values() for each in below(program, service))


def with_one_more(name: str = "basket", **arguments: Any) -> Callable[[Platform], None]:  # noqa: ANN401 — ServiceArgs'
    def catalogue(platform: Platform) -> None:
        read_services(EXAMPLE)(platform)
        given: dict[str, Any] = {"repository": name, "port": 8080, **arguments}
        Service(name, ServiceArgs(platform=platform, **given))

    return catalogue


def comparable(program: Program) -> dict[str, tuple[object, ...]]:
    """Each resource by URN with all that the engine would compare."""
    return {
        each.urn: (each.inputs, each.parent, each.dependencies, each.protect, each.ignore_changes, each.provider)
        for each in program.resources
    }


def test_a_service_is_exactly_its_parts_over_the_three_stacks(programs: Mapping[str, Program]) -> None:
    found = counted(programs, "storefront")
    assert {type_: found[type_] for type_ in EXACTLY} == EXACTLY


def test_a_worker_gets_no_edge_parts_and_everything_else(programs: Mapping[str, Program]) -> None:
    found = counted(programs, "invoices")
    expected = {type_: 0 if type_ in EDGE else number for type_, number in EXACTLY.items()}
    assert {type_: found[type_] for type_ in EXACTLY} == expected


def test_each_track_is_built_where_it_is_hosted_and_prd_builds_nothing(programs: Mapping[str, Program]) -> None:
    repositories = {
        stack: sorted(each.inputs["name"] for each in programs[stack].of("ecr/repository:Repository")) for stack in STACKS
    }
    assert repositories == {
        "dev": ["develop/invoices", "develop/storefront"],
        "stg": ["release/invoices", "release/storefront"],
        "prd": [],
    }
    for part in ("codepipeline/pipeline:Pipeline", "codebuild/project:Project", "cloudwatch/eventRule:EventRule"):
        assert programs["prd"].of(part) == []


def test_the_two_repositories_of_a_service_have_different_lifecycles(programs: Mapping[str, Program]) -> None:
    develop = programs["dev"].one("ecr/lifecyclePolicy:LifecyclePolicy", "storefront").inputs["policy"]
    release = programs["stg"].one("ecr/lifecyclePolicy:LifecyclePolicy", "storefront").inputs["policy"]
    assert develop != release


def test_the_release_registry_is_open_to_prd_s_account_and_to_no_other(programs: Mapping[str, Program]) -> None:
    policy = json.loads(programs["stg"].one("ecr/repositoryPolicy:RepositoryPolicy", "storefront").inputs["policy"])
    principals = [principal for statement in policy["Statement"] for principal in statement["Principal"]["AWS"]]
    assert principals == ["arn:aws:iam::333333333333:root"]
    assert programs["dev"].of("ecr/repositoryPolicy:RepositoryPolicy") == []


def test_adding_a_service_creates_only_its_own(programs: Mapping[str, Program]) -> None:
    for stack in STACKS:
        before = comparable(programs[stack])
        program = evaluate(stack, catalogue=with_one_more())
        after = comparable(program)
        assert {urn: after[urn] for urn in before} == before, stack
        new = [each for each in program.resources if each.urn not in before]
        own = {each.urn for each in below(program, "basket")} | {program.one("slipway:service:Service", "basket").urn}
        assert {each.urn for each in new} == own, stack
        assert len(new) > 1, stack


def test_a_single_stack_may_host_both_tracks() -> None:
    both = changed("slipway:tracks", "release.host", "dev")
    program = evaluate("dev", config=both)
    assert sorted(each.inputs["name"] for each in program.of("ecr/repository:Repository")) == [
        "develop/invoices",
        "develop/storefront",
        "release/invoices",
        "release/storefront",
    ]
    assert len(program.of("codepipeline/pipeline:Pipeline")) == 4
    assert len(program.of("codebuild/project:Project")) == 4
    # One per service and track, and one for each track's failed builds.
    assert len(program.of("cloudwatch/eventRule:EventRule")) == 6
    assert len(program.of("slipway:image_hook:ImageHook")) == 2
    # Nothing of the release track is left in stg, and its images come from dev's registry now.
    stg = evaluate("stg", config={**both, "slipway:builds": None, "slipway:alarms": None})
    assert stg.of("ecr/repository:Repository") == []
    grants = json.loads(program.one("ecr/repositoryPolicy:RepositoryPolicy", "storefront-release").inputs["policy"])
    assert grants["Statement"][0]["Principal"]["AWS"] == [
        "arn:aws:iam::222222222222:root",
        "arn:aws:iam::333333333333:root",
    ]


def test_a_tooling_stack_hosts_tracks_and_has_no_cluster() -> None:
    environments = changed("slipway:environments", "prd.cidr", "10.30.0.0/16")["slipway:environments"]
    config = {
        **changed("slipway:tracks", "release.host", "stg", "stg"),
        "slipway:environments": environments,
        "slipway:network": None,
        "slipway:clusters": None,
    }
    program = evaluate("stg", config=config)
    assert len(program.of("codepipeline/pipeline:Pipeline")) == 2
    assert program.of("slipway:cluster:Cluster") == []
    assert program.of("slipway:edge:Edge") == []
    assert program.of("slipway:application:Application") == []


def test_two_colours_have_an_application_each_and_share_one_listener_rule_by_weight() -> None:
    clusters = {
        "blue": {"version": "1.34", "weight": 90, "endpoint": {"private": True}},
        "green": {"version": "1.35", "weight": 10, "endpoint": {"private": True}},
    }
    program = evaluate("prd", config={"slipway:clusters": clusters})
    web = Counter(each.type for each in below(program, "storefront"))
    assert web["kubernetes:argoproj.io/v1alpha1:Application"] == 2
    assert web["aws:lb/targetGroup:TargetGroup"] == 2
    assert web["aws:lb/listenerRule:ListenerRule"] == 1
    assert web["aws:route53/record:Record"] == 1
    rule = next(each for each in below(program, "storefront") if each.type == "aws:lb/listenerRule:ListenerRule")
    groups = rule.inputs["actions"][0]["forward"]["targetGroups"]
    assert sorted(each["weight"] for each in groups) == [10, 90]


def test_a_worker_runs_in_the_active_colour_only_or_it_would_do_its_work_twice() -> None:
    clusters = {
        "blue": {"version": "1.34", "weight": 10, "endpoint": {"private": True}},
        "green": {"version": "1.35", "weight": 90, "endpoint": {"private": True}},
    }
    program = evaluate("prd", config={"slipway:clusters": clusters})
    applications = [each.name for each in below(program, "invoices") if each.type.endswith(":Application")]
    assert applications == ["invoices-green", "invoices-green-application"]


def test_rule_and_queue_come_before_the_pipeline_which_runs_once_when_it_is_made(
    programs: Mapping[str, Program],
) -> None:
    for stack in ("dev", "stg"):
        program = programs[stack]
        for pipeline in program.of("codepipeline/pipeline:Pipeline"):
            awaited = {program.urns()[urn].type for urn in pipeline.dependencies if urn in program.urns()}
            assert {"aws:cloudwatch/eventRule:EventRule", "aws:cloudwatch/eventTarget:EventTarget"} <= awaited


def test_the_writer_is_told_every_declared_service_with_its_images_per_environment(
    programs: Mapping[str, Program],
) -> None:
    parameter = programs["dev"].one("ssm/parameter:Parameter", "storefront")
    assert parameter.inputs["name"] == "/slipway/develop/services/storefront"
    told = json.loads(parameter.inputs["value"])
    assert told["images"] == {
        "dev": "111111111111.dkr.ecr.eu-central-1.amazonaws.com/develop/storefront",
        "stg": "222222222222.dkr.ecr.eu-central-1.amazonaws.com/release/storefront",
        "prd": "222222222222.dkr.ecr.eu-central-1.amazonaws.com/release/storefront",
    }
    # prd reads another branch than the one its track writes: what runs there comes by release.
    assert (told["released"], told["smoke_test"]) == (["prd"], False)
    assert told["hosts"]["prd"] == "storefront.example.com"
    assert told["port"] == 8080


def test_a_smoke_test_is_told_to_the_writer_that_scaffolds_it() -> None:
    program = evaluate("dev", catalogue=with_one_more(smoke_test=True))
    told = json.loads(program.one("ssm/parameter:Parameter", "basket").inputs["value"])
    assert told["smoke_test"] is True
    service = parse(json.dumps(told))
    assert (service.smoke_test, service.released) == (True, {"prd"})


def test_the_owning_stack_alone_rules_a_protected_repository_s_branches_and_declares_nothing_else_of_it(
    programs: Mapping[str, Program],
) -> None:
    for stack in STACKS:
        program = evaluate(stack, catalogue=with_one_more())
        known = {each.urn for each in evaluate(stack, catalogue=with_one_more(protect_repository=False)).resources}
        more = [each for each in program.resources if each.urn not in known]
        assert [each.type for each in more] == (["github:index/repositoryRuleset:RepositoryRuleset"] if stack == "prd" else [])
        assert programs[stack].urns().keys() <= known
        if stack != "prd":
            continue
        (ruleset,) = more
        assert ruleset.urn.endswith("slipway:service:Service$github:index/repositoryRuleset:RepositoryRuleset::basket")
        assert ruleset.inputs == {
            "name": "slipway basket",
            "repository": "basket",
            "target": "branch",
            "enforcement": "active",
            "conditions": {"refName": {"includes": ["refs/heads/master"], "excludes": []}},
            "rules": {
                "deletion": True,
                "nonFastForward": True,
                "pullRequest": {
                    "requiredApprovingReviewCount": 1,
                    "dismissStaleReviewsOnPush": True,
                    "allowedMergeMethods": ["merge", "rebase", "squash"],
                },
            },
        }


def test_a_protected_repository_s_branches_are_those_whose_images_reach_production() -> None:
    tracks = changed("slipway:tracks", "release.applicationBranch", "main", "prd")
    program = evaluate("prd", config=tracks, catalogue=with_one_more())
    ruleset = program.one("RepositoryRuleset", "basket")
    assert ruleset.inputs["conditions"]["refName"]["includes"] == ["refs/heads/main"]


def test_services_of_one_repository_may_both_protect_it() -> None:
    def both(platform: Platform) -> None:
        for name in ("shop", "work"):
            Service(name, ServiceArgs(platform=platform, repository="shop", port=8080))

    rulesets = [each for each in evaluate("prd", catalogue=both).of("RepositoryRuleset") if each.inputs["repository"] == "shop"]
    # A repository takes a ruleset's name once.
    assert sorted(each.inputs["name"] for each in rulesets) == ["slipway shop", "slipway work"]


def test_a_service_knows_its_address() -> None:
    seen: dict[str, str] = {}

    def catalogue(platform: Platform) -> None:
        for name, port in (("shop", 8080), ("work", None)):
            seen[name] = Service(name, ServiceArgs(platform=platform, repository="shop", port=port)).url

    evaluate("stg", catalogue=catalogue)
    assert seen == {"shop": "https://shop.stg.example.com", "work": ""}


def test_the_stack_files_stand_for_three_accounts() -> None:
    accounts = {stack_config(stack)["aws:allowedAccountIds"] for stack in STACKS}
    assert len(accounts) == 3
