"""One ECR repository: one service's images of one track."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components import iam, naming
from components.settings import Lifecycle

# Tags that the writer's sweep puts beside a release tag while an environment references the image. They move, so they stand
# outside immutability, and the lifecycle's first rule keeps whatever wears one.
KEEP_TAGS: Final = "slipway-keep-*"
# The first rule is there to claim the marked images, not to count them: as many images as a repository holds at all. Any
# positive number is allowed. https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html and
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
_MORE_THAN_EVER: Final = 100_000
_UNTAGGED_DAYS: Final = 1

# What `docker pull` asks of a repository; the token is asked of the registry, by the puller's own identity policy.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policy-examples.html
PULL_ACTIONS: Final = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """Arguments of `Registry`.

    Attributes:
        service: Name of the service.
        track: Name of the track.
        lifecycle: What is kept.
        pull_accounts: Other accounts that run this track's images: each may pull, and nobody else.
    """

    service: str
    track: str
    lifecycle: Lifecycle
    pull_accounts: Sequence[str] = ()


class Registry(pulumi.ComponentResource):
    """A repository with immutable tags, scanning, a lifecycle, and the pull grants that its track needs.

    Attributes:
        name: Name of the repository, `<track>/<service>`.
        service: Name of the service.
        track: Name of the track.
        arn: ARN of the repository.
        url: Address to push to and pull from, without a tag.
    """

    name: str
    service: str
    track: str
    arn: pulumi.Output[str]
    url: pulumi.Output[str]

    def __init__(self, name: str, args: RegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the repository."""
        super().__init__("slipway:registry:Registry", name, None, opts)
        self.name, self.service, self.track = naming.repository(args.track, args.service), args.service, args.track
        # Kept by number: images that an environment runs or may roll back to. They cannot be built again with the same
        # digest, so neither a slip in services.py nor a destroyed stack takes them along. Kept by days: can be built again.
        irreplaceable = args.lifecycle.images is not None
        repository = aws.ecr.Repository(
            name,
            name=self.name,
            # A tag names one build for ever, but for the sweep's marks.
            image_tag_mutability="IMMUTABLE_WITH_EXCLUSION",
            image_tag_mutability_exclusion_filters=[{"filter": KEEP_TAGS, "filter_type": "WILDCARD"}],
            image_scanning_configuration={"scan_on_push": True},
            # AES256, not KMS: the accounts that pull would each need a grant on the key, for no other party kept out.
            encryption_configurations=[{"encryption_type": "AES256"}],
            force_delete=not irreplaceable,
            opts=pulumi.ResourceOptions(parent=self, protect=irreplaceable, retain_on_delete=irreplaceable),
        )
        aws.ecr.LifecyclePolicy(
            name,
            repository=repository.name,
            policy=json.dumps({"rules": lifecycle_rules(args.lifecycle)}),
            opts=pulumi.ResourceOptions(parent=self),
        )
        if args.pull_accounts:
            aws.ecr.RepositoryPolicy(
                name,
                repository=repository.name,
                policy=iam.document(
                    iam.grant(
                        "PullByEnvironments",
                        to={"AWS": [iam.account_root(account) for account in args.pull_accounts]},
                        actions=PULL_ACTIONS,
                    )
                ),
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.arn, self.url = repository.arn, repository.repository_url
        self.register_outputs({"url": self.url})


def lifecycle_rules(lifecycle: Lifecycle) -> list[dict[str, Any]]:
    """The lifecycle's rules in the order of their priority; in any other order they would differ at every preview.

    An image that a rule of higher priority has selected is out of reach of those below, so the first rule, which never
    finds too many, keeps every marked image.
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html#lp_evaluation_rules
    """
    last = (
        {"tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": lifecycle.days}
        if lifecycle.days is not None
        else {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": lifecycle.images}
    )
    selections = [
        (
            "Keep what an environment references",
            {
                "tagStatus": "tagged",
                "tagPatternList": [KEEP_TAGS],
                "countType": "imageCountMoreThan",
                "countNumber": _MORE_THAN_EVER,
            },
        ),
        (
            "Drop what no tag names",
            {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": _UNTAGGED_DAYS,
            },
        ),
        ("Drop what is older" if lifecycle.days is not None else "Drop what is beyond the number kept", last),
    ]
    return [
        {"rulePriority": priority, "description": description, "selection": selection, "action": {"type": "expire"}}
        for priority, (description, selection) in enumerate(selections, start=1)
    ]
