"""The door with plain clients: what it lets through, what it refuses and in which words, and what it tells of pushes."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import urllib3

from rehearsal.registry import Identity, KnownKeys, Push, RegistryDoor
from tests.rehearsal.registry.kit import ARN, DEV, HOST, PRD, PULL, PUSH, REGION, REPOSITORY, document, ecr, grant, identity, root

MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
KEEP: Final = [{"filter": "slipway-keep-*", "filterType": "WILDCARD"}]


class World:
    """A door before an empty repository, its clock, and who may do what."""

    def __init__(self, emulator: str, folder: Path) -> None:
        """Prepare."""
        self.keys, self.now = KnownKeys(), 1_700_000_000.0
        self.pushes: list[Push] = []
        self.door = RegistryDoor(emulator, folder, identify=self.keys, on_push=self.pushes.append, clock=lambda: self.now)

    def api(self, who: Identity) -> Any:  # noqa: ANN401 — boto3's client
        """ECR's API as `who`."""
        return ecr(self.door.url, self.keys.issue(who))

    def client(self, who: Identity | None, host: str = HOST) -> "Client":
        """A registry client that is logged in as `who`."""
        if who is None:
            return Client(self.door, host, "")
        return Client(self.door, host, self.api(who).get_authorization_token()["authorizationData"][0]["authorizationToken"])


class Client:
    """A registry client through the proxy."""

    def __init__(self, door: RegistryDoor, host: str, token: str) -> None:
        """Log in with the token as ECR gives it."""
        self.base = f"https://{host}/v2/"
        self.headers = {"Authorization": f"Basic {token}"} if token else {}
        self.pool = urllib3.ProxyManager(
            door.environment["HTTPS_PROXY"], ca_certs=door.environment["SSL_CERT_FILE"], retries=False
        )

    def ask(self, method: str, path: str = "", body: Any = None, **headers: str) -> urllib3.BaseHTTPResponse:  # noqa: ANN401 — bytes or an iterator of them
        """One request."""
        answer = self.pool.request(
            method,
            self.base + path,
            body=body,
            headers={**self.headers, **{key.replace("_", "-"): value for key, value in headers.items()}},
        )
        self.pool.clear()
        return answer

    def upload(self, content: bytes) -> str:
        """A layer, in one part; its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = self.ask("POST", f"{REPOSITORY}/blobs/uploads/")
        assert begun.status == 202, begun.data
        path = begun.headers["Location"].removeprefix("/v2/")
        parts = [content[: len(content) // 2], content[len(content) // 2 :]]
        assert self.ask("PATCH", path, iter(parts)).status == 202
        ended = self.ask("PUT", f"{path}?digest={digest}")
        assert ended.status == 201, ended.data
        return digest

    def tag(self, name: str, content: str = "one") -> urllib3.BaseHTTPResponse:
        """Put a manifest that `content` makes unique, under a tag."""
        return self.ask("PUT", f"{REPOSITORY}/manifests/{name}", manifest(content), Content_Type=MANIFEST_TYPE)


def manifest(content: str) -> bytes:
    """A manifest; the emulator does not look whether its layers are there."""
    digest = f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(content), "digest": digest}
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": []}).encode()


def digest_of(content: str) -> str:
    """Digest of such a manifest."""
    return f"sha256:{hashlib.sha256(manifest(content)).hexdigest()}"


def fault(answer: urllib3.BaseHTTPResponse) -> tuple[int, str, str]:
    """Status, code and message of a refusal."""
    error = json.loads(answer.data)["errors"][0]
    return answer.status, error["code"], error["message"]


BUILD = identity(DEV, "build", PUSH, ARN)
NODE = identity(PRD, "node", PULL, "*")


@pytest.fixture
def it(emulator: str, tmp_path: Path) -> Iterator[World]:
    """A world with the repository as the program declares it."""
    world = World(emulator, tmp_path)
    with world.door:
        owner = world.api(root(DEV))
        owner.create_repository(
            repositoryName=REPOSITORY,
            imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
            imageTagMutabilityExclusionFilters=KEEP,
        )
        yield world
        owner.delete_repository(repositoryName=REPOSITORY, force=True)


# Logging in


def test_a_token_is_given_only_to_whom_iam_allows_it(it: World) -> None:
    nobody = Identity(account=DEV, principal_arn=f"arn:aws:iam::{DEV}:role/nobody")
    with pytest.raises(Exception, match=r"AccessDeniedException.*not authorized to perform: ecr:GetAuthorizationToken"):
        it.api(nobody).get_authorization_token()
    bounded = identity(DEV, "build", PUSH, ARN, boundary=document({"Effect": "Allow", "Action": "s3:*", "Resource": "*"}))
    with pytest.raises(Exception, match=r"AccessDeniedException.*no permissions boundary allows"):
        it.api(bounded).get_authorization_token()
    data = it.api(BUILD).get_authorization_token()["authorizationData"][0]
    assert data["proxyEndpoint"] == f"https://{HOST}"
    assert data["expiresAt"].timestamp() == it.now + 12 * 3600


def test_an_access_key_that_nobody_has_is_refused(it: World) -> None:
    stranger = ecr(it.door.url, {"AWS_ACCESS_KEY_ID": "ASIAX", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "x"})
    with pytest.raises(Exception, match="UnrecognizedClientException"):
        stranger.get_authorization_token()


def test_without_a_token_the_registry_asks_for_one(it: World) -> None:
    answer = it.client(None).ask("GET")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == f'Basic realm="https://{HOST}/",service="ecr.amazonaws.com"'
    assert it.client(BUILD).ask("GET").status == 200


def test_a_token_ends_after_twelve_hours(it: World) -> None:
    client = it.client(BUILD)
    it.now += 12 * 3600 - 1
    assert client.ask("GET").status == 200
    it.now += 1
    assert fault(client.ask("GET"))[:2] == (403, "DENIED")


# The way out


@pytest.mark.parametrize(
    "host", ["example.com", f"{DEV}.dkr.ecr.{REGION}.amazonaws.com.example.com", "1.dkr.ecr.x.amazonaws.com"]
)
def test_no_other_host_is_reached(it: World, host: str) -> None:
    with pytest.raises(urllib3.exceptions.ProxyError, match="403"):
        it.client(None, host).ask("GET")
    assert it.door.passages[-1].target == f"{host}:443"
    assert it.door.passages[-1].refused


def test_who_does_not_know_the_authority_does_not_come_through(it: World) -> None:
    pool = urllib3.ProxyManager(it.door.url, retries=False)
    with pytest.raises(urllib3.exceptions.SSLError):
        pool.request("GET", f"https://{HOST}/v2/")


def test_beside_registries_there_is_only_ecrs_api(it: World) -> None:
    assert urllib3.request("GET", f"{it.door.url}/v2/", retries=False).status == 404
    unsigned = {"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"}
    answer = urllib3.request("POST", it.door.url, headers=unsigned, body=b"{}", retries=False)
    assert b"MissingAuthenticationTokenException" in answer.data


# Pushing and pulling


def test_what_was_pushed_can_be_pulled_byte_by_byte(it: World) -> None:
    client = it.client(identity(DEV, "both", [*PUSH, *PULL], ARN))
    content = bytes(range(256)) * 4096
    digest = client.upload(content)
    pulled = client.ask("GET", f"{REPOSITORY}/blobs/{digest}")
    assert (pulled.status, pulled.data) == (200, content)
    head = client.ask("HEAD", f"{REPOSITORY}/blobs/{digest}")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(content)))
    assert client.tag("t1").status == 201
    assert client.ask("GET", f"{REPOSITORY}/manifests/t1").data == manifest("one")


def push_steps(client: Client) -> Iterator[urllib3.BaseHTTPResponse]:
    """The answers to the requests of a push, one by one."""
    begun = client.ask("POST", f"{REPOSITORY}/blobs/uploads/")
    yield begun
    path = begun.headers["Location"].removeprefix("/v2/")
    yield client.ask("PATCH", path, b"layer")
    yield client.ask("PUT", f"{path}?digest=sha256:{hashlib.sha256(b'layer').hexdigest()}")
    yield client.tag("t1")


@pytest.mark.parametrize("lacking", [each for each in PUSH if "Batch" not in each])
def test_a_push_needs_every_one_of_its_actions(it: World, lacking: str) -> None:
    client = it.client(identity(DEV, "build", [each for each in PUSH if each != lacking], ARN))
    refused = next(answer for answer in push_steps(client) if answer.status >= 400)
    status, code, message = fault(refused)
    assert (status, code) == (403, "DENIED")
    assert f"is not authorized to perform: {lacking} on resource: {ARN} because no identity-based policy allows" in message
    assert it.pushes == []


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "manifests/t1", "ecr:BatchGetImage"),
        ("HEAD", "manifests/t1", "ecr:BatchGetImage"),
        ("GET", "blobs/sha256:00", "ecr:GetDownloadUrlForLayer"),
        ("HEAD", "blobs/sha256:00", "ecr:BatchCheckLayerAvailability"),
        ("GET", "tags/list", "ecr:ListImages"),
    ],
)
def test_a_pull_needs_the_action_that_fits_its_request(it: World, method: str, path: str, needed: str) -> None:
    may_not = it.client(identity(DEV, "reader", [each for each in (*PULL, "ecr:ListImages") if each != needed], ARN))
    may = it.client(identity(DEV, "reader", [needed], ARN))
    assert may_not.ask(method, f"{REPOSITORY}/{path}").status == 403
    assert may.ask(method, f"{REPOSITORY}/{path}").status in {200, 404}


def test_the_identity_policy_counts_for_its_repository_only(it: World) -> None:
    elsewhere = it.client(identity(DEV, "build", PUSH, ARN.replace("storefront", "invoices")))
    assert fault(elsewhere.tag("t1"))[:2] == (403, "DENIED")


def test_a_repository_that_is_not_there_is_unknown(it: World) -> None:
    client = it.client(root(DEV))
    answer = client.ask("PUT", "develop/other/manifests/t1", manifest("one"), Content_Type=MANIFEST_TYPE)
    assert fault(answer)[:2] == (404, "NAME_UNKNOWN")
    assert it.pushes == []


@pytest.mark.parametrize(("method", "path"), [("GET", "_catalog"), ("DELETE", f"{REPOSITORY}/manifests/sha256:00")])
def test_what_ecr_does_not_know_is_not_passed_on(it: World, method: str, path: str) -> None:
    assert it.client(root(DEV)).ask(method, path).status == 405


def test_a_layer_is_not_mounted_from_another_repository(it: World) -> None:
    """The emulator would give away the other repository's layer without asking who wants it."""
    owner = it.api(root(DEV))
    owner.create_repository(repositoryName="develop/secret")
    client = it.client(root(DEV))
    digest = f"sha256:{hashlib.sha256(b'secret').hexdigest()}"
    begun = client.ask("POST", "develop/secret/blobs/uploads/").headers["Location"].removeprefix("/v2/")
    assert client.ask("PUT", f"{begun}?digest={digest}", b"secret").status == 201
    mounted = client.ask("POST", f"{REPOSITORY}/blobs/uploads/?mount={digest}&from=develop/secret")
    assert mounted.status == 202
    owner.delete_repository(repositoryName="develop/secret", force=True)


# Across accounts


def test_another_account_pulls_only_with_the_repositorys_grant(it: World) -> None:
    it.client(BUILD).tag("t1")
    owner, node = it.api(root(DEV)), it.client(NODE)
    path = f"{REPOSITORY}/manifests/t1"
    status, code, message = fault(node.ask("GET", path))
    assert (status, code) == (403, "DENIED")
    assert message.endswith("because no resource-based policy allows the ecr:BatchGetImage action")

    owner.set_repository_policy(repositoryName=REPOSITORY, policyText=grant("999999999999"))
    assert node.ask("GET", path).status == 403
    owner.set_repository_policy(repositoryName=REPOSITORY, policyText=grant(PRD))
    assert node.ask("GET", path).data == manifest("one")
    unwilling = it.client(identity(PRD, "other", PULL, "arn:aws:ecr:*:*:repository/elsewhere"))
    assert unwilling.ask("GET", path).status == 403
    # The grant is to pull.
    assert it.client(identity(PRD, "pusher", PUSH, "*")).tag("t2").status == 403

    owner.delete_repository_policy(repositoryName=REPOSITORY)
    assert node.ask("GET", path).status == 403


def test_the_api_judges_across_accounts_too(it: World) -> None:
    it.client(BUILD).tag("t1")
    node = it.api(NODE)
    asked = {"registryId": DEV, "repositoryName": REPOSITORY, "imageIds": [{"imageTag": "t1"}]}
    with pytest.raises(Exception, match=r"AccessDeniedException.*no resource-based policy allows"):
        node.batch_get_image(**asked)
    it.api(root(DEV)).set_repository_policy(repositoryName=REPOSITORY, policyText=grant(PRD))
    assert node.batch_get_image(**asked)["images"][0]["imageId"]["imageDigest"] == digest_of("one")


# Tags


def test_a_tag_is_told_of_once(it: World) -> None:
    client = it.client(BUILD)
    for _ in range(2):
        assert client.tag("t1").status == 201
    push = Push(account=DEV, region=REGION, repository=REPOSITORY, tag="t1", digest=digest_of("one"))
    assert it.pushes == [push]


def test_a_manifest_without_a_tag_is_not_told_of(it: World) -> None:
    client = it.client(BUILD)
    assert client.tag(digest_of("one")).status == 201
    assert it.pushes == []


def test_an_immutable_tag_does_not_move(it: World) -> None:
    client = it.client(BUILD)
    client.tag("t1")
    status, code, message = fault(client.tag("t1", "two"))
    assert (status, code) == (400, "TAG_INVALID")
    said = f"The image tag 't1' already exists in the '{REPOSITORY}' repository"
    assert message == f"{said} and cannot be overwritten because the tag is immutable."
    assert [each.digest for each in it.pushes] == [digest_of("one")]
    assert client.ask("GET", f"{REPOSITORY}/manifests/t1").data == manifest("one")


def test_a_tag_outside_immutability_moves_and_is_told_of_each_time(it: World) -> None:
    client = it.client(BUILD)
    for content in ("one", "two"):
        assert client.tag("slipway-keep-prd", content).status == 201
    assert [each.digest for each in it.pushes] == [digest_of("one"), digest_of("two")]


@pytest.mark.parametrize(
    ("setting", "filters", "moves"),
    [
        ("MUTABLE", [], True),
        ("IMMUTABLE", [], False),
        ("MUTABLE_WITH_EXCLUSION", [{"filter": "t*", "filterType": "WILDCARD"}], False),
    ],
)
def test_tag_mutability_is_as_it_was_set_last(it: World, setting: str, filters: list[Mapping[str, str]], moves: bool) -> None:
    more = {"imageTagMutabilityExclusionFilters": filters} if filters else {}
    it.api(root(DEV)).put_image_tag_mutability(repositoryName=REPOSITORY, imageTagMutability=setting, **more)
    client = it.client(BUILD)
    client.tag("t1")
    assert client.tag("t1", "two").status == (201 if moves else 400)


def test_filters_are_shown_as_ecr_shows_them(it: World) -> None:
    (shown,) = it.api(root(DEV)).describe_repositories(repositoryNames=[REPOSITORY])["repositories"]
    assert shown["imageTagMutabilityExclusionFilters"] == KEEP


def test_a_repository_made_around_the_door_needs_its_filters_told(emulator: str, tmp_path: Path) -> None:
    around = ecr(emulator, {"AWS_ACCESS_KEY_ID": DEV, "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": ""})
    around.create_repository(
        repositoryName=REPOSITORY, imageTagMutability="IMMUTABLE_WITH_EXCLUSION", imageTagMutabilityExclusionFilters=KEEP
    )
    world = World(emulator, tmp_path)

    def push_twice(tag: str) -> int:
        client = world.client(BUILD)
        client.tag(tag)
        return client.tag(tag, "two").status

    def without() -> None:
        with world.door:
            assert push_twice("t1") == 500

    with pytest.raises(ExceptionGroup) as raised:
        without()
    assert "its filters are not known" in str(raised.value.exceptions[0])
    world = World(emulator, tmp_path)
    with world.door:
        world.door.know_exclusions(DEV, REGION, REPOSITORY, ["slipway-keep-*"])
        assert push_twice("t2") == 400
        assert push_twice("slipway-keep-stg") == 201
    around.delete_repository(repositoryName=REPOSITORY, force=True)


def test_a_tag_put_by_the_api_is_told_of_and_held_like_a_pushed_one(it: World) -> None:
    it.client(BUILD).tag("t1")
    it.client(BUILD).tag("t2", "two")
    api = it.api(BUILD)

    def put(tag: str, content: str) -> None:
        api.put_image(repositoryName=REPOSITORY, imageManifest=manifest(content).decode(), imageTag=tag)

    put("slipway-keep-prd", "one")
    put("slipway-keep-prd", "two")
    told = [(each.tag, each.digest) for each in it.pushes[2:]]
    assert told == [("slipway-keep-prd", digest_of("one")), ("slipway-keep-prd", digest_of("two"))]
    with pytest.raises(Exception, match="ImageTagAlreadyExistsException"):
        put("t1", "two")
    with pytest.raises(Exception, match="ImageAlreadyExistsException"):
        put("t1", "one")
    assert len(it.pushes) == 4


# What is left behind


def test_passages_say_who_asked_for_what_and_why_it_went_as_it_did(it: World) -> None:
    it.client(BUILD).tag("t1")
    it.client(NODE).ask("GET", f"{REPOSITORY}/manifests/t1")
    put, _, get = it.door.passages[-3:]
    assert (put.method, put.repository, put.account, put.caller) == ("PUT", REPOSITORY, DEV, BUILD.caller_arn)
    assert (put.actions, put.status, put.refused) == (("ecr:PutImage",), 201, False)
    assert "statement 2 of the identity policy 1: ecr:PutImage" in put.reason
    assert (get.caller, get.status, get.refused) == (NODE.caller_arn, 403, True)
    assert "no resource-based policy allows" in get.reason


def test_what_the_listener_raises_is_raised_when_the_door_is_left(emulator: str, tmp_path: Path) -> None:
    keys = KnownKeys()
    fallen = RuntimeError("the bus is down")

    def hear(push: Push) -> None:
        del push
        raise fallen

    def play() -> None:
        with RegistryDoor(emulator, tmp_path, identify=keys, on_push=hear) as door:
            owner = ecr(door.url, keys.issue(root(DEV)))
            owner.create_repository(repositoryName=REPOSITORY)
            token = owner.get_authorization_token()["authorizationData"][0]["authorizationToken"]
            # The push itself stands.
            assert Client(door, HOST, token).tag("t1").status == 201
            owner.delete_repository(repositoryName=REPOSITORY, force=True)

    with pytest.raises(ExceptionGroup) as raised:
        play()
    assert raised.value.exceptions == (fallen,)


def test_a_policy_that_cannot_be_judged_is_a_fault_and_not_a_verdict(emulator: str, tmp_path: Path) -> None:
    odd = document({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "::/0"}}})
    world = World(emulator, tmp_path)

    def play() -> None:
        with world.door:
            world.api(
                Identity(account=DEV, principal_arn=f"arn:aws:iam::{DEV}:role/odd", policies=[odd])
            ).get_authorization_token()

    with pytest.raises(Exception, match=r"IpAddress"):
        play()
