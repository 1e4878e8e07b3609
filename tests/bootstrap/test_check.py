"""bootstrap --check: what is ready, what is missing, and that nothing is changed by looking."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from bootstrap.apps import SCOPES, excess_permissions, missing_permissions
from bootstrap.bootstrap import read_settings
from bootstrap.checks_github import DEPLOYER_KEY, PROMOTER_KEY, runner_variables, wanted_variables
from bootstrap.github import GitHub
from bootstrap.look import Outside
from bootstrap.needs import machines, quotas, vcpu_quota
from components.catalogue import Declaration
from tests.bootstrap.github_stand_in import TOKEN, GitHubStandIn
from tests.bootstrap.kit import ACCOUNTS, Account, make_key
from tests.conftest import EXAMPLE

ORG, GITOPS, PLATFORM = "example-org", "/repos/example-org/gitops", "/repos/example-org/platform"
MANY = {"Quota": {"Value": 100.0}}


@cache
def account(stack: str) -> Account:
    return Account(ACCOUNTS[stack])


@cache
def app_key() -> tuple[str, str]:
    return make_key()


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Reading moto's list of images takes longer than all the rest of a test.
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        yield


@pytest.fixture
def github() -> Iterator[GitHubStandIn]:
    with GitHubStandIn() as stand_in:
        yield stand_in


def installation(app_id: int, ident: int, permissions: Mapping[str, str], **more: object) -> dict[str, Any]:
    return {
        "id": ident,
        "app_id": app_id,
        "client_id": f"Iv23li{app_id}",
        "account": {"login": ORG},
        "repository_selection": "selected",
        "permissions": {"metadata": "read", **permissions},
        "suspended_at": None,
        **more,
    }


def environment(
    github: GitHubStandIn, at: str, branch: str, *, secrets: Sequence[str] = (), variables: Sequence[str] = ()
) -> None:
    github.answers[at] = {
        "name": at.rpartition("/")[2],
        "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
    }
    github.answers[f"{at}/deployment-branch-policies"] = {"total_count": 1, "branch_policies": [{"id": 1, "name": branch}]}
    github.answers[f"{at}/secrets"] = {"total_count": len(secrets), "secrets": [{"name": each} for each in secrets]}
    github.answers[f"{at}/variables"] = {"total_count": len(variables), "variables": [{"name": each} for each in variables]}


def everything(github: GitHubStandIn, stack: str) -> None:
    """GitHub as it is when the last step is made."""
    settings = read_settings(stack, EXAMPLE)
    answers = github.answers
    answers[f"/orgs/{ORG}"] = {"login": ORG, "id": settings.organization.id, "plan": {"name": "team"}}
    answers[f"/orgs/{ORG}/teams/platform"] = {"slug": "platform"}
    answers[f"/orgs/{ORG}/teams/platform/members"] = [{"login": "alice"}, {"login": "bob"}, {"login": "carol"}]
    for name in ("storefront", "invoices"):
        answers[f"/repos/{ORG}/{name}"] = {"id": 1, "name": name, "default_branch": "master"}
        for branch in ("develop", "master"):
            answers[f"/repos/{ORG}/{name}/branches/{branch}"] = {"name": branch}
    answers[PLATFORM] = {"id": settings.access.repository.id, "default_branch": "main"}
    answers[GITOPS] = {"id": settings.gitops.id, "default_branch": "master"}
    answers[f"{GITOPS}/actions/secrets"] = {"total_count": 0, "secrets": []}
    answers[f"{GITOPS}/actions/organization-secrets"] = {"total_count": 0, "secrets": []}
    environment(github, f"{GITOPS}/environments/slipway-promoter", "master", secrets=[PROMOTER_KEY])
    environment(github, f"{GITOPS}/environments/slipway-verify", "master")
    at = f"{PLATFORM}/environments/{stack}"
    environment(github, at, "main", secrets=[DEPLOYER_KEY], variables=["SLIPWAY_DEPLOYER_APP"])
    answers[f"{PLATFORM}/environments/{stack}/variables/SLIPWAY_DEPLOYER_APP"] = {"value": "Iv23li1200001"}
    runners = dict(zip(runner_variables(stack), ("preview", "deploy"), strict=True))
    variables = [{"name": name, "value": value} for name, value in {**wanted_variables(settings), **runners}.items()]
    answers[f"{PLATFORM}/actions/variables"] = {"total_count": len(variables), "variables": variables}
    public = app_key()[1]
    reader = SCOPES["reader that reports health" if settings.gitops.report_health else "reader"]
    for app, scope in (
        *((track.writer, SCOPES["writer"]) for track in settings.hosted_tracks.values()),
        (settings.gitops.reader, reader),
        (settings.gitops.promoter, SCOPES["promoter"]),
    ):
        github.install(installation(app.app_id, app.installation_id, scope), ["gitops"], public)
    scope = SCOPES["deployer of the owner" if settings.owns_gitops else "deployer"]
    github.install(installation(1200001, 52000001, scope), ["gitops"], public)


def ready_account(stack: str, tmp_path: Path) -> Account:
    """An account as it is right before the first `up`."""
    one = account(stack)
    one.answers = {
        "GetCallerIdentity": {
            "Account": ACCOUNTS[stack],
            "Arn": f"arn:aws:sts::{ACCOUNTS[stack]}:assumed-role/platform-admin/alice",
        },
        "GetServiceQuota": MANY,
        "GetConnection": {"Connection": {"ConnectionStatus": "AVAILABLE"}},
    }
    path = tmp_path / "app.pem"
    path.write_text(app_key()[0], encoding="utf-8")
    purposes = {"dev": ["develop", "reader"], "stg": ["release", "reader"], "prd": ["reader"]}[stack]
    puts = [part for each in purposes for part in ("--put-key", f"{each}={path}")]
    assert one.run("--apply", *puts, stack=stack) == 0
    one.client("iam").create_role(RoleName="platform-admin", AssumeRolePolicyDocument="{}")
    return one


def servers(one: Account, stack: str) -> Callable[[str], list[str]]:
    def found(zone: str) -> list[str]:
        (each,) = one.client("route53").list_hosted_zones()["HostedZones"]
        assert each["Name"] == f"{zone}."
        return [
            f"{name.upper()}." for name in one.client("route53").get_hosted_zone(Id=each["Id"])["DelegationSet"]["NameServers"]
        ]

    del stack
    return found


def outside(github: GitHubStandIn, one: Account, stack: str, **more: Any) -> Outside:  # noqa: ANN401 — fields of Outside
    fields: dict[str, Any] = {
        "github": GitHub(url=github.url, token=TOKEN),
        "name_servers": servers(one, stack),
        "own_address": lambda: "203.0.113.7",
        **more,
    }
    return Outside(**fields)


def rows(said: str) -> dict[str, dict[str, str]]:
    return {row["key"]: row for row in json.loads(said)["rows"]}


def not_ready(found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {key: row["state"] for key, row in found.items() if row["state"] not in {"ready", "later"}}


@pytest.mark.parametrize("stack", ["dev", "stg", "prd"])
def test_an_account_in_which_everything_is_made_is_ready_and_looking_changes_nothing(
    stack: str, github: GitHubStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ready_account(stack, tmp_path)
    one.client("iam").create_role(RoleName=f"slipway-{stack}-deploy", AssumeRolePolicyDocument="{}")
    everything(github, stack)
    capsys.readouterr()
    status = one.run(
        "--check", "--json", "--app-key", f"promoter={tmp_path / 'app.pem'}", stack=stack, outside=outside(github, one, stack)
    )
    said = capsys.readouterr().out
    assert not_ready(rows(said)) == {}
    assert status == 0
    assert json.loads(said)["up"] is True
    assert one.changes == []
    assert {method for method, _ in github.asked} == {"GET"}
    assert not any(line in said for line in app_key()[0].splitlines()[1:-1])
    assert TOKEN not in said


def test_what_comes_after_the_first_up_is_later_until_then(
    github: GitHubStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ready_account("prd", tmp_path)
    everything(github, "prd")
    for path in [
        each for each in github.answers if each.startswith(GITOPS) or "/environments/" in each or each.endswith("/variables")
    ]:
        del github.answers[path]
    for key in [each for each in github.as_app if each[1].startswith(GITOPS)]:
        github.as_app[key[0], f"{PLATFORM}/installation"] = github.as_app.pop(key)
    capsys.readouterr()
    assert one.run("--check", "--json", stack="prd", outside=outside(github, one, "prd")) == 0
    found = rows(capsys.readouterr().out)
    assert not_ready(found) == {}
    later = {key for key, row in found.items() if row["state"] == "later"}
    assert {"gitops", "promoter-key", "environment:prd", "app:deployer", "app:reader:repositories"} <= later
    assert all(found[key]["fix"] for key in later)


def test_an_empty_account_names_all_that_is_missing_each_with_what_makes_it_ready(
    github: GitHubStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    one = account("dev")
    one.answers = {"GetServiceQuota": MANY, "GetConnection": "ResourceNotFoundException"}
    assert one.run("--check", outside=outside(github, one, "dev")) == 1
    said = capsys.readouterr().out
    assert one.changes == []
    for line in (
        "missing        KMS key alias/slipway-state: make KMS key",
        "missing        secret slipway/github-app/develop is empty",
        "--put-key develop=FILE",
        "missing        zone dev.example.com is not made yet",
        "missing        the caller arn:aws:sts::111111111111:user/moto is no role",
        "missing        application repository example-org/storefront is not there",
        "later          example-org/platform has no environment dev",
    ):
        assert line in said
    assert said.rstrip().endswith("Not ready for: pulumi up --stack dev.")


def test_without_a_token_github_is_not_looked_at_and_never_ready(
    github: GitHubStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ready_account("dev", tmp_path)
    everything(github, "dev")
    capsys.readouterr()
    alone = replace(outside(github, one, "dev"), github=GitHub(url=github.url, token=""))
    assert one.run("--check", "--json", outside=alone) == 1
    found = rows(capsys.readouterr().out)
    for key in ("organization", "platform", "repository", "gitops"):
        assert found[key]["state"] == "not looked at"
        assert "gh " in found[key]["fix"]
    assert found["app:writer-develop:permissions"]["state"] == "ready", "an App's own key needs no token"


def test_another_accounts_credentials_hide_the_account_and_not_github(
    github: GitHubStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    one = account("dev")
    one.answers = {}
    everything(github, "prd")
    assert one.run("--check", "--json", stack="prd", outside=outside(github, one, "prd")) == 1
    found = rows(capsys.readouterr().out)
    assert found["credentials"]["state"] == "missing"
    assert found["credentials"]["fix"] == "export AWS_PROFILE=prd-admin"
    assert found["state-key"]["state"] == "not looked at"
    assert found["team"]["state"] == "ready"
    assert set(one.calls) == {"GetCallerIdentity"}


Spoil = Callable[[Account, GitHubStandIn, dict[str, Any]], object]


def writer(github: GitHubStandIn) -> dict[str, Any]:
    return github.as_app["1100001", "/app/installations/51000001"]


def set_secret(one: Account, name: str, value: str) -> None:
    one.client("secretsmanager").put_secret_value(SecretId=name, SecretString=value)


def widen(github: GitHubStandIn) -> None:
    github.answers[f"{PLATFORM}/environments/dev"]["deployment_branch_policy"] = None


def nowhere(zone: str) -> list[str]:
    del zone
    return []


def elsewhere(zone: str) -> list[str]:
    del zone
    return ["ns1.example.net"]


SPOILED: Mapping[str, tuple[str, str, Spoil]] = {
    "a disabled region": (
        "region",
        "not enabled",
        lambda one, _, __: one.answers.update(DescribeRegions={"Regions": [{"OptInStatus": "not-opted-in"}]}),
    ),
    "a caller who is no admin": (
        "admins:blue",
        "401",
        lambda one, _, __: one.answers.update(
            GetCallerIdentity={"Account": ACCOUNTS["dev"], "Arn": "arn:aws:sts::111111111111:assumed-role/other/a"}
        ),
    ),
    "an admin that does not exist": (
        "admins:blue/platform-admin",
        "does not exist",
        lambda one, _, __: one.client("iam").delete_role(RoleName="platform-admin"),
    ),
    "an address outside": ("api:blue", "refuses it", lambda _, __, more: more.update(own_address=lambda: "198.51.100.9")),
    "a secret that holds no key": (
        "secret:develop",
        "no private key",
        lambda one, _, __: set_secret(one, "slipway/github-app/develop", "-----BEGIN"),
    ),
    "no delegation": ("delegation", "not delegated", lambda _, __, more: more.update(name_servers=nowhere)),
    "a zone in use elsewhere": (
        "delegation",
        "served by ns1.example.net",
        lambda _, __, more: more.update(name_servers=elsewhere),
    ),
    "a pending connection": (
        "connection",
        "PENDING",
        lambda one, _, __: one.answers.update(GetConnection={"Connection": {"ConnectionStatus": "PENDING"}}),
    ),
    "a new account's quotas": (
        "quota:ec2/L-1216C47A",
        "vCPUs",
        lambda one, _, __: one.answers.update(GetServiceQuota={"Quota": {"Value": 5.0}}),
    ),
    "another organization": (
        "organization:id",
        "has the id 9",
        lambda _, github, __: github.answers[f"/orgs/{ORG}"].update(id=9),
    ),
    "the free plan": (
        "organization:plan",
        "free",
        lambda _, github, __: github.answers[f"/orgs/{ORG}"].update(plan={"name": "free"}),
    ),
    "no branch develop": (
        "repository:storefront",
        "no branch develop",
        lambda _, github, __: github.answers.pop(f"/repos/{ORG}/storefront/branches/develop"),
    ),
    "another platform repository": ("platform", "has the id 9", lambda _, github, __: github.answers[PLATFORM].update(id=9)),
    "another GitOps repository": ("gitops", "has the id 9", lambda _, github, __: github.answers[GITOPS].update(id=9)),
    "an App that may administer": (
        "app:writer-develop:excess",
        "administration: write",
        lambda _, github, __: writer(github)["permissions"].update(administration="write"),
    ),
    "an App that may only read": (
        "app:writer-develop:permissions",
        "lacks contents: write",
        lambda _, github, __: writer(github)["permissions"].update(contents="read"),
    ),
    "an App on all repositories": (
        "app:writer-develop:selection",
        "all repositories",
        lambda _, github, __: writer(github).update(repository_selection="all"),
    ),
    "a suspended App": (
        "app:writer-develop:suspended",
        "suspended",
        lambda _, github, __: writer(github).update(suspended_at="2026-11-01T00:00:00Z"),
    ),
    "another App's key": (
        "app:writer-develop",
        "does not accept its key",
        lambda _, github, __: github.keys.update({"1100001": make_key()[1]}),
    ),
    "an App on the platform repository": (
        "app:writer-develop:more-repositories",
        "installed on platform",
        lambda _, github, __: github.as_app.update({("1100001", f"{PLATFORM}/installation"): writer(github)}),
    ),
    "an App without the GitOps repository": (
        "app:writer-develop:repositories",
        "not installed on gitops",
        lambda _, github, __: github.as_app.pop(("1100001", f"{GITOPS}/installation")),
    ),
    "an environment of any branch": ("environment:dev", "not to main alone", lambda _, github, __: widen(github)),
    "no deployer key": (
        f"environment:{DEPLOYER_KEY}",
        "no secret",
        lambda _, github, __: github.answers[f"{PLATFORM}/environments/dev/secrets"].update(secrets=[]),
    ),
    "no switch": (
        "variable:SLIPWAY_DEPLOY",
        "not set",
        lambda _, github, __: github.answers[f"{PLATFORM}/actions/variables"].update(variables=[]),
    ),
    "GitHub that refuses": (
        "variable",
        "GitHub answers 403",
        lambda _, github, __: github.answers.update({f"{PLATFORM}/actions/variables": 403}),
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_one_thing_that_is_wrong_is_found_and_nothing_else(
    case: str, github: GitHubStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, text, spoil = SPOILED[case]
    one = ready_account("dev", tmp_path)
    one.client("iam").create_role(RoleName="slipway-dev-deploy", AssumeRolePolicyDocument="{}")
    everything(github, "dev")
    more: dict[str, Any] = {}
    spoil(one, github, more)
    capsys.readouterr()
    assert one.run("--check", "--json", outside=outside(github, one, "dev", **more)) == 1
    found = rows(capsys.readouterr().out)
    assert key in not_ready(found)
    assert text in found[key]["text"]
    assert found[key]["fix"]
    family = key.split(":")[0]
    assert {each.split(":")[0] for each in not_ready(found)} == {family} or case == "a secret that holds no key"


PROMOTER_SPOILED: Mapping[str, tuple[str, Spoil]] = {
    "the key as a repository secret": (
        "promoter-key:repository",
        lambda _, github, __: github.answers[f"{GITOPS}/actions/secrets"].update(secrets=[{"name": PROMOTER_KEY}]),
    ),
    "the key as an organization secret": (
        "promoter-key:organization",
        lambda _, github, __: github.answers[f"{GITOPS}/actions/organization-secrets"].update(secrets=[{"name": PROMOTER_KEY}]),
    ),
    "an environment of another branch too": (
        "promoter-key:slipway-promoter",
        lambda _, github, __: github.answers[f"{GITOPS}/environments/slipway-promoter/deployment-branch-policies"].update(
            branch_policies=[{"name": "dev"}, {"name": "master"}]
        ),
    ),
    "no key": (
        "promoter-key:key",
        lambda _, github, __: github.answers[f"{GITOPS}/environments/slipway-promoter/secrets"].update(secrets=[]),
    ),
    "a secret where pull requests are verified": (
        "promoter-key:slipway-verify",
        lambda _, github, __: github.answers[f"{GITOPS}/environments/slipway-verify/secrets"].update(secrets=[{"name": "TOKEN"}]),
    ),
    "too small a team": (
        "team",
        lambda _, github, __: github.answers.update({f"/orgs/{ORG}/teams/platform/members": [{"login": "alice"}]}),
    ),
    "no team": ("team", lambda _, github, __: github.answers.pop(f"/orgs/{ORG}/teams/platform")),
}


@pytest.mark.parametrize("case", PROMOTER_SPOILED)
def test_what_the_owner_answers_for_is_found_too(
    case: str, github: GitHubStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, spoil = PROMOTER_SPOILED[case]
    one = ready_account("prd", tmp_path)
    one.client("iam").create_role(RoleName="slipway-prd-deploy", AssumeRolePolicyDocument="{}")
    everything(github, "prd")
    spoil(one, github, {})
    capsys.readouterr()
    assert one.run("--check", "--json", stack="prd", outside=outside(github, one, "prd")) == 1
    assert set(not_ready(rows(capsys.readouterr().out))) == {key}


def test_a_world_that_cannot_answer_says_so_and_is_not_ready(
    github: GitHubStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ready_account("dev", tmp_path)
    everything(github, "dev")
    capsys.readouterr()
    assert one.run("--check", "--json", outside=outside(github, one, "dev", unanswered={"quota": "an emulator"})) == 1
    row = rows(capsys.readouterr().out)["quota"]
    assert (row["state"], row["text"]) == ("not looked at", "quotas: an emulator")


@pytest.mark.parametrize(
    ("address", "status"), [("10.10.4.7", "ready"), ("203.0.113.0/28", "ready"), ("192.0.2.1", "missing"), ("x", "missing")]
)
def test_the_runners_own_addresses_are_compared(
    address: str, status: str, github: GitHubStandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ready_account("dev", tmp_path)
    everything(github, "dev")
    capsys.readouterr()
    one.run("--check", "--json", "--runner-address", address, outside=outside(github, one, "dev"))
    assert rows(capsys.readouterr().out)["api:blue"]["state"] == status


def test_options_of_the_check_and_of_the_changes_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--check", "--apply"], ["--json"], ["--runner-address", "192.0.2.1"]):
        with pytest.raises(SystemExit):
            account("dev").run(*arguments)
    assert "--check changes nothing" in capsys.readouterr().err


# The pure core


def services(count: int) -> dict[str, Declaration]:
    return {
        f"s{number}": Declaration(
            name=f"s{number}", repository=f"s{number}", port=8080, label=f"s{number}", health_path="/healthz"
        )
        for number in range(count)
    }


@pytest.mark.parametrize(("count", "builds"), [(1, 1), (6, 1), (7, 2), (30, 5)])
def test_builds_need_a_sixth_of_the_pipelines_that_start_at_once(count: int, builds: int) -> None:
    found = {each.service: each for each in quotas(read_settings("dev", EXAMPLE), services(count))}
    assert found["codebuild"].needed == builds
    assert found["codebuild"].code == "L-5ED1D25B"
    assert found["events"].needed == count


def test_a_nat_gateway_for_each_zone_needs_an_address_for_each() -> None:
    settings = read_settings("dev", EXAMPLE)
    assert settings.network is not None
    each = settings.model_copy(update={"network": settings.network.model_copy(update={"nat_per_zone": True})})
    assert [one.needed for one in quotas(settings, {}) if one.code == "L-0263D0A3"] == [1]
    assert [one.needed for one in quotas(each, {}) if one.code == "L-0263D0A3"] == [3]


def test_machines_count_their_largest_type_at_most_nodes() -> None:
    (found,) = machines(read_settings("dev", EXAMPLE))
    assert found.code == "L-1216C47A"
    assert found.vcpus({"m7g.large": 2}) == 12


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("m7g.large", "L-1216C47A"),
        ("inf2.xlarge", "L-1945791B"),
        ("g5.xlarge", "L-DB2E81BA"),
        ("im4gn.large", "L-1216C47A"),
        ("p4d.24xlarge", "L-417A185B"),
    ],
)
def test_each_family_has_its_own_quota(kind: str, code: str) -> None:
    assert vcpu_quota(kind)[0] == code


def test_permissions_are_compared_by_level_both_ways() -> None:
    assert missing_permissions({"contents": "write"}, {"contents": "read"}) == ["contents: write"]
    assert missing_permissions({"contents": "read"}, {"contents": "write"}) == []
    assert excess_permissions({"contents": "read"}, {"contents": "write", "metadata": "read"}) == ["contents: write"]
    assert excess_permissions({}, {"administration": "write"}) == ["administration: write"]
