"""components/registry.py: what a repository keeps, and who may pull from it."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.registry import KEEP_TAGS, lifecycle_rules
from components.settings import Lifecycle
from rehearsal.program import Program, evaluate
from rehearsal.registry import Identity, Request, judge, lifecycle
from tests.components.test_settings import changed

if TYPE_CHECKING:
    from types_boto3_ecr.type_defs import ImageDetailTypeDef

HOSTS = [("dev", "develop"), ("stg", "release")]
LIFECYCLES = [Lifecycle(days=14), Lifecycle(images=200), Lifecycle(images=10), Lifecycle(days=1)]
NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)


class Image(NamedTuple):
    """One image, by a name for the reader."""

    name: str
    tags: tuple[str, ...]
    age_days: float


def expired(policy: str, images: Sequence[Image]) -> set[str]:
    """Names of the images that the policy expires."""
    details: list[ImageDetailTypeDef] = [
        {"imageDigest": name, "imageTags": list(tags), "imagePushedAt": NOW - timedelta(days=age)} for name, tags, age in images
    ]
    return set(lifecycle.expired(policy, details, NOW))


@st.composite
def repositories(draw: st.DrawFn) -> list[Image]:
    """A repository after years: builds, some of them marked by the sweep, and pieces that lost their tag."""
    ages = sorted(draw(st.lists(st.floats(0, 3000), min_size=1, max_size=25)), reverse=True)
    images: list[Image] = []
    for index, age in enumerate(ages):
        release = f"20240101T000000Z-{index:012x}"
        marks = draw(st.sets(st.sampled_from(["slipway-keep-stg", "slipway-keep-prd", "slipway-keep-prd-pin"]), max_size=3))
        tagged = draw(st.booleans())
        images.append(Image(str(index), (release, *sorted(marks)) if tagged else (), age))
    return images


@pytest.mark.parametrize(("stack", "track"), HOSTS)
@given(images=repositories())
@settings(max_examples=40, deadline=None)
def test_an_image_that_an_environment_references_never_expires(
    stack: str, track: str, images: list[Image], programs: Mapping[str, Program]
) -> None:
    policy = programs[stack].one("ecr/lifecyclePolicy:LifecyclePolicy", f"storefront-{track}").inputs["policy"]
    kept = {image.name for image in images if any(tag.startswith("slipway-keep-") for tag in image.tags)}
    assert not expired(policy, images) & kept


def aged(number: int, days_apart: float) -> list[Image]:
    """One build every `days_apart` days, oldest first."""
    return [Image(str(index), (f"release-{index}",), (number - index) * days_apart) for index in range(number)]


def test_the_release_registry_keeps_the_last_200_builds_however_old_and_every_marked_one_besides(
    programs: Mapping[str, Program],
) -> None:
    policy = programs["stg"].one("ecr/lifecyclePolicy:LifecyclePolicy", "storefront").inputs["policy"]
    images = aged(300, 30)
    assert expired(policy, images) == {str(index) for index in range(100)}
    images[0] = Image("0", (*images[0].tags, "slipway-keep-prd"), images[0].age_days)
    assert expired(policy, images) == {str(index) for index in range(1, 100)}


def test_the_develop_registry_keeps_a_fortnight_however_many_builds_it_had(programs: Mapping[str, Program]) -> None:
    policy = programs["dev"].one("ecr/lifecyclePolicy:LifecyclePolicy", "storefront").inputs["policy"]
    images = aged(1000, 0.05)
    assert expired(policy, images) == {image.name for image in images if image.age_days > 14}


@pytest.mark.parametrize(("stack", "track"), HOSTS)
def test_what_no_tag_names_goes_after_a_day(stack: str, track: str, programs: Mapping[str, Program]) -> None:
    policy = programs[stack].one("ecr/lifecyclePolicy:LifecyclePolicy", f"storefront-{track}").inputs["policy"]
    assert expired(policy, [Image("old", (), 1.5), Image("new", (), 0.5), Image("named", ("release-1",), 1.5)]) == {"old"}


@pytest.mark.parametrize("declared", LIFECYCLES, ids=str)
def test_lifecycle_rules_stand_in_the_order_of_their_priority_with_the_marks_first(declared: Lifecycle) -> None:
    rules = lifecycle_rules(declared)
    assert [rule["rulePriority"] for rule in rules] == [1, 2, 3]
    assert [rule["selection"]["tagStatus"] for rule in rules] == ["tagged", "untagged", "any"]
    assert rules[0]["selection"]["tagPatternList"] == [KEEP_TAGS] == ["slipway-keep-*"]
    # More than a repository holds. https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
    assert rules[0]["selection"]["countNumber"] >= 100_000


def test_a_mark_keeps_an_image_only_because_its_rule_comes_first() -> None:
    rules = lifecycle_rules(Lifecycle(images=10))
    marked = [Image("marked", ("release-0", "slipway-keep-prd"), 99), *aged(10, 1)]
    assert expired(json.dumps({"rules": rules}), marked) == set()
    assert expired(json.dumps({"rules": rules[1:]}), marked) == {"marked"}


@pytest.mark.parametrize(("stack", "track"), HOSTS)
def test_a_tag_names_one_build_for_ever_but_for_the_marks(stack: str, track: str, programs: Mapping[str, Program]) -> None:
    inputs = programs[stack].one("ecr/repository:Repository", f"storefront-{track}").inputs
    assert inputs["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert inputs["imageTagMutabilityExclusionFilters"] == [{"filter": "slipway-keep-*", "filterType": "WILDCARD"}]
    assert inputs["imageScanningConfiguration"] == {"scanOnPush": True}
    assert inputs["encryptionConfigurations"] == [{"encryptionType": "AES256"}]


def test_release_images_outlive_the_call_that_declared_them_and_develop_images_do_not(
    programs: Mapping[str, Program],
) -> None:
    release = programs["stg"].one("ecr/repository:Repository", "storefront")
    develop = programs["dev"].one("ecr/repository:Repository", "storefront")
    assert (release.protect, release.retain_on_delete, release.inputs["forceDelete"]) == (True, True, False)
    assert (develop.protect, develop.retain_on_delete, develop.inputs["forceDelete"]) == (False, False, True)


def may(action: str, account: str, program: Program) -> bool:
    """Whether a role of `account` that may do everything there may do `action` on stg's release repository."""
    policy = program.one("ecr/repositoryPolicy:RepositoryPolicy", "storefront").inputs["policy"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    caller = Identity(account=account, principal_arn=f"arn:aws:iam::{account}:role/node", policies=[everything])
    repository = "arn:aws:ecr:eu-central-1:222222222222:repository/release/storefront"
    return bool(judge(Request(caller=caller, action=action, resource=repository), resource_policy=policy))


PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")


def test_prd_may_pull_release_images_and_do_nothing_else_with_them(programs: Mapping[str, Program]) -> None:
    stg = programs["stg"]
    assert all(may(action, "333333333333", stg) for action in PULL)
    for action in (
        "ecr:PutImage",
        "ecr:BatchDeleteImage",
        "ecr:SetRepositoryPolicy",
        "ecr:DeleteRepository",
        "ecr:DescribeImages",
    ):
        assert not may(action, "333333333333", stg)


def test_no_other_account_may_pull_release_images(programs: Mapping[str, Program]) -> None:
    stg = programs["stg"]
    assert not any(may(action, account, stg) for action in PULL for account in ("111111111111", "999999999999"))


def test_a_registry_whose_images_stay_in_its_own_account_grants_nothing() -> None:
    program = evaluate("stg", config=changed("slipway:tracks", "release.environments", ["stg"], "stg"))
    assert program.of("ecr/repositoryPolicy:RepositoryPolicy") == []
    assert len(program.of("ecr/repository:Repository")) == 2
