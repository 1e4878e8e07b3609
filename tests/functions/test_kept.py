"""Nothing that stg or prd references is ever lost: the sweep marks, years pass, and the declared lifecycle is carried out."""

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from components.registry import KEEP_TAGS, lifecycle_rules
from components.settings import Lifecycle
from rehearsal.registry import lifecycle
from tests.functions.kit import LONG, Bench, bench, tag

NUMBER, DAYS = Lifecycle(images=10), Lifecycle(days=14)
# Where an environment may say which image it runs, and in which words.
PLACES: Final = ("base", "overlay", "pin")
WORDS: Final = (("newTag", "digest"), ("newTag",), ("digest",))
WAYS: Final = {
    f"by-{'-and-'.join(words).lower()}-in-{place}": (place, words) for place in PLACES for words in WORDS
}  # by the service that refers in this way


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Bench]:
    """The release track's writer."""
    with bench(tmp_path, monkeypatch, track="release") as it:
        yield it


@dataclass(frozen=True, kw_only=True)
class Build:
    """An image in the registry."""

    tag: str
    digest: str


def builds(it: Bench, service: str, number: int) -> list[Build]:
    """Declare a service, its repository as components/registry.py does, and push so many builds of it, the oldest first."""
    it.declare(service)
    it.client("ecr").put_image_tag_mutability(
        repositoryName=f"{it.track}/{service}",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filter": KEEP_TAGS, "filterType": "WILDCARD"}],
    )
    tags = [tag(it.time(3600 * (number - index))) for index in range(number)]
    return [Build(tag=each, digest=it.push(service, each)) for each in tags]


def file(it: Bench, place: str, service: str, environment: str) -> str:
    """Path of the file."""
    layout = it.writer.settings.layout
    paths = {
        "base": layout.base_image(service),
        "overlay": layout.overlay_image(service, environment),
        "pin": layout.pin(service, environment),
    }
    return paths[place]


def component(service: str, build: Build, words: Sequence[str] = WORDS[0]) -> bytes:
    """What the file says of the image."""
    said = {"newTag": build.tag, "digest": build.digest}
    image = {"name": service, **{word: said[word] for word in words}}
    return json.dumps({"kind": "Component", "images": [image]}).encode()


def refer(it: Bench, environment: str, made: Mapping[str, Sequence[Build]], index: int) -> None:
    """Let an environment run this build of each service, said in its way, by one commit to the branch that it reads."""
    files: dict[str, bytes | None] = {}
    for service, each in made.items():
        place, words = WAYS[service]
        # What stands above a base hides it.
        files[file(it, "base", service, environment)] = component(service, each[index + 1])
        files[file(it, place, service, environment)] = component(service, each[index], words)
    it.put(files, it.writer.settings.environments[environment])


def held(it: Bench, service: str) -> dict[str, set[str]]:
    """Tags by digest of what the registry holds."""
    details = it.client("ecr").describe_images(repositoryName=f"{it.track}/{service}")["imageDetails"]
    return {each["imageDigest"]: set(each.get("imageTags", [])) for each in details}


def let_years_pass(it: Bench, declared: Lifecycle) -> None:
    """Carry out the declared lifecycle on every repository as it will be in ten years."""
    client = it.client("ecr")
    text = json.dumps({"rules": lifecycle_rules(declared)})
    for service in it.writer.catalogue.names:
        client.put_lifecycle_policy(repositoryName=f"{it.track}/{service}", lifecyclePolicyText=text)
        lifecycle.apply(client, f"{it.track}/{service}", it.time() + timedelta(days=3650))


def digests(*some: Build) -> set[str]:
    return {each.digest for each in some}


def newest(made: Sequence[Build], declared: Lifecycle) -> Sequence[Build]:
    """Those that the lifecycle keeps for their own sake."""
    return made[-declared.images :] if declared.images else ()


@pytest.mark.parametrize("declared", [NUMBER, DAYS], ids=["number", "days"])
def test_years_later_all_that_stg_and_prd_reference_is_there_and_else_only_what_the_lifecycle_keeps(
    release: Bench, declared: Lifecycle
) -> None:
    made = {service: builds(release, service, 24) for service in WAYS}
    refer(release, "stg", made, 5)
    refer(release, "prd", made, 2)
    release.writer.sweep(lambda: LONG)
    let_years_pass(release, declared)
    for service, each in made.items():
        # The sweep has brought stg's base to the newest image.
        stg = each[-1] if WAYS[service][0] == "base" else each[5]
        assert held(release, service).keys() == digests(each[2], stg, *newest(each, declared)), service


def test_when_references_move_what_they_left_goes_and_what_they_came_to_stays(release: Bench) -> None:
    made = {service: builds(release, service, 24) for service in WAYS}
    for stg, prd in ((5, 2), (8, 5)):  # in the end prd runs what stg ran
        refer(release, "stg", made, stg)
        refer(release, "prd", made, prd)
        release.writer.sweep(lambda: LONG)
    let_years_pass(release, NUMBER)
    for service, each in made.items():
        stg = each[-1] if WAYS[service][0] == "base" else each[8]
        assert held(release, service).keys() == digests(each[5], stg, *newest(each, NUMBER)), service
        assert held(release, service)[each[5].digest] == {each[5].tag, "slipway-keep-prd"}


UNREADABLE: Final = {
    "no-yaml": b"images: [\n",
    "no-text": b"# caf\xe9\nimages: []\n",
    "large": b"#" * 1024 * 1024,
    "no-mapping": b"- images\n",
    "no-list": b"images: none\n",
}


@pytest.mark.parametrize("environment", ["stg", "prd"])
def test_an_image_whose_file_cannot_be_read_keeps_its_mark(release: Bench, environment: str) -> None:
    branch = release.writer.settings.environments[environment]
    cases = {f"{fault}-in-{place}": (fault, place) for fault in UNREADABLE for place in PLACES}
    made = {service: builds(release, service, 3) for service in cases}
    # Were an unreadable file taken for an empty one, the base would show and the mark go there.
    files = {file(release, "base", service, environment): component(service, each[1]) for service, each in made.items()}
    files |= {
        file(release, cases[service][1], service, environment): component(service, each[0]) for service, each in made.items()
    }
    release.put(files, branch)
    release.writer.sweep(lambda: LONG)
    marks = {service: held(release, service) for service in cases}
    release.put(
        {file(release, place, service, environment): UNREADABLE[fault] for service, (fault, place) in cases.items()}, branch
    )
    release.writer.sweep(lambda: LONG)
    assert {service: held(release, service) for service in cases} == marks
    let_years_pass(release, DAYS)
    for service, each in made.items():
        bumped = environment == "stg" and cases[service][1] == "base"
        assert held(release, service).keys() == digests(each[2] if bumped else each[0]), service


def test_a_referenced_image_that_lost_its_build_tag_is_kept_by_its_mark_alone(release: Bench) -> None:
    service = "by-newtag-and-digest-in-pin"
    made = builds(release, service, 3)
    refer(release, "prd", {service: made}, 0)
    release.writer.sweep(lambda: LONG)
    client = release.client("ecr")
    client.batch_delete_image(repositoryName=f"release/{service}", imageIds=[{"imageTag": made[0].tag}])
    release.writer.sweep(lambda: LONG)
    let_years_pass(release, DAYS)
    assert held(release, service) == {made[0].digest: {"slipway-keep-prd"}}


def test_when_an_environment_says_nothing_any_more_the_image_that_it_may_still_run_stays(release: Bench) -> None:
    """A file deleted by mistake renders nothing, and Argo CD leaves what is there."""
    service = "by-newtag-and-digest-in-pin"
    made = builds(release, service, 3)
    refer(release, "prd", {service: made}, 0)
    release.writer.sweep(lambda: LONG)
    release.put({file(release, place, service, "prd"): None for place in ("base", "pin")}, "master")
    release.writer.sweep(lambda: LONG)
    let_years_pass(release, DAYS)
    assert held(release, service) == {made[0].digest: {made[0].tag, "slipway-keep-prd"}}


def test_marks_that_are_an_images_last_tags_are_not_taken_away(release: Bench) -> None:
    """That would delete the image: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html ."""
    service = "by-newtag-and-digest-in-pin"
    made = builds(release, service, 3)
    for environment in ("stg", "prd"):
        refer(release, environment, {service: made}, 0)
    release.writer.sweep(lambda: LONG)
    client = release.client("ecr")
    client.batch_delete_image(repositoryName=f"release/{service}", imageIds=[{"imageTag": made[0].tag}])
    for environment, branch in release.writer.settings.environments.items():
        release.put({file(release, place, service, environment): None for place in ("base", "pin")}, branch)
    release.writer.sweep(lambda: LONG)
    assert held(release, service)[made[0].digest] == {"slipway-keep-stg", "slipway-keep-prd"}
