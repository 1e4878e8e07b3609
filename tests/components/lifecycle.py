"""What ECR's lifecycle evaluator would expire: a small simulator of the rules that AWS documents.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html (evaluation rules) and
https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html (what a rule may hold). It is held
against every example that AWS works through (test_registry.py). Archiving and pull times, which no rule of ours names, are
refused rather than guessed.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

# At most four in a string, by the page on a rule's properties.
_WILDCARDS: Final = 4


class LifecycleError(ValueError):
    """A policy that ECR would refuse, or that is not known here."""


@dataclass(frozen=True)
class Image:
    """One image.

    Attributes:
        name: For the reader of the test.
        tags: Its tags.
        age_days: Days since it was pushed.
    """

    name: str
    tags: tuple[str, ...]
    age_days: float


def expired(policy: str, images: Sequence[Image]) -> set[str]:
    """Names of the images that ECR expires.

    All rules look at all images; then they are applied by priority, and what a rule has identified by its tags is out of
    reach of every rule below.

    Args:
        policy: The lifecycle policy's text.
        images: The repository, oldest first among images of one age.

    Raises:
        LifecycleError: ECR would refuse the policy, or a rule is of a kind that is not known here.
    """
    rules = sorted(json.loads(policy)["rules"], key=lambda rule: rule["rulePriority"])
    _check(rules)
    taken: set[str] = set()
    gone: set[str] = set()
    for rule in rules:
        selection = rule["selection"]
        seen = [image for image in images if _identifies(selection, image)]
        gone |= {image.name for image in _marked(selection, seen) if image.name not in taken}
        taken |= {image.name for image in seen}
    return gone


def _check(rules: Sequence[dict[str, Any]]) -> None:
    priorities = [rule["rulePriority"] for rule in rules]
    if len(set(priorities)) != len(priorities):
        msg = f"rulePriority {priorities}: each once is allowed"
        raise LifecycleError(msg)
    selections = [rule["selection"] for rule in rules]
    if any(each["tagStatus"] == "any" for each in selections[:-1]):
        msg = "a rule with tagStatus any must have the highest rulePriority"
        raise LifecycleError(msg)
    if sum(each["tagStatus"] == "untagged" for each in selections) > 1:
        msg = "one rule is allowed to select untagged images"
        raise LifecycleError(msg)
    for rule in rules:
        _check_rule(rule)


def _check_rule(rule: dict[str, Any]) -> None:
    selection = rule["selection"]
    if rule["action"] != {"type": "expire"} or selection["countType"] not in {"imageCountMoreThan", "sinceImagePushed"}:
        msg = f"rule {rule['rulePriority']}: only expiry by number and by push time is known here"
        raise LifecycleError(msg)
    if (selection["countType"] == "sinceImagePushed") != (selection.get("countUnit") == "days"):
        msg = f"rule {rule['rulePriority']}: countUnit days belongs to sinceImagePushed, and to it alone"
        raise LifecycleError(msg)
    if not isinstance(selection["countNumber"], int) or selection["countNumber"] < 1:
        msg = f"rule {rule['rulePriority']}: countNumber is {selection['countNumber']}, a positive integer is allowed"
        raise LifecycleError(msg)
    patterns = selection.get("tagPatternList")
    if bool(patterns) != (selection["tagStatus"] == "tagged"):
        msg = f"rule {rule['rulePriority']}: tagPatternList belongs to tagStatus tagged, and to it alone"
        raise LifecycleError(msg)
    if any(pattern.count("*") > _WILDCARDS for pattern in patterns or ()):
        msg = f"rule {rule['rulePriority']}: {patterns} has more than {_WILDCARDS} wildcards in a string"
        raise LifecycleError(msg)


def _identifies(selection: dict[str, Any], image: Image) -> bool:
    match selection["tagStatus"]:
        case "any":
            return True
        case "untagged":
            return not image.tags
        case _:
            # Every pattern must be met by some tag.
            return all(any(_like(pattern, tag) for tag in image.tags) for pattern in selection["tagPatternList"])


def _marked(selection: dict[str, Any], seen: Sequence[Image]) -> Sequence[Image]:
    number = selection["countNumber"]
    if selection["countType"] == "sinceImagePushed":
        return [image for image in seen if image.age_days > number]
    # Of one age, those further down are the younger.
    youngest_first = [image for _, image in sorted(enumerate(seen), key=lambda each: (each[1].age_days, -each[0]))]
    return youngest_first[number:]


def _like(pattern: str, tag: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), tag) is not None
