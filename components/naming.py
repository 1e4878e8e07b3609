"""Names: one function each, with the limit AWS or Kubernetes sets and the page that states it.

Every name follows from settings alone, so that one stack knows what another stack's resources are called without
reading its outputs.
"""

import hashlib
import re
from typing import Final

PROJECT: Final = "slipway"
# GitHub environments of the GitOps repository. Its workflows name them (scaffold/repository/.github/workflows), and a job's
# identity token has its environment's name in its subject:
# https://docs.github.com/en/actions/reference/security/oidc#filtering-for-a-specific-environment
PROMOTER_ENVIRONMENT: Final = "slipway-promoter"
"""Holds the promoter App's key."""
VERIFY_ENVIRONMENT: Final = "slipway-verify"
"""Holds nothing: the job that judges pull requests is known by it."""

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names
_LABEL: Final = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
# https://datatracker.ietf.org/doc/html/rfc1123#section-2.1
_HOST_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
# A service's name stands inside ECR repositories, roles, pipelines, namespaces and DNS labels. 40 leaves room for every
# prefix and suffix below in all of them, except the target groups' 32, which `fit` shortens.
SERVICE_NAME_LENGTH: Final = 40
# An environment's and a track's name. With a colour of 10, 16 leaves room for the 26 characters that the provider adds to a
# node group's name of 63. https://docs.aws.amazon.com/eks/latest/APIReference/API_Nodegroup.html
KEY_LENGTH: Final = 16
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html
TARGET_GROUP_NAME_LENGTH: Final = 32
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
LOAD_BALANCER_NAME_LENGTH: Final = 32
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
ROLE_NAME_LENGTH: Final = 64
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queues.html
QUEUE_NAME_LENGTH: Final = 80
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
RULE_NAME_LENGTH: Final = 64
# https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html
PIPELINE_NAME_LENGTH: Final = 100
# With `slipway-` these are the 20 characters of `ARTIFACT_FOLDER_LENGTH`.
_PIPELINE_HASH_LENGTH: Final = 12
ARTIFACT_FOLDER_LENGTH: Final = 20
# https://docs.aws.amazon.com/codebuild/latest/APIReference/API_CreateProject.html
PROJECT_NAME_LENGTH: Final = 150
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
BUCKET_NAME_LENGTH: Final = 63
# https://datatracker.ietf.org/doc/html/rfc1035#section-2.3.4
DNS_LABEL_LENGTH: Final = 63
DNS_NAME_LENGTH: Final = 253

# https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html: a `g` behind the generation is Graviton.
_GRAVITON: Final = re.compile(r"[a-z]+-?[a-z0-9]*?\d+g[a-z]*\..+|a1\..+")

# Namespaces that the platform itself lives in: a service of that name would share them.
RESERVED_NAMESPACES: Final = frozenset({"argocd", "default", "external-secrets", "kube-node-lease", "kube-public", "kube-system"})


def fit(name: str, limit: int) -> str:
    """Shorten `name` to `limit` characters, keeping it unique by six hex of its hash; shorter names stay as they are."""
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: limit - 7].rstrip('-')}-{digest}"


def number(name: str, span: int) -> int:
    """A number below `span` that follows from `name` alone: the same in every run, whatever other names there are."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % span


def architecture(instance_type: str) -> str:
    """`arm64` or `amd64`, as the instance type's name tells."""
    return "arm64" if _GRAVITON.fullmatch(instance_type) else "amd64"


def label_fault(name: str, limit: int = DNS_LABEL_LENGTH) -> str | None:
    """Say why `name` cannot name things in Kubernetes and AWS (a DNS label that begins with a letter), or None.

    For labels of host names see `host_label_fault`: those may begin with a digit.
    """
    if len(name) > limit:
        return f"it has {len(name)} characters, at most {limit} are allowed"
    if not _LABEL.fullmatch(name):
        return "lower-case letters, digits and hyphens are allowed, starting with a letter, ending with letter or digit"
    return None


def host_label_fault(label: str, limit: int = DNS_LABEL_LENGTH) -> str | None:
    """Say why `label` is no label of a host name, or None. A digit may come first (RFC 1123, section 2.1)."""
    if not label:
        return "it has an empty part; dots separate parts and stand neither first nor last"
    if len(label) > limit:
        return f"{label} has {len(label)} characters, and a part of a host name at most {limit}"
    if not _HOST_LABEL.fullmatch(label):
        return "a host name's parts consist of lower-case letters, digits and hyphens, with a letter or digit first and last"
    return None


def host_fault(name: str) -> str | None:
    """Say why `name` is no host name of two or more labels, or None.

    https://datatracker.ietf.org/doc/html/rfc1123#section-2.1: labels may be all digits, the top-level domain is not.
    """
    labels = name.split(".")
    if len(name) > DNS_NAME_LENGTH:
        return f"it has {len(name)} characters, and a host name at most {DNS_NAME_LENGTH}"
    fault = next(filter(None, map(host_label_fault, labels)), None)
    if fault is None and len(labels) < 2:  # noqa: PLR2004 — a name below a top-level domain
        return "it has one part only; a zone of yours is a name such as dev.example.com"
    if fault is None and labels[-1].isdigit():
        return "its last part consists of digits, which no top-level domain does"
    return fault


def registry_address(account: str, region: str) -> str:
    """Host name of an account's private ECR registry (docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html)."""
    return f"{account}.dkr.ecr.{region}.amazonaws.com"


def repository_prefix(track: str) -> str:
    """What a track's ECR repositories begin with; the rest is the service's name."""
    return f"{track}/"


def repository(track: str, service: str) -> str:
    """Name of the ECR repository of one service and track (at most 256 characters, 2 to 4 here are the slash and more)."""
    return f"{repository_prefix(track)}{service}"


def role(*parts: str) -> str:
    """Name of an IAM role of ours: all begin with `slipway-`, which the permissions boundary relies on."""
    return fit("-".join((PROJECT, *parts)), ROLE_NAME_LENGTH)


def image_reader(track: str) -> str:
    """Name of the role with which the GitOps repository's workflows see which images of a track there are."""
    return role(track, "image-reader")


def queue(track: str, purpose: str) -> str:
    """Name of an image queue: `slipway-<track>-<purpose>`."""
    return fit(f"{PROJECT}-{track}-{purpose}", QUEUE_NAME_LENGTH)


def image_rule(track: str, service: str) -> str:
    """Name of the event rule that watches one repository; the queue's policy admits them by `image_rule(track, "*")`."""
    return fit(f"{PROJECT}-{track}-{service}", RULE_NAME_LENGTH)


def pipeline(track: str, service: str) -> str:
    """Name of a service's CodePipeline on one track: `slipway-<12 hex>.<track>.<service>`.

    CodePipeline stores artifacts below the first 20 characters of the pipeline's name. The hash makes them unique, or one
    service's build could read another's sources. Dots separate the parts because tracks and services have none: a pattern
    with `.<track>.` matches the pipelines of one track and of no other.
    https://repost.aws/questions/QUI91tw7A9SUOMohJurNqmgA/code-pipeline-truncates-folder-names-in-output-artifact-s-3-bucket
    """
    digest = hashlib.sha256(f"{track}.{service}".encode()).hexdigest()[:_PIPELINE_HASH_LENGTH]
    return f"{PROJECT}-{digest}.{track}.{service}"


def pipelines(track: str) -> str:
    """Pattern of the names of a track's pipelines, for IAM and for EventBridge's `wildcard`."""
    return f"{PROJECT}-*.{track}.*"


def artifacts(track: str, service: str) -> str:
    """Folder of the artifact bucket that CodePipeline uses for a service's pipeline on one track."""
    return pipeline(track, service)[:ARTIFACT_FOLDER_LENGTH]


def project(track: str, service: str) -> str:
    """Name of a service's CodeBuild project on one track."""
    return fit(f"{PROJECT}-{track}-{service}", PROJECT_NAME_LENGTH)


def build_rule(track: str, purpose: str) -> str:
    """Name of a rule that watches a track's pipelines; the dot keeps it apart from every name that `image_rule` makes."""
    return f"{PROJECT}-{track}.builds-{purpose}"


def reporter(track: str) -> str:
    """Name of the function that reports a track's builds as commit statuses."""
    return f"{PROJECT}-{track}-build-reporter"


def function(track: str) -> str:
    """Name of a track's writer function."""
    return f"{PROJECT}-{track}-gitops-writer"


def log_group(*parts: str) -> str:
    """Name of a log group of ours."""
    return "/" + "/".join((PROJECT, *parts))


def bucket(purpose: str, account: str, region: str) -> str:
    """Name of a bucket: account and region make it unique world-wide, as S3 wants it."""
    return fit(f"{PROJECT}-{purpose}-{account}-{region}", BUCKET_NAME_LENGTH)


def cluster(environment: str, colour: str) -> str:
    """Name of an EKS cluster (at most 100 characters)."""
    return f"{PROJECT}-{environment}-{colour}"


def load_balancer(environment: str) -> str:
    """Name of the environment's application load balancer."""
    return fit(f"{PROJECT}-{environment}", LOAD_BALANCER_NAME_LENGTH)


def target_group(service: str, colour: str, port: int) -> str:
    """Name of the target group of one service in one colour.

    A target group's port cannot be changed; with the port in the name, its replacement can stand beside it.
    """
    return fit(f"{service}-{colour}-{port}", TARGET_GROUP_NAME_LENGTH)


def catalogue_path(track: str) -> str:
    """SSM path below which a track's declared services stand, one parameter each."""
    return f"/{PROJECT}/{track}/services/"


def app_key_secret(purpose: str) -> str:
    """Name of the Secrets Manager secret with a GitHub App's private key; put there at bootstrap, never by Pulumi."""
    return f"{PROJECT}/github-app/{purpose}"


def reporter_key_secret() -> str:
    """Name of the secret with the key of the App that reports builds; the slash keeps it apart from a track of that name."""
    return app_key_secret("builds/reporter")


def argocd_secret(purpose: str) -> str:
    """Name of a Secrets Manager secret that Argo CD's namespace reads, by External Secrets."""
    return f"{PROJECT}/argocd/{purpose}"
