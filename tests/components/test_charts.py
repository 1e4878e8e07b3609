"""components/charts.py: every value set is one that the chart knows, for a misspelt one is silently nothing to Helm.

chart_keys/ holds the keys that each chart's own values.yaml has at the pinned version, to the third level.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from components import charts
from components.charts import Chart
from rehearsal.program import Program, evaluate
from tests.components.test_settings import stack_value
from tests.conftest import STACKS

KEYS: Final = Path(__file__).with_name("chart_keys")
LEVELS: Final = 3
CHARTS: Final = (charts.ARGO_CD, charts.LOAD_BALANCER_CONTROLLER, charts.EXTERNAL_SECRETS, charts.CLUSTER_AUTOSCALER)
UI: Final = {"ui": {"clientId": "Iv1.example", "teams": {"platform": "admin", "shop": "deployer", "support": "readonly"}}}

# Maps whose keys are not the chart's but of what it installs: by chart and place, the keys in use and the page that states each.
FREE: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "argo-cd": {
        "configs/cm": {
            "admin.enabled": "https://argo-cd.readthedocs.io/en/stable/operator-manual/argocd-cm-yaml/",
            "dex.config": "https://argo-cd.readthedocs.io/en/stable/operator-manual/user-management/#dex",
            "url": "https://argo-cd.readthedocs.io/en/stable/operator-manual/argocd-cm-yaml/",
            "webhook.maxPayloadSizeMB": "https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/",
        },
        "configs/params": {
            "server.insecure": "https://argo-cd.readthedocs.io/en/stable/operator-manual/argocd-cmd-params-cm-yaml/",
        },
        "notifications/notifiers": {
            "service.github": "https://argo-cd.readthedocs.io/en/stable/operator-manual/notifications/services/github/",
        },
        "notifications/templates": dict.fromkeys(
            ("template.gone", "template.health"),
            "https://argo-cd.readthedocs.io/en/stable/operator-manual/notifications/templates/",
        ),
        "notifications/triggers": {
            "trigger.on-health": "https://argo-cd.readthedocs.io/en/stable/operator-manual/notifications/triggers/",
        },
    },
    "aws-load-balancer-controller": {
        "controllerConfig/featureGates": dict.fromkeys(
            ("ALBGatewayAPI", "EnableServiceController", "NLBGatewayAPI"),
            "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/configurations/#feature-gates",
        ),
    },
    "cluster-autoscaler": {
        "extraArgs": dict.fromkeys(
            ("balance-similar-node-groups", "skip-nodes-with-system-pods"),
            "https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md#what-are-the-parameters-to-ca",
        ),
    },
}


def read(chart: Chart) -> tuple[dict[str, str], set[str]]:
    """The header and the keys of a chart's list."""
    lines = (KEYS / f"{chart.name}.txt").read_text(encoding="utf-8").splitlines()
    header = dict(line.removeprefix("# ").split(": ", 1) for line in lines if line.startswith("#") and ": " in line)
    return header, {line for line in lines if line and not line.startswith("#")}


def paths(values: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    """Every key in `values`, as its place and its name."""
    for key, value in values.items():
        yield above, key
        if isinstance(value, Mapping):
            yield from paths(value, f"{above}/{key}" if above else key)  # pyright: ignore[reportUnknownArgumentType] — JSON


def unknown(chart: Chart, values: Mapping[str, Any]) -> list[str]:
    """The keys in `values` that neither the chart nor what it installs knows."""
    known, free = read(chart)[1], FREE.get(chart.name, {})
    return [
        f"{place}/{key}".lstrip("/")
        for place, key in paths(values)
        if key not in free.get(place, ()) and "/".join(f"{place}/{key}".lstrip("/").split("/")[:LEVELS]) not in known
    ]


@pytest.fixture(scope="module")
def with_ui() -> Program:
    """The prd stack with Argo CD's UI on: the values that only it sets."""
    return evaluate("prd", config={"slipway:argocd": UI})


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_every_value_of_every_release_is_one_that_the_chart_knows(
    chart: Chart, programs: Mapping[str, Program], with_ui: Program
) -> None:
    for program in (*programs.values(), with_ui):
        (release,) = (each for each in program.of("Release") if each.inputs["chart"] == chart.name)
        assert unknown(chart, release.inputs["values"]) == []


def test_a_value_that_is_misspelt_is_found() -> None:
    assert unknown(charts.EXTERNAL_SECRETS, {"replicaCounts": 2}) == ["replicaCounts"]
    assert unknown(charts.EXTERNAL_SECRETS, {"serviceAccount": {"names": "x"}}) == ["serviceAccount/names"]
    assert unknown(charts.ARGO_CD, {"server": {"pdb": {"enable": True}}}) == ["server/pdb/enable"]
    assert unknown(charts.ARGO_CD, {"configs": {"cm": {"webhook.maxPayloadSizeMb": 5}}}) == [
        "configs/cm/webhook.maxPayloadSizeMb"
    ]
    gates = {"controllerConfig": {"featureGates": {"EnableServiceControllers": False}}}
    assert unknown(charts.LOAD_BALANCER_CONTROLLER, gates) == ["controllerConfig/featureGates/EnableServiceControllers"]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_the_keys_were_read_at_the_version_that_is_installed(chart: Chart, programs: Mapping[str, Program]) -> None:
    header, keys = read(chart)
    assert (header["chart"], header["version"], header["source"]) == (chart.name, chart.version, chart.source)
    assert chart.version in chart.source
    assert keys
    for stack in STACKS:
        (release,) = (each for each in programs[stack].of("Release") if each.inputs["chart"] == chart.name)
        assert release.inputs["version"] == chart.version
        assert release.inputs["repositoryOpts"] == {"repo": chart.repository}
        assert release.inputs["atomic"] is True


def test_every_list_of_keys_belongs_to_a_chart_and_every_free_key_is_in_use(
    programs: Mapping[str, Program], with_ui: Program
) -> None:
    assert {path.stem for path in KEYS.glob("*.txt")} == {chart.name for chart in CHARTS}
    used = {
        (release.inputs["chart"], place, key)
        for program in (*programs.values(), with_ui)
        for release in program.of("Release")
        for place, key in paths(release.inputs["values"])
    }
    free = {(chart, place, key) for chart, places in FREE.items() for place, keys in places.items() for key in keys}
    assert free <= used
    assert all(page.startswith("https://") for places in FREE.values() for keys in places.values() for page in keys.values())


def values_of(program: Program, chart: Chart) -> Mapping[str, Any]:
    (release,) = (each for each in program.of("Release") if each.inputs["chart"] == chart.name)
    return release.inputs["values"]


@pytest.mark.parametrize("stack", STACKS)
def test_the_load_balancer_controller_binds_target_groups_and_makes_no_load_balancer(
    stack: str, programs: Mapping[str, Program]
) -> None:
    values = values_of(programs[stack], charts.LOAD_BALANCER_CONTROLLER)
    assert values["clusterName"] == f"slipway-{stack}-blue"
    assert values["vpcId"] == programs[stack].one("ec2/vpc:Vpc").id
    assert values["enableServiceMutatorWebhook"] is False
    assert values["enableBackendSecurityGroup"] is False
    assert values["createIngressClassResource"] is False
    assert values["controllerConfig"]["featureGates"]["EnableServiceController"] is False


@pytest.mark.parametrize("stack", STACKS)
def test_external_secrets_knows_namespaced_stores_only(stack: str, programs: Mapping[str, Program]) -> None:
    values = values_of(programs[stack], charts.EXTERNAL_SECRETS)
    off = {key for key, value in values.items() if key.startswith("process") and value is False}
    assert off == {
        "processClusterExternalSecret",
        "processClusterGenerator",
        "processClusterPushSecret",
        "processClusterStore",
        "processPushSecret",
    }


@pytest.mark.parametrize("stack", STACKS)
def test_nobody_signs_in_to_argo_cd_while_its_ui_is_off(stack: str, programs: Mapping[str, Program]) -> None:
    values = values_of(programs[stack], charts.ARGO_CD)
    assert values["configs"]["cm"] == {"admin.enabled": False, "webhook.maxPayloadSizeMB": "5"}
    assert values["configs"]["params"] == {"server.insecure": True}
    assert values["dex"] == {"enabled": False}
    assert "rbac" not in values["configs"]
    assert values["global"]["networkPolicy"] == {"create": True}


def gitops(**changes: object) -> dict[str, object]:
    """`slipway:gitops` as the stack files have it, but for changes."""
    return {**stack_value("slipway:gitops"), **changes}


@pytest.mark.parametrize("stack", STACKS)
def test_argo_cd_tells_the_health_of_every_application_of_its_project_on_the_commit_that_it_has_synced(
    stack: str, programs: Mapping[str, Program]
) -> None:
    values = values_of(programs[stack], charts.ARGO_CD)["notifications"]
    assert values["enabled"] is True
    # The controller's Secret comes from Secrets Manager: the chart makes none, and the values hold no key.
    assert values["secret"] == {"create": False, "name": "argocd-notifications-secret"}
    app = json.loads(values["notifiers"]["service.github"])
    assert app == {"appID": 1100004, "installationID": 51000004, "privateKey": "$value"}
    assert values["subscriptions"] == [{"recipients": ["github"], "triggers": ["on-health"]}]
    template = json.loads(values["templates"]["template.health"])
    assert template["github"]["repoURLPath"] == "https://github.com/example-org/gitops.git"
    assert template["github"]["status"]["label"] == f"health {stack}/blue/{{{{.app.metadata.name}}}}"
    conditions = json.loads(values["triggers"]["trigger.on-health"])
    words = ("Healthy", "Progressing", "Suspended", "Degraded", "Missing", "Unknown")
    assert [sum(f"== '{word}'" in each["when"] for each in conditions) for word in words] == [1] * len(words)
    assert all(f'app.spec.project == "{stack}"' in each["when"] for each in conditions)
    # A health told `oncePer` anything would stay untold when it comes back.
    assert [each["when"] for each in conditions if "oncePer" in each and "health.status ==" in each["when"]] == []


def test_argo_cd_tells_nobody_of_health_unless_that_is_set() -> None:
    program = evaluate("prd", config={"slipway:gitops": gitops(reportHealth=False)})
    assert values_of(program, charts.ARGO_CD)["notifications"] == {"enabled": False}


def test_a_status_leads_to_argo_cd_s_ui_where_there_is_one_and_else_to_the_commit(
    with_ui: Program, programs: Mapping[str, Program]
) -> None:
    def target(program: Program) -> str:
        template = json.loads(values_of(program, charts.ARGO_CD)["notifications"]["templates"]["template.health"])
        return template["github"]["status"]["targetURL"]

    assert target(with_ui) == "https://argocd.example.com/applications/argocd/{{.app.metadata.name}}"
    # An empty one is refused: https://github.com/jenkinsci/ghprb-plugin/issues/219
    assert target(programs["prd"]) == f"https://github.com/example-org/gitops/tree/{charts.SYNCED}/{{{{.app.spec.source.path}}}}"


def test_a_github_of_one_s_own_hears_of_health_at_its_own_address() -> None:
    own = gitops(gitUrl="https://git.example.com", apiUrl="https://git.example.com/api/v3")
    values = values_of(evaluate("dev", config={"slipway:gitops": own}), charts.ARGO_CD)["notifications"]
    assert json.loads(values["notifiers"]["service.github"])["enterpriseBaseURL"] == "https://git.example.com/api/v3"
    assert json.loads(values["templates"]["template.health"])["github"]["repoURLPath"].startswith("https://git.example.com/")


def test_argo_cd_s_ui_signs_in_by_github_and_turns_teams_into_roles(with_ui: Program) -> None:
    values = values_of(with_ui, charts.ARGO_CD)
    cm, rbac = values["configs"]["cm"], values["configs"]["rbac"]
    assert cm["url"] == "https://argocd.example.com"
    assert cm["admin.enabled"] is False
    assert values["dex"] == {"enabled": True}
    (connector,) = json.loads(cm["dex.config"])["connectors"]
    assert connector["type"] == "github"
    assert connector["config"] == {
        "clientID": "Iv1.example",
        # By reference: https://argo-cd.readthedocs.io/en/stable/operator-manual/user-management/#alternative
        "clientSecret": "$slipway-ui:value",
        "orgs": [{"name": "example-org"}],
    }
    # Whoever is in no team may do nothing.
    assert rbac["policy.default"] == ""
    lines = rbac["policy.csv"].splitlines()
    assert [line for line in lines if line.startswith("g,")] == [
        "g, example-org:platform, role:admin",
        "g, example-org:shop, role:deployer",
        "g, example-org:support, role:readonly",
    ]
    assert [line for line in lines if line.startswith("p,")] == [
        "p, role:deployer, applications, get, prd/*, allow",
        "p, role:deployer, applications, sync, prd/*, allow",
        "p, role:deployer, logs, get, prd/*, allow",
    ]
