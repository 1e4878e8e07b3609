"""components/argocd.py: Argo CD hears of every commit, reads one repository, and holds no key that Pulumi has seen."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from components.argocd import webhook_priority
from components.catalogue import LOWEST_SERVICE_PRIORITY
from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.program import Declared, Program, ProgramError, evaluate
from tests.components.kit import awaited, texts
from tests.components.test_settings import stack_value
from tests.conftest import STACKS

ZONES = {"dev": "dev.example.com", "stg": "stg.example.com", "prd": "example.com"}
WEBHOOK = "github:index/repositoryWebhook:RepositoryWebhook"
EXTERNAL_SECRET = "kubernetes:external-secrets.io/v1:ExternalSecret"
RELEASE = "kubernetes:helm.sh/v3:Release"
TWO_COLOURS = {
    "blue": {"version": "1.34", "weight": 100, "endpoint": {"private": True}},
    "green": {"version": "1.35", "weight": 0, "endpoint": {"private": True}},
}
UI: Mapping[str, Any] = {"ui": {"clientId": "Iv1.example", "teams": {"platform": "admin"}}}


@pytest.fixture(scope="module")
def full() -> Program:
    """The prd stack with two colours and Argo CD's UI on."""
    return evaluate("prd", config={"slipway:clusters": TWO_COLOURS, "slipway:argocd": UI})


def rule_of(program: Program, host: str) -> Declared:
    (found,) = (
        each
        for each in program.of("lb/listenerRule:ListenerRule")
        if each.inputs["conditions"][0]["hostHeader"]["values"] == [host]
    )
    return found


def forwards(program: Program, rule: Declared) -> dict[str, int]:
    """Target group names and their weights."""
    names = {each.outputs["arn"]: each.inputs["name"] for each in program.of("lb/targetGroup:TargetGroup")}
    (action,) = rule.inputs["actions"]
    return {names[each["arn"]]: each["weight"] for each in action["forward"]["targetGroups"]}


def secret_named(program: Program, name: str) -> Declared:
    (found,) = (each for each in program.of(EXTERNAL_SECRET) if each.inputs["metadata"]["name"] == name)
    return found


def argo_cd_of(program: Program, colour: str = "blue") -> Declared:
    (found,) = (each for each in program.of(RELEASE) if each.name == f"{colour}-argocd")
    return found


@pytest.mark.parametrize("stack", STACKS)
def test_exactly_post_api_webhook_is_reachable_from_outside(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    rule = rule_of(program, f"argocd-blue.{ZONES[stack]}")
    assert rule.inputs["conditions"] == [
        {"hostHeader": {"values": [f"argocd-blue.{ZONES[stack]}"]}},
        {"pathPattern": {"values": ["/api/webhook"]}},
        {"httpRequestMethod": {"values": ["POST"]}},
    ]
    # A path pattern with a wildcard would let the rest of the API through.
    assert not any(letter in value for value in rule.inputs["conditions"][1]["pathPattern"]["values"] for letter in "*?")
    to_argo = [each for each in program.of("lb/listenerRule:ListenerRule") if "argocd" in " ".join(forwards(program, each))]
    assert to_argo == [rule]


def test_every_colour_hears_of_every_commit_whatever_its_weight(full: Program) -> None:
    assert forwards(full, rule_of(full, "argocd-blue.example.com")) == {"argocd-blue-8080": 100}
    assert forwards(full, rule_of(full, "argocd-green.example.com")) == {"argocd-green-8080": 100}
    urls = {each.name: each.inputs["configuration"]["url"] for each in full.of(WEBHOOK)}
    assert urls == {
        "blue": "https://argocd-blue.example.com/api/webhook",
        "green": "https://argocd-green.example.com/api/webhook",
    }
    secrets = {each.inputs["name"] for each in full.of("secretsmanager/secret:Secret")}
    assert secrets == {"slipway/argocd/webhook-blue", "slipway/argocd/webhook-green"}


def test_argo_cd_s_rules_come_before_every_service_s_and_a_colour_keeps_its_place() -> None:
    alone = webhook_priority("blue", {"blue": 1})
    for colours in (["blue", "green"], ["amber", "blue", "zinc"], ["blue", "turquoise"]):
        places = {colour: webhook_priority(colour, dict.fromkeys(colours)) for colour in colours}
        assert places["blue"] == alone
        assert len(set(places.values())) == len(colours)
        assert all(1 < place < LOWEST_SERVICE_PRIORITY for place in places.values())


def test_two_colours_whose_names_fall_together_still_get_a_place_each() -> None:
    colours = [f"c{number}" for number in range(200)]
    places = [webhook_priority(colour, dict.fromkeys(colours)) for colour in colours]
    assert len(set(places)) == len(colours)
    assert all(1 < place < LOWEST_SERVICE_PRIORITY for place in places)
    with pytest.raises(KeyError, match="'red' is no colour"):
        webhook_priority("red", {"blue": 1})


@pytest.mark.parametrize("stack", STACKS)
def test_the_webhook_sends_json_over_verified_tls_and_signs_with_a_secret_of_its_cluster(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    hook, version = program.one(WEBHOOK), program.one("SecretVersion")
    configuration = hook.inputs["configuration"]
    assert hook.inputs["events"] == ["push"]
    assert hook.inputs["repository"] == "gitops"
    assert configuration["contentType"] == "json"
    assert configuration["insecureSsl"] is False
    assert configuration["secret"] == version.inputs["secretString"]
    assert program.one("secretsmanager/secret:Secret").inputs["name"] == "slipway/argocd/webhook-blue"
    # Drawn anew by every run: the first draw must stay.
    assert version.ignore_changes == ("secretString",)


@pytest.mark.parametrize("stack", STACKS)
def test_the_webhook_s_secret_stays_a_secret_wherever_it_goes(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    secret = program.one("SecretVersion").inputs["secretString"]
    assert len(secret) >= 40
    assert "secretString" in program.one("SecretVersion").secrets
    assert "configuration" in program.one(WEBHOOK).secrets
    # Nowhere else, in the clear or not: not in a chart's values, a tag, a name, an environment.
    seen = {(each.type, key) for each in program.resources for key, value in each.inputs.items() if secret in set(texts(value))}
    assert seen == {("aws:secretsmanager/secretVersion:SecretVersion", "secretString"), (WEBHOOK, "configuration")}


@pytest.mark.parametrize("stack", STACKS)
def test_the_webhook_comes_last_for_github_pings_it_at_once(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    before = awaited(program, program.one(WEBHOOK))
    host = f"argocd-blue.{ZONES[stack]}"
    needed = [
        argo_cd_of(program),
        rule_of(program, host),
        next(each for each in program.of("route53/record:Record") if each.inputs["name"] == host),
        next(each for each in program.of("TargetGroupBinding") if each.inputs["metadata"]["name"] == "argocd-server"),
        secret_named(program, "slipway-webhook"),
        program.one("CertificateValidation"),
    ]
    assert [each.name for each in needed if each.urn not in before] == []
    assert not any(program.one(WEBHOOK).urn in each.dependencies for each in program.resources)


@pytest.mark.parametrize("stack", STACKS)
def test_argo_cd_finds_its_webhook_secret_by_reference(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    release = argo_cd_of(program)
    assert release.inputs["values"]["configs"]["secret"] == {"githubSecret": "$slipway-webhook:value"}
    external = secret_named(program, "slipway-webhook")
    spec = external.inputs["spec"]
    assert spec["data"] == [{"secretKey": "value", "remoteRef": {"key": "slipway/argocd/webhook-blue"}}]
    # Argo CD reads only Secrets that say so.
    assert spec["target"]["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"] == "argocd"
    assert external.urn in awaited(program, release)
    # External Secrets finds the value there when it comes.
    assert program.one("SecretVersion").urn in awaited(program, external)


@pytest.mark.parametrize("stack", STACKS)
def test_argo_cd_reads_one_repository_as_a_github_app_whose_key_pulumi_never_sees(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    external = secret_named(program, "slipway-gitops-repository")
    spec = external.inputs["spec"]
    assert spec["secretStoreRef"] == {"kind": "SecretStore", "name": "slipway"}
    assert spec["data"] == [{"secretKey": "value", "remoteRef": {"key": "slipway/argocd/reader"}}]
    assert spec["target"]["template"]["metadata"]["labels"]["argocd.argoproj.io/secret-type"] == "repository"
    assert spec["target"]["template"]["data"] == {
        "type": "git",
        "url": "https://github.com/example-org/gitops.git",
        "project": stack,
        "githubAppID": "1100004",
        "githubAppInstallationID": "51000004",
        "githubAppPrivateKey": "{{ .value }}",
    }
    assert external.urn in awaited(program, argo_cd_of(program))
    (store,) = program.of("kubernetes:external-secrets.io/v1:SecretStore")
    assert store.inputs["metadata"]["namespace"] == "argocd"
    assert store.inputs["spec"] == {"provider": {"aws": {"service": "SecretsManager", "region": "eu-central-1"}}}


@pytest.mark.parametrize("stack", STACKS)
def test_notifications_sign_with_the_reader_s_key_which_comes_as_it_does_for_reading(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    external = secret_named(program, "argocd-notifications-secret")
    assert external.inputs["metadata"]["namespace"] == "argocd"
    spec = external.inputs["spec"]
    assert spec["secretStoreRef"] == {"kind": "SecretStore", "name": "slipway"}
    assert spec["data"] == [{"secretKey": "value", "remoteRef": {"key": "slipway/argocd/reader"}}]
    # The controller is told of the key by `$value`: nothing is made of it on the way.
    assert "data" not in spec["target"]["template"]
    assert external.urn in awaited(program, argo_cd_of(program))


def test_without_reports_the_reader_s_key_is_there_for_reading_alone() -> None:
    program = evaluate("dev", config={"slipway:gitops": {**stack_value("slipway:gitops"), "reportHealth": False}})
    named = [each.inputs["metadata"]["name"] for each in program.of(EXTERNAL_SECRET)]
    assert sorted(named) == ["slipway-gitops-repository", "slipway-webhook"]


def test_no_private_key_and_no_value_of_a_bootstrap_secret_is_in_any_stack(programs: Mapping[str, Program]) -> None:
    for program in programs.values():
        for each in program.resources:
            # The GitOps repository's own scripts may speak of keys; what they say is no registration of ours.
            if each.type == "github:index/repositoryFile:RepositoryFile":
                continue
            for text in texts(each.inputs):
                assert "PRIVATE KEY" not in text, each.urn
        written = {
            each.inputs["secretId"].rsplit(":secret:", 1)[1] for each in program.of("secretsmanager/secretVersion:SecretVersion")
        }
        assert written == {"slipway/argocd/webhook-blue"}
        # Nor is one read: what Pulumi reads, its state holds.
        assert not [call.token for call in program.calls if "SecretVersion" in call.token or "getParameter" in call.token]


def test_a_github_of_one_s_own_is_told_to_argo_cd() -> None:
    gitops = {
        **stack_value("slipway:gitops"),
        "gitUrl": "https://git.example.com",
        "apiUrl": "https://git.example.com/api/v3",
    }
    program = evaluate("dev", config={"slipway:gitops": gitops})
    data = secret_named(program, "slipway-gitops-repository").inputs["spec"]["target"]["template"]["data"]
    assert data["url"] == "https://git.example.com/example-org/gitops.git"
    assert data["githubAppEnterpriseBaseUrl"] == "https://git.example.com/api/v3"


@pytest.mark.parametrize("stack", STACKS)
def test_the_project_allows_one_repository_no_platform_namespace_and_nothing_cluster_wide(
    stack: str, programs: Mapping[str, Program]
) -> None:
    (project,) = programs[stack].of("kubernetes:argoproj.io/v1alpha1:AppProject")
    spec = project.inputs["spec"]
    assert project.inputs["metadata"] == {"name": stack, "namespace": "argocd"}
    assert spec["sourceRepos"] == ["https://github.com/example-org/gitops.git"]
    assert spec["clusterResourceWhitelist"] == []
    assert {each["server"] for each in spec["destinations"]} == {"https://kubernetes.default.svc"}

    # https://argo-cd.readthedocs.io/en/stable/user-guide/projects/: what begins with `!` is refused
    def allowed(namespace: str) -> bool:
        patterns = [each["namespace"] for each in spec["destinations"]]
        refused = any(fnmatchcase(namespace, each[1:]) for each in patterns if each.startswith("!"))
        return not refused and any(fnmatchcase(namespace, each) for each in patterns if not each.startswith("!"))

    assert allowed("storefront")
    for namespace in ("argocd", "default", "external-secrets", "kube-node-lease", "kube-public", "kube-system", "kube-other"):
        assert not allowed(namespace)
    refused = {(each["group"], each["kind"]) for each in spec["namespaceResourceBlacklist"]}
    assert {
        ("argoproj.io", "Application"),
        ("argoproj.io", "AppProject"),
        ("elbv2.k8s.aws", "TargetGroupBinding"),
        ("external-secrets.io", "SecretStore"),
    } <= refused


@pytest.mark.parametrize("stack", STACKS)
def test_every_application_waits_for_the_project_that_allows_it(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    (project,) = program.of("kubernetes:argoproj.io/v1alpha1:AppProject")
    applications = program.of("kubernetes:argoproj.io/v1alpha1:Application")
    assert len(applications) == 2
    for each in applications:
        assert each.inputs["spec"]["project"] == project.inputs["metadata"]["name"]
        assert {project.urn, argo_cd_of(program).urn} <= awaited(program, each)


@pytest.mark.parametrize("stack", STACKS)
def test_the_ui_is_off_unless_it_is_set(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    assert program.of("slipway:argocd:ArgoCDUi") == []
    hosts = {each.inputs["conditions"][0]["hostHeader"]["values"][0] for each in program.of("lb/listenerRule:ListenerRule")}
    assert hosts == {f"argocd-blue.{ZONES[stack]}", f"storefront.{ZONES[stack]}"}
    assert {each.inputs["metadata"]["name"] for each in program.of(EXTERNAL_SECRET)} == {
        "argocd-notifications-secret",
        "slipway-gitops-repository",
        "slipway-webhook",
    }


def test_one_setting_opens_the_ui_on_the_active_colour_with_its_secret_by_reference(full: Program) -> None:
    rule = rule_of(full, "argocd.example.com")
    assert len(rule.inputs["conditions"]) == 1
    assert rule.inputs["priority"] == 1
    assert forwards(full, rule) == {"argocd-ui-blue-8080": 100, "argocd-ui-green-8080": 0}
    assert any(each.inputs["name"] == "argocd.example.com" for each in full.of("route53/record:Record"))
    for colour in ("blue", "green"):
        (external,) = (each for each in full.of(EXTERNAL_SECRET) if each.name == f"{colour}-ui-secret")
        assert external.inputs["spec"]["data"] == [{"secretKey": "value", "remoteRef": {"key": "slipway/argocd/ui"}}]
        assert external.inputs["metadata"] == {"name": "slipway-ui", "namespace": "argocd"}
        assert external.urn in awaited(full, argo_cd_of(full, colour))
    bindings = [each for each in full.of("TargetGroupBinding") if each.inputs["metadata"]["name"] == "argocd-server-ui"]
    assert {each.name for each in bindings} == {"argocd-ui-blue", "argocd-ui-green"}
    assert all(each.inputs["spec"]["serviceRef"] == {"name": "argocd-server", "port": 80} for each in bindings)
    # Its secret was put there by people: Pulumi makes none.
    assert "slipway/argocd/ui" not in {each.inputs["name"] for each in full.of("secretsmanager/secret:Secret")}


@pytest.mark.parametrize(("label", "taken"), [("argocd", "Argo CD's UI"), ("argocd-blue", "Argo CD's webhook")])
def test_no_service_takes_argo_cd_s_hosts(label: str, taken: str) -> None:
    def catalogue(platform: Platform) -> None:
        Service("shop", ServiceArgs(platform=platform, repository="shop", port=8080, host=label))

    with pytest.raises(ProgramError, match=f"has host '{label}', which {taken} has") as caught:
        evaluate("prd", catalogue=catalogue, config={"slipway:argocd": UI})
    assert caught.value.registered == ()


def test_a_host_is_free_again_while_the_ui_is_off() -> None:
    def catalogue(platform: Platform) -> None:
        Service("shop", ServiceArgs(platform=platform, repository="shop", port=8080, host="argocd"))

    assert rule_of(evaluate("prd", catalogue=catalogue), "argocd.example.com").inputs["priority"] >= LOWEST_SERVICE_PRIORITY
