"""What bootstrap's check reads of GitHub: organization, team, Apps, environments, variables, and names of secrets."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.rehearsal.githost_kit import DEV_APP, PROMOTER_APP, REPOSITORY, World, world

AT = "/environments/slipway-promoter"


@pytest.fixture
def it(tmp_path: Path) -> Generator[World]:
    with world(tmp_path) as made:
        made.host.add_organization("example-org", number=4202137)
        yield made


def owner(it: World) -> str:
    return it.host.add_user("olga", role="admin", owner=True)


def test_an_organization_shows_its_plan_to_owners_alone(it: World) -> None:
    person = it.host.add_user("alice")
    assert it.call("GET", "/orgs/Example-Org", person).body == {"login": "example-org", "id": 4202137}
    assert it.call("GET", "/orgs/example-org", owner(it)).body["plan"] == {"name": "team"}
    assert it.call("GET", "/orgs/nobody", person).status == 404
    assert it.call("GET", "/orgs/example-org").status == 401


def test_a_team_has_its_members_page_by_page(it: World) -> None:
    people = [f"p{number:02}" for number in range(35)]
    token, *_ = [it.host.add_user(each) for each in people]
    it.host.add_team("example-org/shop", [*people, "gone"])
    at = "/orgs/example-org/teams/shop"
    assert it.call("GET", at, token).body["slug"] == "shop"
    assert len(it.call("GET", f"{at}/members", token).body) == 30
    assert [each["login"] for each in it.call("GET", f"{at}/members?per_page=20&page=2", token).body] == people[20:]
    assert it.call("GET", "/orgs/example-org/teams/none", token).status == 404


def test_an_app_sees_itself_and_its_own_installation_by_its_key(it: World) -> None:
    client = it.host.client_id(DEV_APP)
    for issuer in (DEV_APP, client):
        assertion = it.assertion(DEV_APP, iss=str(issuer))
        about = it.call("GET", "/app", assertion)
        assert (about.status, about.body["id"], about.body["client_id"]) == (200, DEV_APP, client)
    found = it.call("GET", f"/app/installations/{DEV_APP + 1000}", it.assertion(DEV_APP)).body
    assert (found["account"]["login"], found["repository_selection"]) == ("example-org", "selected")
    assert found["permissions"]["metadata"] == "read"
    assert it.call("GET", f"/repos/{REPOSITORY}/installation", it.assertion(DEV_APP)).body == found
    assert it.call("GET", "/app/installations/1", it.assertion(DEV_APP)).status == 404
    assert it.call("GET", "/app", owner(it)).status == 401
    it.host.install_app(DEV_APP, ["example-org/other"])
    assert it.call("GET", f"/repos/{REPOSITORY}/installation", it.assertion(DEV_APP)).status == 404


def test_installations_are_listed_to_owners_alone(it: World) -> None:
    listed = it.call("GET", "/orgs/example-org/installations", owner(it)).body
    assert listed["total_count"] == len(listed["installations"])
    assert DEV_APP in {each["app_id"] for each in listed["installations"]}
    assert it.call("GET", "/orgs/example-org/installations", it.host.add_user("alice", role="admin")).status == 404


def test_an_environment_shows_its_branches_its_variables_and_only_the_names_of_its_secrets(it: World) -> None:
    token = it.host.add_user("alice", role="admin")
    assert it.repo("GET", AT, token).status == 404
    it.host.set_environment(REPOSITORY, "slipway-promoter")
    assert it.repo("GET", AT, token).body["deployment_branch_policy"] is None
    it.host.set_environment(REPOSITORY, "slipway-promoter", branches=["master"])
    it.host.set_environment_secret(REPOSITORY, "slipway-promoter", "KEY", "hidden-value")
    it.host.set_environment_variable(REPOSITORY, "slipway-promoter", "APP", "12")
    limited = it.repo("GET", AT, token).body["deployment_branch_policy"]
    assert limited == {"protected_branches": False, "custom_branch_policies": True}
    policies = it.repo("GET", f"{AT}/deployment-branch-policies", token).body
    assert [each["name"] for each in policies["branch_policies"]] == ["master"]
    secrets = it.repo("GET", f"{AT}/secrets", token).body
    assert secrets == {"total_count": 1, "secrets": [{"name": "KEY"}]}
    assert it.repo("GET", f"{AT}/variables", token).body["variables"] == [{"name": "APP", "value": "12"}]
    assert it.repo("GET", f"{AT}/variables/APP", token).body["value"] == "12"
    assert it.repo("GET", f"{AT}/variables/OTHER", token).status == 404


def test_a_repository_s_variables_and_secrets_need_the_permission(it: World) -> None:
    token = it.host.add_user("alice", role="admin")
    it.host.set_variable(REPOSITORY, "REGION", "eu-central-1")
    it.host.set_secret(REPOSITORY, "KEY", "hidden-value")
    assert it.repo("GET", "/actions/variables", token).body["variables"] == [{"name": "REGION", "value": "eu-central-1"}]
    assert it.repo("GET", "/actions/secrets", token).body["secrets"] == [{"name": "KEY"}]
    assert it.repo("GET", "/actions/organization-secrets", token).body["secrets"] == []
    for path in ("/actions/variables", "/actions/secrets", "/actions/organization-secrets"):
        assert it.repo("GET", path, it.app_token(DEV_APP)).status == 403


def test_an_app_s_grant_is_what_its_installation_shows(it: World) -> None:
    it.host.grant(DEV_APP, {"contents": "read"})
    assert it.host.permissions(DEV_APP) == {"contents": "read"}
    found = it.call("GET", "/app", it.assertion(DEV_APP)).body
    assert found["permissions"] == {"metadata": "read", "contents": "read"}


def test_a_token_follows_what_its_installation_selects(it: World) -> None:
    token = it.app_token(PROMOTER_APP)
    narrow = it.app_token(PROMOTER_APP, {"repositories": [REPOSITORY.split("/")[1]]})
    seen = [(it.repo("GET", "", token).status, it.repo("GET", "", narrow).status)]
    for selected in ("example-org/other", REPOSITORY):
        it.host.install_app(PROMOTER_APP, [selected])
        seen.append((it.repo("GET", "", token).status, it.repo("GET", "", narrow).status))
    assert seen == [(200, 200), (404, 404), (200, 200)]
