"""What comes and goes between two evaluations of a stack, and what must not."""

from collections.abc import Mapping
from typing import Any

from checks.urns import Resource, compare

HEAD = "urn:pulumi:dev::slipway"
SERVICE, REGISTRY, REPOSITORY = "slipway:service:Service", "slipway:registry:Registry", "aws:ecr/repository:Repository"


def resource(chain: str, name: str, parent: str = "", **more: Any) -> Resource:  # noqa: ANN401 — as the worker reports it
    return {
        "urn": f"{HEAD}::{chain}::{name}",
        "type": chain.rpartition("$")[2],
        "parent": parent or f"{HEAD}::pulumi:pulumi:Stack::slipway-dev",
        "physical": not chain.rpartition("$")[2].startswith("slipway:"),
        "protect": False,
        "provider": "",
        "aliases": [],
        "inputs": {},
        **more,
    }


def service(name: str, *, token: str = REGISTRY, protect: bool = False, **more: Any) -> list[Resource]:  # noqa: ANN401 — see above
    top = resource(SERVICE, name)
    registry = resource(f"{SERVICE}${token}", f"{name}-develop", top["urn"], **more)
    inputs = {"name": f"develop/{name}"}
    return [
        top,
        registry,
        resource(f"{SERVICE}${token}${REPOSITORY}", f"{name}-develop", registry["urn"], inputs=inputs, protect=protect),
    ]


def without(resources: list[Resource], ending: str) -> list[Resource]:
    return [each for each in resources if not each["urn"].endswith(ending)]


def test_a_service_that_comes_or_goes_is_shown_and_is_no_fault() -> None:
    came = compare("dev", service("shop"), [*service("shop"), *service("cart")])
    went = compare("dev", [*service("shop"), *service("cart")], service("shop"))
    assert (came.faults, went.faults) == ([], [])
    assert (came.come, came.go, went.come, went.go) == (3, 0, 0, 3)
    assert came.notes == ["+ service 'cart' (3 resources)"]
    assert went.notes == ["- service 'cart' (3 resources)"]


def test_a_renamed_component_that_holds_the_same_repository_is_a_fault() -> None:
    found = compare("dev", service("shop"), service("shop", token="slipway:registry:Store"))
    (fault,) = found.faults
    assert fault.startswith("dev: aws:ecr/repository:Repository 'shop-develop' would be deleted and made again")
    assert "because slipway:registry:Registry is now slipway:registry:Store in the URN" in fault


def test_an_alias_of_the_component_covers_its_children() -> None:
    for alias in (
        {"spec": {"type": REGISTRY}},
        {"urn": f"{HEAD}::{SERVICE}${REGISTRY}::shop-develop"},
    ):
        found = compare("dev", service("shop"), service("shop", token="slipway:registry:Store", aliases=[alias]))
        assert (found.faults, found.come, found.go) == ([], 0, 0)


def test_an_alias_of_something_else_covers_nothing() -> None:
    alias = {"spec": {"type": "slipway:registry:Other"}}
    assert compare("dev", service("shop"), service("shop", token="slipway:registry:Store", aliases=[alias])).faults


def test_an_alias_by_name_follows_into_the_names_of_children() -> None:
    before = [
        top := resource("a:b:C", "old"),
        resource("a:b:C$aws:sqs/queue:Queue", "old-dead", top["urn"], inputs={"name": "q"}),
    ]
    top = resource("a:b:C", "new", aliases=[{"spec": {"name": "old"}}])
    after = [top, resource("a:b:C$aws:sqs/queue:Queue", "new-dead", top["urn"], inputs={"name": "q"})]
    assert compare("dev", before, after).faults == []


def test_a_resource_that_leaves_its_parent_is_a_fault_unless_an_alias_says_so() -> None:
    top = resource("a:b:C", "one")
    inside = resource("a:b:C$aws:sqs/queue:Queue", "q", top["urn"], inputs={"name": "q"})
    outside: Mapping[str, Any] = resource("aws:sqs/queue:Queue", "q", inputs={"name": "q"})
    assert compare("dev", [top, inside], [top, outside]).faults
    for alias in ({"spec": {"parentUrn": top["urn"]}}, {"urn": inside["urn"]}):
        assert compare("dev", [top, inside], [top, {**outside, "aliases": [alias]}]).faults == []


def test_things_without_a_name_are_known_by_equal_inputs() -> None:
    inputs = {"cidrBlock": "10.0.0.0/24", "vpcId": "vpc-1"}
    before, after = resource("aws:ec2/subnet:Subnet", "a", inputs=inputs), resource("aws:ec2/subnet:Subnet", "b", inputs=inputs)
    (fault,) = compare("dev", [before], [after]).faults
    assert "because the name 'a' is now 'b' in the URN" in fault
    other = {**after, "inputs": {"cidrBlock": "10.0.1.0/24", "vpcId": "vpc-1"}}
    assert compare("dev", [before], [other]).faults == []


def test_one_name_in_two_clusters_is_two_things() -> None:
    def role(provider: str) -> Resource:
        inputs = {"metadata": {"name": "reader", "namespace": "x"}}
        return resource("kubernetes:rbac/v1:Role", f"reader-{provider}", provider=provider, inputs=inputs)

    assert compare("dev", [role("blue")], [role("green")]).faults == []
    assert compare("dev", [role("blue")], [{**role("blue"), "urn": f"{HEAD}::kubernetes:rbac/v1:Role::other"}]).faults


def test_a_policy_of_one_name_on_two_roles_is_two_things() -> None:
    def policy(name: str, role: str) -> Resource:
        return resource("aws:iam/rolePolicy:RolePolicy", name, inputs={"name": "p", "role": role})

    assert compare("dev", [policy("a", "one")], [policy("b", "two")]).faults == []


def test_what_is_protected_must_not_go_while_its_service_stays() -> None:
    before = service("shop", protect=True)
    (fault,) = compare("dev", before, without(before, f"{REPOSITORY}::shop-develop")).faults
    assert fault.startswith("dev: aws:ecr/repository:Repository 'shop-develop' would go, and it is protected")


def test_a_protected_registry_of_a_removed_service_is_shown_with_its_command() -> None:
    found = compare("dev", service("shop", protect=True), [])
    assert found.faults == []
    assert any("pulumi state unprotect" in note and "--stack dev" in note for note in found.notes)


def test_the_gitops_repository_and_its_branches_must_not_go_at_all() -> None:
    top = resource("slipway:gitops:GitOps", "gitops")
    branch = resource("slipway:gitops:GitOps$github:index/branch:Branch", "gitops-stg", top["urn"], protect=True)
    (fault,) = compare("prd", [top, branch], []).faults
    assert "'gitops-stg' would go, and it is protected" in fault
