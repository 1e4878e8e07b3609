"""What a declared lifecycle expires. moto and ministack store the policy and never carry it out; this does.

Strict, as policy.py is: what is not known here (archiving, pull times, reference artifacts) raises `LifecycleError`, so a
rehearsal that passes has judged all of what was declared. Own code, since AWS's own preview needs an account and no
library holds the evaluation.

The rules: https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html#lp_evaluation_rules ; what a policy
may hold: https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient
    from types_boto3_ecr.type_defs import ImageDetailTypeDef

# Both numbers: https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html and
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html
_WILDCARDS: Final = 4
_DELETED_AT_ONCE: Final = 100
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-manifest-formats.html
_LISTS: Final = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
# Each makes rules hold that are not written down here: archived or restored images, and artifacts that follow a subject.
_UNKNOWN: Final = ("lastActivatedAt", "lastArchivedAt", "subjectManifestDigest")


class LifecycleError(ValueError):
    """A policy that ECR would refuse, or something whose fate is not known here. The message says where and why."""


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class _Action(_Part):
    type: Literal["expire"]


class _Selection(_Part):
    tag_status: Literal["tagged", "untagged", "any"]
    tag_pattern_list: list[Annotated[str, Field(min_length=1)]] = []
    tag_prefix_list: list[Annotated[str, Field(pattern=r"^[^*]+$")]] = []
    count_type: Literal["imageCountMoreThan", "sinceImagePushed"]
    count_unit: Literal["days"] | None = None
    count_number: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if bool(self.tag_pattern_list) + bool(self.tag_prefix_list) != (self.tag_status == "tagged"):
            msg = (
                f"tagStatus {self.tag_status} with tagPatternList {self.tag_pattern_list} and tagPrefixList "
                f"{self.tag_prefix_list}: tagged needs exactly one of the two, untagged and any neither"
            )
            raise ValueError(msg)
        if (self.count_type == "sinceImagePushed") != (self.count_unit is not None):
            msg = (
                f"countType {self.count_type} with countUnit {self.count_unit}: days belongs to sinceImagePushed, and only there"
            )
            raise ValueError(msg)
        if any(pattern.count("*") > _WILDCARDS for pattern in self.tag_pattern_list):
            msg = f"tagPatternList {self.tag_pattern_list}: at most {_WILDCARDS} wildcards in a string are allowed"
            raise ValueError(msg)
        return self

    @property
    def patterns(self) -> frozenset[str]:
        """What must be matched, each by a tag."""
        return frozenset((*self.tag_pattern_list, *(f"{prefix}*" for prefix in self.tag_prefix_list)))


class _Rule(_Part):
    rule_priority: Annotated[int, Field(ge=1)]
    description: str = ""
    selection: _Selection
    action: _Action


class _Policy(_Part):
    rules: Annotated[list[_Rule], Field(min_length=1)]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        priorities = [rule.rule_priority for rule in self.rules]
        if len(set(priorities)) != len(priorities):
            msg = f"rulePriority {priorities}: each number is allowed once"
            raise ValueError(msg)
        statuses = [rule.selection.tag_status for rule in self.in_order]
        if "any" in statuses[:-1]:
            msg = f"tagStatus {statuses} by priority: any is allowed for the highest rulePriority only"
            raise ValueError(msg)
        if statuses.count("untagged") > 1:
            msg = f"tagStatus {statuses} by priority: one rule is allowed to select untagged images"
            raise ValueError(msg)
        sought = [sorted(rule.selection.patterns) for rule in self.rules if rule.selection.patterns]
        if any(each in sought[:index] for index, each in enumerate(sought)):
            msg = f"tags {sought}: no two rules may select the same"
            raise ValueError(msg)
        return self

    @property
    def in_order(self) -> list[_Rule]:
        """The rules as they are applied."""
        return sorted(self.rules, key=lambda rule: rule.rule_priority)


@dataclass(frozen=True, kw_only=True)
class _Image:
    digest: str
    tags: Sequence[str]
    pushed_at: datetime


def expired(
    policy: str,
    images: Iterable["ImageDetailTypeDef"],
    now: datetime,
    *,
    children: Mapping[str, Collection[str]] | None = None,
) -> list[str]:
    """Which images ECR expires.

    All rules look at all images; then they are applied by priority. What a rule has identified by its tags is out of
    reach of every rule below, although those still see and count it. What a manifest list names stays as long as the list.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html#lp_evaluation_rules

    Args:
        policy: The lifecycle policy's text.
        images: The repository as DescribeImages tells it. Of one push time, what comes later counts as younger: AWS says
            nothing of it.
        now: When the rules are evaluated, with its time zone.
        children: By the digest of each manifest list in the repository, the digests that it names.

    Returns:
        Digests, the oldest image first.

    Raises:
        LifecycleError: ECR would refuse the policy, or a rule or an image is of a kind that is not known here.
    """
    rules = _parse(policy).in_order
    named = children or {}
    held = sorted((_image(detail, named) for detail in images), key=lambda image: image.pushed_at)
    claimed: set[str] = set()
    gone: set[str] = set()
    for rule in rules:
        seen = [image for image in held if _identifies(rule.selection, image)]
        gone |= {image.digest for image in _marked(rule.selection, seen, now)} - claimed
        claimed |= {image.digest for image in seen}
    gone -= {child for image in held if image.digest not in gone for child in named.get(image.digest, ())}
    return [image.digest for image in held if image.digest in gone]


def apply(client: "ECRClient", repository: str, now: datetime) -> list[str]:
    """Expire what the policy of a repository expires at `now`: what ECR does by itself within a day.

    Args:
        client: ECR, or what stands in for it.
        repository: Name of the repository.
        now: When the rules are evaluated, with its time zone; years ahead, everything is old.

    Returns:
        Digests of what is gone, the oldest image first.

    Raises:
        LifecycleError: the policy cannot be evaluated for certain, or an image was not deleted.
        botocore.exceptions.ClientError: the repository does not exist, or has no lifecycle policy.
    """
    policy = client.get_lifecycle_policy(repositoryName=repository).get("lifecyclePolicyText", "")
    pages = client.get_paginator("describe_images").paginate(repositoryName=repository)
    images = [detail for page in pages for detail in page["imageDetails"]]
    lists = [detail.get("imageDigest", "") for detail in images if detail.get("imageManifestMediaType") in _LISTS]
    children = {digest: _children(client, repository, digest) for digest in lists}
    gone = expired(policy, images, now, children=children)
    # ECR deletes nothing that a list names: lists go first, in requests of their own.
    for some in ([each for each in gone if each in children], [each for each in gone if each not in children]):
        for start in range(0, len(some), _DELETED_AT_ONCE):
            _delete(client, repository, some[start : start + _DELETED_AT_ONCE])
    return gone


def _parse(text: str) -> _Policy:
    try:
        return _Policy.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(_described(fault) for fault in error.errors(include_url=False))
        msg = f"the lifecycle policy cannot be evaluated: {faults}. Only expiry by number and by push time is known here"
        raise LifecycleError(msg) from None


def _described(fault: Any) -> str:  # noqa: ANN401 — pydantic_core.ErrorDetails, whose ctx is untyped
    what, got = fault["msg"].removeprefix("Value error, "), fault["input"]
    where = ".".join(str(part) for part in fault["loc"]) or "the whole"
    # An object's own faults name the values that they are about.
    return f"{where}: {what}" if isinstance(got, dict | list) else f"{where} is {got!r}: {what[:1].lower()}{what[1:]}"


def _image(detail: "ImageDetailTypeDef", children: Mapping[str, Collection[str]]) -> _Image:
    digest = detail.get("imageDigest", "")
    if strange := [key for key in _UNKNOWN if detail.get(key)]:
        msg = f"image {digest} has {strange}: archived, restored and referring images are not known here"
        raise LifecycleError(msg)
    if detail.get("imageStatus", "ACTIVE") != "ACTIVE":
        msg = f"image {digest} is {detail.get('imageStatus')}: only ACTIVE is known here"
        raise LifecycleError(msg)
    if detail.get("imageManifestMediaType") in _LISTS and digest not in children:
        msg = f"image {digest} is a manifest list, and `children` does not say what it names: give its manifests' digests"
        raise LifecycleError(msg)
    return _Image(
        digest=digest,
        tags=detail.get("imageTags", ()),
        pushed_at=detail["imagePushedAt"],  # pyright: ignore[reportTypedDictNotRequiredAccess] — every stored image has it
    )


def _identifies(selection: _Selection, image: _Image) -> bool:
    if selection.tag_status == "tagged":
        return all(any(_like(pattern, tag) for tag in image.tags) for pattern in selection.patterns)
    return selection.tag_status == "any" or not image.tags


def _like(pattern: str, tag: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), tag) is not None


def _marked(selection: _Selection, seen: Sequence[_Image], now: datetime) -> Sequence[_Image]:
    """Of the images that a rule identified, oldest first, those that it finds too old or too many."""
    if selection.count_type == "sinceImagePushed":
        return [image for image in seen if now - image.pushed_at > timedelta(days=selection.count_number)]
    return seen[: max(0, len(seen) - selection.count_number)]


def _children(client: "ECRClient", repository: str, digest: str) -> frozenset[str]:
    answer = client.batch_get_image(
        repositoryName=repository, imageIds=[{"imageDigest": digest}], acceptedMediaTypes=list(_LISTS)
    )
    manifests = [
        manifest for image in answer["images"] for manifest in json.loads(image.get("imageManifest", "{}")).get("manifests", [])
    ]
    if any(each.get("mediaType") in _LISTS for each in manifests):
        msg = f"manifest list {digest} of {repository} names another list: only images within a list are known here"
        raise LifecycleError(msg)
    return frozenset(each["digest"] for each in manifests)


def _delete(client: "ECRClient", repository: str, digests: Sequence[str]) -> None:
    answer = client.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": each} for each in digests])
    # What somebody else deleted meanwhile is gone as well.
    failures = [each for each in answer["failures"] if each.get("failureCode") != "ImageNotFound"]
    if failures:
        msg = f"{repository} still holds images that its lifecycle expires: {failures}"
        raise LifecycleError(msg)
