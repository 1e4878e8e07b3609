"""The registry: what it holds, and the marks on what is in use."""

import contextlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from . import aws
from .core import Found, Mark, Tag

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient
    from types_boto3_ecr.type_defs import ImageDetailTypeDef

# Enough to read hundreds of services in a few seconds, well below the API's rate.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
_THREADS: Final = 8
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-manifest-formats.html
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ABSENT: Final = frozenset({"ImageNotFoundException", "RepositoryNotFoundException"})


@dataclass(kw_only=True)
class Registry:
    """The ECR repositories of one track.

    Attributes:
        client: ECR.
        prefix: What the repositories begin with; the rest is the service.
    """

    client: "ECRClient"
    prefix: str
    _known: dict[tuple[str, Tag], Found | None] = field(default_factory=dict[tuple[str, Tag], Found | None])

    def look_up(self, service: str, tag: Tag) -> Found | None:
        """The image of a tag, None when there is none."""
        if (service, tag) not in self._known:
            self._known[service, tag] = self._describe(service, tag)
        return self._known[service, tag]

    def forget(self) -> None:
        """Ask anew from here on: images come, expire and are deleted."""
        self._known = {}

    def prefetch(self, wanted: Iterable[tuple[str, Tag]]) -> None:
        """Look several up at once, but for what is known."""
        pairs = [pair for pair in wanted if pair not in self._known]
        if not pairs:
            return
        services, tags = [service for service, _ in pairs], [tag for _, tag in pairs]
        with ThreadPoolExecutor(_THREADS) as threads:
            self._known |= dict(zip(pairs, threads.map(self._describe, services, tags), strict=True))

    def _describe(self, service: str, tag: Tag) -> Found | None:
        try:
            answer = self.client.describe_images(repositoryName=f"{self.prefix}{service}", imageIds=[{"imageTag": str(tag)}])
        except ClientError as error:
            if aws.code(error) in _ABSENT:
                return None
            raise
        return next((_found(detail) for detail in answer["imageDetails"]), None)

    def images(self, services: Iterable[str]) -> Mapping[str, list[Found]]:
        """All tagged images of each service; none for a repository that does not exist."""
        names = list(services)
        with ThreadPoolExecutor(_THREADS) as threads:
            return dict(zip(names, threads.map(self._images, names), strict=True))

    def _images(self, service: str) -> list[Found]:
        pages = self.client.get_paginator("describe_images").paginate(
            repositoryName=f"{self.prefix}{service}", filter={"tagStatus": "TAGGED"}, PaginationConfig={"PageSize": 1000}
        )
        try:
            return [_found(detail) for page in pages for detail in page["imageDetails"]]
        except ClientError as error:
            if aws.code(error) in _ABSENT:
                return []
            raise

    def apply(self, mark: Mark) -> bool:
        """Move a mark; False when the image has gone in the meantime."""
        repository = f"{self.prefix}{mark.service}"
        answer = self.client.batch_get_image(
            repositoryName=repository, imageIds=[{"imageDigest": mark.digest}], acceptedMediaTypes=list(_MANIFESTS)
        )
        image = next(iter(answer["images"]), None)
        if image is None or "imageManifest" not in image:
            return False
        media_type = image.get("imageManifestMediaType")
        # Refused only when another sweep was faster.
        with contextlib.suppress(self.client.exceptions.ImageAlreadyExistsException):
            self.client.put_image(
                repositoryName=repository,
                imageManifest=image["imageManifest"],
                imageTag=mark.name,
                imageDigest=mark.digest,
                **({"imageManifestMediaType": media_type} if media_type else {}),
            )
        return True


def _found(detail: "ImageDetailTypeDef") -> Found:
    return Found(
        digest=detail.get("imageDigest", ""),
        pushed_at=detail["imagePushedAt"],  # pyright: ignore[reportTypedDictNotRequiredAccess] — every stored image has it
        tags=tuple(detail.get("imageTags", ())),
    )
