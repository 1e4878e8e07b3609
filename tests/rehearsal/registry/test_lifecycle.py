"""The evaluation against AWS's own examples and rules, what is declared against it, and its carrying out on an emulated ECR."""

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.registry import lifecycle_rules
from components.settings import Lifecycle
from rehearsal.registry import LifecycleError
from rehearsal.registry.lifecycle import apply, expired
from tests.rehearsal.registry.kit import ecr

if TYPE_CHECKING:
    from types_boto3_ecr.type_defs import ImageDetailTypeDef

NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
NUMBER, DAYS = "imageCountMoreThan", "sinceImagePushed"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
REPOSITORY: Final = "release/storefront"

Rule = tuple[str | list[str], str, int]


def image(name: str, *tags: str, days: float, **more: Any) -> "ImageDetailTypeDef":  # noqa: ANN401 — handed on to the detail
    """An image of that age; its name stands for its digest."""
    detail: ImageDetailTypeDef = {"imageDigest": name, "imageTags": list(tags), "imagePushedAt": NOW - timedelta(days=days)}
    return cast("ImageDetailTypeDef", {**detail, **more})


def policy(*rules: Rule, form: str = "tagPatternList") -> str:
    """A policy whose rules stand in the order of their priority; tags are given as what they begin with."""
    return json.dumps({"rules": [rule(priority, *each, form=form) for priority, each in enumerate(rules, start=1)]})


def rule(
    priority: int,
    status: str | list[str],
    count: str,
    number: int,
    *,
    form: str = "tagPatternList",
    **more: Any,  # noqa: ANN401 — whatever a selection may hold, and what it may not
) -> dict[str, Any]:
    star = "*" if form == "tagPatternList" else ""
    tagged = {"tagStatus": "tagged", form: [f"{each}{star}" for each in status]} if isinstance(status, list) else {}
    unit = {"countUnit": "days"} if count == DAYS else {}
    selection = {"tagStatus": status, "countType": count, "countNumber": number, **unit, **tagged, **more}
    return {"rulePriority": priority, "selection": selection, "action": {"type": "expire"}}


# AWS's examples: https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_examples.html

PROD_AND_BETA = [
    image("A", "beta-1", "prod-1", days=10),
    image("B", "beta-2", "prod-2", days=9),
    image("C", "beta-3", days=8),
]
EXAMPLES: list[tuple[str, list["ImageDetailTypeDef"], list[Rule], list[str]]] = [
    ("age", [image("A", days=15), image("B", days=14)], [("untagged", DAYS, 14)], ["A"]),
    ("count", [image("A", days=3), image("B", "b", days=2), image("C", days=1)], [("untagged", NUMBER, 1)], ["A"]),
    ("several-rules-a", PROD_AND_BETA, [(["prod"], NUMBER, 1), (["beta"], NUMBER, 1)], ["A"]),
    ("several-rules-b", PROD_AND_BETA, [(["beta"], NUMBER, 1), (["prod"], NUMBER, 1)], ["A", "B"]),
    (
        "several-tags-a",
        [
            image("A", "alpha-1", days=12),
            image("B", "beta-1", days=11),
            image("C", "alpha-2", "beta-2", days=10),
            image("D", "alpha-3", days=4),
            image("E", "beta-3", days=3),
            image("F", "alpha-4", "beta-4", days=2),
        ],
        [(["alpha", "beta"], DAYS, 5)],
        ["C"],
    ),
    (
        "several-tags-b",
        [
            image("A", "alpha-1", "beta-1", "gamma-1", days=10),
            image("B", "alpha-2", "beta-2", days=9),
            image("C", "alpha-3", "beta-3", "gamma-2", days=8),
        ],
        [(["alpha", "beta"], NUMBER, 1)],
        ["A", "B"],
    ),
    (
        "all-images-a",
        [image("A", "alpha-1", days=4), image("B", "beta-1", days=3), image("C", days=2), image("D", "alpha-2", days=1)],
        [("any", NUMBER, 1)],
        ["A", "B", "C"],
    ),
    (
        "all-images-b",
        [
            image("A", "alpha-1", "beta-1", days=4),
            image("B", days=3),
            image("C", "alpha-2", days=2),
            image("D", "git hash", days=1),
            image("E", days=1),
        ],
        [(["alpha"], NUMBER, 1), ("untagged", DAYS, 1), ("any", NUMBER, 1)],
        ["A", "B", "D"],
    ),
]


@pytest.mark.parametrize("form", ["tagPatternList", "tagPrefixList"])
@pytest.mark.parametrize(("images", "rules", "gone"), [each[1:] for each in EXAMPLES], ids=[each[0] for each in EXAMPLES])
def test_what_aws_says_that_ecr_expires_is_expired(
    images: Sequence["ImageDetailTypeDef"], rules: Sequence[Rule], gone: list[str], form: str
) -> None:
    assert expired(policy(*rules, form=form), images, NOW) == gone


# The published rules: LifecyclePolicies.html#lp_evaluation_rules


def test_rules_are_applied_by_their_priority_wherever_they_stand() -> None:
    first, second = rule(1, ["prod"], NUMBER, 1), rule(2, ["beta"], NUMBER, 1)
    assert expired(json.dumps({"rules": [second, first]}), PROD_AND_BETA, NOW) == ["A"]


def test_what_a_rule_has_identified_no_lower_rule_expires_but_all_of_them_count_it() -> None:
    marked, unmarked = image("marked", "keep-prd", days=1), image("unmarked", "build", days=2)
    rules: list[Rule] = [(["keep"], NUMBER, 9), ("any", NUMBER, 1)]
    assert expired(policy(*rules), [unmarked, marked], NOW) == ["unmarked"]
    assert expired(policy(*rules), [unmarked, image("marked", "keep-prd", days=3)], NOW) == []


def test_an_image_is_expired_once_by_whatever_many_rules() -> None:
    rules: list[Rule] = [(["a"], DAYS, 1), (["b"], DAYS, 1), ("any", DAYS, 1)]
    assert expired(policy(*rules), [image("A", "a", "b", days=2)], NOW) == ["A"]


@pytest.mark.parametrize(
    ("patterns", "tags", "matched"),
    [
        (["prod*"], ["prod"], True),
        (["prod*"], ["production-team1"], True),
        (["prod*"], ["my-prod"], False),
        (["*prod*"], ["repo-production"], True),
        (["*prod*"], ["prod-team"], True),
        (["prod"], ["prod1"], False),
        (["a.c"], ["abc"], False),
        (["*a*b*c*"], ["xaxbxcx"], True),
        (["*a*b*c*"], ["xaxcxbx"], False),
        (["prod*", "eu*"], ["prod-1", "eu-1"], True),
        (["prod*", "eu*"], ["prod-1"], False),
        (["*"], [], False),
    ],
)
def test_an_image_matches_when_each_pattern_finds_a_tag(patterns: list[str], tags: list[str], matched: bool) -> None:
    each = rule(1, "tagged", DAYS, 1, tagPatternList=patterns)
    assert expired(json.dumps({"rules": [each]}), [image("A", *tags, days=2)], NOW) == (["A"] if matched else [])


def test_age_is_time_since_the_push_and_a_rule_of_days_begins_after_the_last_of_them() -> None:
    images = [image("over", "a", days=14.001), image("even", "b", days=14), image("under", "c", days=13.999)]
    assert expired(policy(("any", DAYS, 14)), images, NOW) == ["over"]


def test_the_oldest_go_first_in_whatever_order_the_registry_tells_them() -> None:
    images = [image("new", "c", days=1), image("old", "a", days=3), image("middle", "b", days=2), image("newest", days=0)]
    assert expired(policy(("any", NUMBER, 1)), images, NOW) == ["old", "middle", "new"]


def test_a_manifest_list_holds_what_it_names_until_it_goes_itself() -> None:
    images = [
        image("arm", days=9),
        image("amd", days=9),
        image("stray", days=9),
        image("list", "build", days=8, imageManifestMediaType=INDEX),
    ]
    named = {"list": ["arm", "amd"]}
    assert expired(policy(("untagged", DAYS, 1)), images, NOW, children=named) == ["stray"]
    assert expired(policy(("any", DAYS, 1)), images, NOW, children=named) == ["arm", "amd", "stray", "list"]


# What is declared: components/registry.py


@st.composite
def repositories(draw: st.DrawFn) -> list["ImageDetailTypeDef"]:
    """A repository after years, no two pushes at once: builds, some of them marked, and some that lost their tags."""
    hours = draw(st.lists(st.integers(0, 80_000), min_size=1, max_size=30, unique=True))
    marks = st.sets(st.sampled_from(["slipway-keep-stg", "slipway-keep-prd"]))
    return [
        image(str(index), *draw(st.sampled_from([[f"build-{index}"], []])), *sorted(draw(marks)), days=each / 24)
        for index, each in enumerate(hours)
    ]


def fate(lifecycle: Lifecycle, images: Sequence["ImageDetailTypeDef"]) -> set[str]:
    """What stays by the words of the design: the marked for ever, others by number or by days, pieces for a day."""
    ages = {each.get("imageDigest", ""): (NOW - each.get("imagePushedAt", NOW)).total_seconds() for each in images}
    stays: set[str] = set()
    for each in images:
        name, tags = each.get("imageDigest", ""), each.get("imageTags", [])
        younger = sum(age < ages[name] for age in ages.values())
        if any(tag.startswith("slipway-keep-") for tag in tags):
            stays.add(name)
        elif not tags:
            stays |= {name} if ages[name] <= 86_400 else set()
        elif lifecycle.days is not None:
            stays |= {name} if ages[name] <= lifecycle.days * 86_400 else set()
        elif lifecycle.images is not None and younger < lifecycle.images:
            stays.add(name)
    return stays


@pytest.mark.parametrize("kind", ["days", "images"])
@given(images=repositories(), number=st.integers(10, 30))
@settings(max_examples=60, deadline=None)
def test_the_declared_lifecycle_never_expires_what_is_marked_and_of_the_rest_keeps_what_it_says(
    kind: str, images: list["ImageDetailTypeDef"], number: int
) -> None:
    lifecycle = Lifecycle.model_validate({kind: number})
    gone = expired(json.dumps({"rules": lifecycle_rules(lifecycle)}), images, NOW)
    marked = {each.get("imageDigest", "") for each in images if "slipway-keep-" in " ".join(each.get("imageTags", []))}
    assert not marked & set(gone)
    assert {each.get("imageDigest", "") for each in images} - set(gone) == fate(lifecycle, images)


# What is not known never passes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"storageClass": "archive"}, "storageClass.*Only expiry by number and by push time"),
        ({"countType": "sinceImagePulled", "countUnit": "days"}, "sinceImagePulled.*'imageCountMoreThan' or 'sinceImagePushed'"),
        ({"countType": "sinceImageTransitioned", "countUnit": "days"}, "sinceImageTransitioned"),
        ({"countUnit": "days"}, "days belongs to sinceImagePushed"),
        ({"countType": DAYS}, "days belongs to sinceImagePushed"),
        ({"countType": DAYS, "countUnit": "hours"}, "countUnit is 'hours'"),
        ({"countNumber": 0}, "countNumber is 0.*greater than or equal to 1"),
        ({"countNumber": "9"}, "countNumber is '9'"),
        ({"tagStatus": "some"}, "tagStatus is 'some'"),
        ({"tagStatus": "tagged"}, "exactly one of the two"),
        ({"tagStatus": "tagged", "tagPatternList": []}, "exactly one of the two"),
        ({"tagStatus": "tagged", "tagPatternList": ["a*"], "tagPrefixList": ["a"]}, "exactly one of the two"),
        ({"tagPatternList": ["a*"]}, "untagged and any neither"),
        ({"tagStatus": "tagged", "tagPatternList": ["*a*b*c*d*"]}, "at most 4 wildcards"),
        ({"tagStatus": "tagged", "tagPatternList": [""]}, "tagPatternList.0"),
        ({"tagStatus": "tagged", "tagPrefixList": ["a*"]}, "tagPrefixList.0"),
    ],
)
def test_a_selection_that_ecr_refuses_or_that_is_not_known_is_an_error(change: dict[str, Any], said: str) -> None:
    with pytest.raises(LifecycleError, match=said):
        expired(json.dumps({"rules": [rule(1, "any", NUMBER, 1, **change)]}), [], NOW)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([], "at least 1 item"),
        ([rule(1, "any", NUMBER, 1), rule(1, "untagged", NUMBER, 1)], "each number is allowed once"),
        ([rule(0, "any", NUMBER, 1)], "rulePriority is 0"),
        ([rule(1, "any", NUMBER, 1), rule(2, "untagged", NUMBER, 1)], "highest rulePriority only"),
        ([rule(1, "untagged", NUMBER, 1), rule(2, "untagged", DAYS, 1)], "one rule is allowed"),
        ([rule(1, ["a", "b"], NUMBER, 1), rule(2, ["b", "a"], DAYS, 1)], "no two rules"),
        ([{**rule(1, "any", NUMBER, 1), "action": {"type": "transition", "targetStorageClass": "archive"}}], "transition"),
        ([{**rule(1, "any", NUMBER, 1), "action": {"type": "expire", "targetStorageClass": "archive"}}], "targetStorageClass"),
        ([{**rule(1, "any", NUMBER, 1), "enabled": True}], "enabled"),
    ],
)
def test_rules_that_ecr_refuses_or_that_are_not_known_are_an_error(rules: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(LifecycleError, match=said):
        expired(json.dumps({"rules": rules}), [], NOW)


def test_a_policy_that_is_no_json_is_an_error() -> None:
    with pytest.raises(LifecycleError, match=r"cannot be evaluated.*JSON"):
        expired("{", [], NOW)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"imageStatus": "ARCHIVED"}, "A is ARCHIVED: only ACTIVE"),
        ({"lastActivatedAt": NOW}, "lastActivatedAt"),
        ({"lastArchivedAt": NOW}, "lastArchivedAt"),
        ({"subjectManifestDigest": "B"}, "subjectManifestDigest"),
        ({"imageManifestMediaType": INDEX}, "manifest list.*children"),
    ],
)
def test_an_image_whose_fate_other_rules_decide_is_an_error(more: dict[str, object], said: str) -> None:
    with pytest.raises(LifecycleError, match=said):
        expired(policy(("any", NUMBER, 1)), [image("A", days=1, **more)], NOW)


# Carried out


@pytest.fixture
def client(emulator: str) -> Generator[Any]:
    """ECR of an account of its own, with one repository."""
    api = ecr(emulator, {"AWS_ACCESS_KEY_ID": "444444444444", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": ""})
    api.create_repository(repositoryName=REPOSITORY)
    yield api
    api.delete_repository(repositoryName=REPOSITORY, force=True)


def put(client: Any, content: str, *tags: str, children: Sequence[str] = (), child_type: str = MANIFEST) -> str:  # noqa: ANN401 — boto3's clients are made at run time
    """An image, a manifest list if it has children; its digest."""
    listed = {"manifests": [{"mediaType": child_type, "size": 1, "digest": each} for each in children]} if children else {}
    kind = INDEX if children else MANIFEST
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "annotations": {"content": content}, **listed})
    for tag in [{"imageTag": each} for each in tags] or [{}]:
        client.put_image(repositoryName=REPOSITORY, imageManifest=manifest, imageManifestMediaType=kind, **tag)
    return f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"


def held(client: Any) -> set[str]:  # noqa: ANN401 — as above
    return {each["imageDigest"] for each in client.describe_images(repositoryName=REPOSITORY)["imageDetails"]}


def declare(client: Any, lifecycle: Lifecycle) -> None:  # noqa: ANN401 — as above
    text = json.dumps({"rules": lifecycle_rules(lifecycle)})
    client.put_lifecycle_policy(repositoryName=REPOSITORY, lifecyclePolicyText=text)


def before_deletion(client: Any, do: Callable[[list[str]], object]) -> None:  # noqa: ANN401 — as above
    """Do something with the digests of each request to delete images, before it is sent."""

    def hook(params: dict[str, Any], **_: object) -> None:
        do([each["imageDigest"] for each in params["imageIds"]])

    client.meta.events.register("provide-client-params.ecr.BatchDeleteImage", hook)


def years_later() -> datetime:
    return datetime.now(UTC) + timedelta(days=3650)


def test_the_repositorys_own_policy_is_carried_out_on_what_it_holds(client: Any) -> None:  # noqa: ANN401 — as above
    pushed = [put(client, str(number), f"build-{number}") for number in range(14)]
    marked = put(client, "0", "slipway-keep-prd")
    assert marked == pushed[0]
    stray = put(client, "stray")
    declare(client, Lifecycle(images=10))
    assert apply(client, REPOSITORY, years_later()) == [*pushed[1:5], stray]
    assert held(client) == {marked, *pushed[5:]}
    assert apply(client, REPOSITORY, years_later()) == []


def test_before_their_time_images_stay(client: Any) -> None:  # noqa: ANN401 — as above
    pushed = {put(client, "build", "build"), put(client, "stray")}
    declare(client, Lifecycle(days=14))
    assert apply(client, REPOSITORY, datetime.now(UTC)) == []
    assert held(client) == pushed


def test_a_marked_manifest_list_keeps_its_images_and_one_that_expires_goes_before_them(client: Any) -> None:  # noqa: ANN401 — as above
    requests: list[list[str]] = []
    before_deletion(client, requests.append)
    kept, lost = put(client, "kept"), put(client, "lost")
    marked = put(client, "marked", "build-1", "slipway-keep-prd", children=[kept])
    old = put(client, "old", "build-0", children=[lost])
    declare(client, Lifecycle(days=14))
    assert set(apply(client, REPOSITORY, years_later())) == {old, lost}
    assert requests == [[old], [lost]]
    assert held(client) == {marked, kept}


def test_a_manifest_list_of_manifest_lists_is_an_error(client: Any) -> None:  # noqa: ANN401 — as above
    put(client, "outer", "build", children=["sha256:" + "0" * 64], child_type=INDEX)
    declare(client, Lifecycle(days=14))
    with pytest.raises(LifecycleError, match="names another list"):
        apply(client, REPOSITORY, years_later())


def test_no_request_deletes_more_than_ecr_takes_at_once(client: Any) -> None:  # noqa: ANN401 — as above
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html: 100."""
    requests: list[list[str]] = []
    before_deletion(client, requests.append)
    for number in range(105):
        put(client, str(number), f"build-{number}")
    declare(client, Lifecycle(days=14))
    assert len(apply(client, REPOSITORY, years_later())) == 105
    assert [len(each) for each in requests] == [100, 5]
    assert held(client) == set()


def test_what_somebody_else_deleted_meanwhile_is_gone_as_well(client: Any, emulator: str) -> None:  # noqa: ANN401 — as above
    digest = put(client, "build", "build")
    declare(client, Lifecycle(days=14))
    other = ecr(emulator, {"AWS_ACCESS_KEY_ID": "444444444444", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": ""})
    before_deletion(client, lambda _: other.batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageDigest": digest}]))
    assert apply(client, REPOSITORY, years_later()) == [digest]
    assert held(client) == set()


def test_an_image_that_is_not_deleted_is_an_error(client: Any) -> None:  # noqa: ANN401 — as above
    put(client, "build", "build")
    declare(client, Lifecycle(days=14))

    def refuse(parsed: dict[str, Any], **_: object) -> None:
        """The emulator refuses nothing, so its answer is changed into ECR's refusal."""
        parsed["failures"] = [{"imageId": parsed["imageIds"].pop(), "failureCode": "ImageReferencedByManifestList"}]

    client.meta.events.register("after-call.ecr.BatchDeleteImage", refuse)
    with pytest.raises(LifecycleError, match=r"release/storefront still holds.*ImageReferencedByManifestList"):
        apply(client, REPOSITORY, years_later())


def test_a_repository_without_a_policy_is_an_error(client: Any) -> None:  # noqa: ANN401 — as above
    with pytest.raises(Exception, match="LifecyclePolicyNotFoundException"):
        apply(client, REPOSITORY, years_later())
