"""Kubernetes by the table, at an API server in memory: objects, Helm releases, and what the releases' controllers do."""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import pytest

from components import charts as pinned
from rehearsal.cloud import Ask, Emulators, Place, RealiseError
from rehearsal.cloud.row import same
from rehearsal.cloud.rows import kubernetes
from rehearsal.lab import bindings, charts, secrets
from rehearsal.lab.clusters import POD_IDENTITY_AGENT, Clusters, LabCluster
from rehearsal.program import Request
from tests.rehearsal.cloud.kit import REGION, Accounts
from tests.rehearsal.lab.fake import FakeArgoCD, FakeKube, clusters, definition

NAME: Final = "slipway-dev-blue"
NAMESPACE: Final = "kubernetes:core/v1:Namespace"
APPLICATION: Final = "kubernetes:argoproj.io/v1alpha1:Application"
BINDING: Final = "kubernetes:elbv2.k8s.aws/v1beta1:TargetGroupBinding"
EXTERNAL_SECRET: Final = "kubernetes:external-secrets.io/v1:ExternalSecret"
STORE: Final = "kubernetes:external-secrets.io/v1:SecretStore"
FINALIZER: Final = "resources-finalizer.argocd.argoproj.io"
WAIT_SECONDS: Final = 20


class Cluster:
    """One cluster of fakes, and the rows for it."""

    def __init__(self, lab: Clusters, place: Place) -> None:
        """Start it."""
        self.lab, self.place = lab, place
        self.there: LabCluster = lab.start(NAME, place, "1.35")
        self.kube = cast("FakeKube", self.there.kube)

    def ask(
        self,
        type_: str,
        inputs: Mapping[str, Any],
        old: Mapping[str, Any] | None = None,
        provider: Mapping[str, Any] | None = None,
    ) -> Ask:
        """What a row is asked, through the cluster's own provider."""
        request = Request(stack="dev", type=type_, name="it", inputs=dict(inputs), custom=True, parent="")
        config = {"kubeconfig": self.lab.kubeconfig(NAME), **(provider or {})}
        return Ask(
            request=request, place=self.place, emulators=cast("Emulators", None), lab=self.lab, old=old or {}, provider=config
        )

    def make(self, type_: str, inputs: Mapping[str, Any]) -> str:
        """Make it; answers with its id. Nothing declared is dropped."""
        ask = self.ask(type_, inputs)
        created = row(type_).create(ask)
        assert ask.inputs.unread() == []
        return created.id

    def read(self, type_: str, id_: str, inputs: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
        """What stands under an id; with `inputs`, as a refresh asks for it."""
        reader = row(type_).read
        assert reader is not None
        return reader(self.ask(type_, inputs or {}), id_)

    def update(self, type_: str, id_: str, old: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        """Change it."""
        updater = row(type_).update
        assert updater is not None
        assert updater(self.ask(type_, inputs, old), id_).id == id_

    def delete(self, type_: str, id_: str, inputs: Mapping[str, Any] | None = None) -> None:
        """Take it away."""
        deleter = row(type_).delete
        assert deleter is not None
        deleter(self.ask(type_, inputs or {}), id_)

    def check(self, type_: str, inputs: Mapping[str, Any]) -> list[str]:
        """What a preview says of it."""
        check = row(type_).check
        assert check is not None
        return list(check(self.ask(type_, inputs)))


def row(type_: str) -> Any:  # noqa: ANN401 — a row, or the test fails at its use
    return kubernetes.row_of(type_)


def until(holds: Callable[[], Any]) -> Any:  # noqa: ANN401 — what holds
    """Look until something holds; its value."""
    deadline = time.monotonic() + WAIT_SECONDS
    pause = threading.Event()
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never held"
        pause.wait(0.01)
    return found


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that no AWS stands behind."""
    with clusters(tmp_path) as lab:
        yield Cluster(lab, Place(account="111111111111", region=REGION))


def namespace(name: str = "storefront", **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"tier": "web", **labels}}}


def application(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 — JSON
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "storefront", "namespace": "default", "finalizers": [FINALIZER]},
        "spec": {"project": "dev", "source": {"path": "apps"}, **changes},
    }


# Objects


def test_any_kind_has_a_row_and_what_is_no_kind_has_none() -> None:
    for type_ in (NAMESPACE, APPLICATION, "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", kubernetes.RELEASE):
        assert kubernetes.row_of(type_) is not None, type_
    for type_ in (
        "kubernetes:helm.sh/v4:Chart",
        "kubernetes:yaml/v2:ConfigFile",
        "kubernetes:core/v1:NamespaceList",
        "kubernetes:core/v1:NamespacePatch",
        "aws:eks/cluster:Cluster",
    ):
        assert kubernetes.row_of(type_) is None, type_


def test_an_object_is_made_read_changed_and_deleted(here: Cluster) -> None:
    id_ = here.make(NAMESPACE, namespace())
    assert id_ == "storefront"
    here.update(NAMESPACE, id_, namespace(), namespace(tier="shop"))
    read = here.read(NAMESPACE, id_, namespace())
    assert read is not None
    assert read["metadata"] == {"name": "storefront", "labels": {"tier": "shop"}}
    here.delete(NAMESPACE, id_)
    assert here.read(NAMESPACE, id_) is None
    here.delete(NAMESPACE, id_)


def test_an_import_reads_an_object_by_its_id_alone(here: Cluster) -> None:
    here.kube.apply(definition("argoproj.io", "v1alpha1", "Application"))
    id_ = here.make(APPLICATION, application())
    assert id_ == "default/storefront"
    assert here.read(APPLICATION, id_) == application()


def test_what_others_add_to_an_object_is_no_drift_and_what_they_change_is(here: Cluster) -> None:
    declared: dict[str, Any] = {
        **namespace("roles"),
        "kind": "ClusterRoleBinding",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "subjects": [{"kind": "Group", "name": "slipway:preview"}],
    }
    type_ = "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding"
    id_ = here.make(type_, declared)
    server = {"subjects": [{"kind": "Group", "name": "slipway:preview", "apiGroup": "rbac.authorization.k8s.io"}]}
    here.kube.patch(declared["apiVersion"], declared["kind"], "roles", {**server, "metadata": {"labels": {"added": "yes"}}})
    read = here.read(type_, id_, declared)
    assert read is not None
    assert all(same(value, read[key]) for key, value in declared.items())
    more = {"subjects": [*server["subjects"], {"kind": "Group", "name": "everybody"}]}
    here.kube.patch(declared["apiVersion"], declared["kind"], "roles", {**more, "metadata": {"labels": {"tier": "other"}}})
    read = here.read(type_, id_, declared)
    assert read is not None
    assert [key for key in declared if not same(declared[key], read[key])] == ["metadata", "subjects"]


def test_an_object_that_is_there_is_taken_over(here: Cluster) -> None:
    here.make(NAMESPACE, namespace())
    assert here.make(NAMESPACE, namespace(owner="shop")) == "storefront"


def test_a_kind_whose_definition_is_not_there_is_refused_at_once_and_passes_a_preview(here: Cluster) -> None:
    assert here.check(APPLICATION, application()) == []
    wanted = re.escape(
        f"no kind Application in version argoproj.io/v1alpha1 is served by cluster {NAME}: the chart that brings its CRD must "
        "come first (depends_on)"
    )
    with pytest.raises(RealiseError, match=wanted):
        here.make(APPLICATION, application())


def test_a_namespace_that_is_not_there_passes_a_preview_and_is_refused_when_it_counts(here: Cluster) -> None:
    here.kube.apply(definition("argoproj.io", "v1alpha1", "Application"))
    inputs = {**application(), "metadata": {"name": "storefront", "namespace": "argocd"}}
    assert here.check(APPLICATION, inputs) == []
    with pytest.raises(
        RealiseError, match=f'cluster {NAME} refused Application argocd/storefront: namespaces "argocd" not found'
    ):
        here.make(APPLICATION, inputs)


def test_a_preview_tells_what_the_api_server_would_refuse_and_changes_nothing(
    here: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(here.kube.applied)
    assert here.check(NAMESPACE, namespace()) == []
    assert here.kube.applied == before

    def refuse(*_: object, **__: object) -> None:
        raise kubernetes.KubeError(
            422, "Invalid", 'failed to create typed patch object: field "spec.prune" not declared in schema'
        )

    monkeypatch.setattr(here.kube, "apply", refuse)
    (told,) = here.check(NAMESPACE, namespace())
    assert "spec.prune" in told
    with pytest.raises(RealiseError, match="refused Namespace storefront"):
        here.make(NAMESPACE, namespace())


def test_a_name_must_be_declared(here: Cluster) -> None:
    nameless: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"labels": {}}}
    assert here.check(NAMESPACE, nameless) != []
    with pytest.raises(RealiseError, match=r"metadata\.name is not declared"):
        here.make(NAMESPACE, nameless)


def test_another_name_or_an_immutable_field_replaces(here: Cluster) -> None:
    here.kube.apply(definition("argoproj.io", "v1alpha1", "Application"))
    here.kube.immutable["Application"] = ("project",)
    old, other = application(), application(project="stg")
    here.make(APPLICATION, old)

    def replaced(new: Mapping[str, Any]) -> list[str]:
        return list(kubernetes.replaces_of(here.ask(APPLICATION, new, old)))

    assert replaced(application(source={"path": "other"})) == []
    assert replaced(other) == ["spec"]
    # It is a replacement, so no fault of the declaration.
    assert here.check(APPLICATION, other) == []
    assert replaced({**old, "metadata": {"name": "invoices", "namespace": "default"}}) == ["metadata"]
    assert replaced({**old, "apiVersion": "argoproj.io/v1beta1"}) == ["apiVersion"]
    with pytest.raises(RealiseError, match="another kind, name or namespace is another object"):
        here.update(APPLICATION, "default/storefront", old, {**old, "metadata": {"name": "invoices", "namespace": "default"}})


def test_a_finalizer_that_nobody_takes_off_is_named(here: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "DELETE_SECONDS", 0.2)
    here.kube.apply(definition("argoproj.io", "v1alpha1", "Application"))
    id_ = here.make(APPLICATION, application())
    with pytest.raises(RealiseError, match=f"{FINALIZER}.*Argo CD does not run"):
        here.delete(APPLICATION, id_)


def test_deleting_ends_when_the_last_finalizer_is_off(here: Cluster) -> None:
    here.kube.apply(definition("argoproj.io", "v1alpha1", "Application"))
    id_ = here.make(APPLICATION, application())
    deleting = threading.Thread(target=here.delete, args=(APPLICATION, id_))
    deleting.start()

    def marked() -> bool:
        found = here.kube.get("argoproj.io/v1alpha1", "Application", "storefront")
        return found is not None and "deletionTimestamp" in found["metadata"]

    until(marked)
    assert deleting.is_alive()
    here.kube.patch("argoproj.io/v1alpha1", "Application", "storefront", {"metadata": {"finalizers": []}})
    deleting.join(WAIT_SECONDS)
    assert here.read(APPLICATION, id_) is None


def test_what_was_in_a_lost_cluster_is_gone_only_where_the_provider_is_told_so(here: Cluster) -> None:
    id_ = here.make(NAMESPACE, namespace())
    lost = here.ask(NAMESPACE, namespace())
    told = here.ask(NAMESPACE, namespace(), provider={"deleteUnreachable": "true"})
    here.lab.stop(NAME)
    of = row(NAMESPACE)
    with pytest.raises(RealiseError, match="unreachable"):
        of.read(lost, id_)
    with pytest.raises(RealiseError, match="unreachable"):
        of.delete(lost, id_)
    assert of.read(told, id_) is None
    of.delete(told, id_)
    # It may be made in the same run.
    assert of.check(lost) == ()


# Releases


def release(chart: pinned.Chart, space: str, values: Mapping[str, Any], **changes: Any) -> dict[str, Any]:  # noqa: ANN401 — JSON
    return {
        "name": chart.release,
        "chart": chart.name,
        "version": chart.version,
        "repositoryOpts": {"repo": chart.repository},
        "namespace": space,
        "createNamespace": True,
        "values": values,
        "atomic": True,
        "compat": "true",
        "timeout": 600.0,
        **changes,
    }


EXTERNAL: Final = release(
    pinned.EXTERNAL_SECRETS,
    "external-secrets",
    pinned.external_secrets_values(service_account="external-secrets", replicas=2),
)
BALANCER: Final = release(
    pinned.LOAD_BALANCER_CONTROLLER,
    "kube-system",
    pinned.load_balancer_controller_values(
        cluster=NAME, region=REGION, vpc_id="vpc-1", service_account="aws-load-balancer-controller", replicas=2
    ),
)
SCALER: Final = release(
    pinned.CLUSTER_AUTOSCALER,
    "kube-system",
    pinned.cluster_autoscaler_values(cluster=NAME, region=REGION, service_account="cluster-autoscaler"),
)
ARGO: Final = release(pinned.ARGO_CD, "argocd", pinned.argo_cd_values(replicas=2, ui=None))


def allow(cluster: LabCluster, space: str, account: str, role: str = "arn:aws:iam::111111111111:role/it") -> None:
    """An association, and the agent without which it means nothing."""
    cluster.record.addons[POD_IDENTITY_AGENT] = {}
    cluster.record.identities[f"a-{account}"] = {"namespace": space, "serviceAccount": account, "roleArn": role}


@pytest.mark.parametrize("declared", [EXTERNAL, BALANCER, SCALER], ids=lambda each: each["chart"])
def test_a_release_is_installed_read_upgraded_and_removed(here: Cluster, declared: dict[str, Any]) -> None:
    allow(here.there, "kube-system", "cluster-autoscaler")
    assert here.check(kubernetes.RELEASE, declared) == []
    id_ = here.make(kubernetes.RELEASE, declared)
    assert id_ == f"{declared['namespace']}/{declared['name']}"
    read = here.read(kubernetes.RELEASE, id_, declared)
    assert read is not None
    # Words to Helm, which it does not keep.
    assert {*declared} - {*read} == {"atomic", "compat", "createNamespace", "timeout"}
    assert [key for key in declared if key in read and not same(declared[key], read[key])] == []
    assert here.read(kubernetes.RELEASE, id_) == read
    other = {**declared, "values": {**declared["values"], "replicaCount": 1}}
    if declared["chart"] != "cluster-autoscaler":
        here.update(kubernetes.RELEASE, id_, declared, other)
        read = here.read(kubernetes.RELEASE, id_)
        assert read is not None
        assert read["values"]["replicaCount"] == 1
        assert read["status"]["revision"] == 2
    here.delete(kubernetes.RELEASE, id_)
    assert here.read(kubernetes.RELEASE, id_) is None
    assert here.there.controllers == {}
    # Helm leaves the namespaces that it has made.
    assert here.kube.get("v1", "Namespace", declared["namespace"]) is not None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"chart": "argo"}, "the lab knows what these do: argo-cd"),
        ({"version": "0.0.1"}, "version is '0.0.1': components/charts.py pins '2.9.0'"),
        ({"repositoryOpts": {"repo": "https://example.com"}}, "repositoryOpts.repo"),
        ({"values": {"replicas": 2}}, "values: replicas of external-secrets"),
        ({"values": {"serviceAccount": {"nmae": "x"}}}, "values: serviceAccount/nmae"),
        ({"version": None}, "version is not declared"),
    ],
)
def test_a_release_that_would_not_do_what_it_says_is_refused(here: Cluster, changes: dict[str, Any], fault: str) -> None:
    wrong = {**EXTERNAL, **changes}
    assert fault in "; ".join(here.check(kubernetes.RELEASE, wrong))
    with pytest.raises(RealiseError, match=re.escape(fault)):
        here.make(kubernetes.RELEASE, wrong)


def test_a_name_in_use_and_a_missing_namespace_are_refused(here: Cluster) -> None:
    with pytest.raises(RealiseError, match='namespaces "external-secrets" not found'):
        here.make(kubernetes.RELEASE, {**EXTERNAL, "createNamespace": False})
    here.make(kubernetes.RELEASE, EXTERNAL)
    with pytest.raises(RealiseError, match="cannot re-use a name that is still in use"):
        here.make(kubernetes.RELEASE, EXTERNAL)


def test_controllers_go_where_they_are_declared_or_not_at_all(here: Cluster) -> None:
    with pytest.raises(RealiseError, match="get no credentials: the add-on eks-pod-identity-agent is not installed"):
        here.make(kubernetes.RELEASE, SCALER)
    allow(here.there, "kube-system", "another")
    with pytest.raises(RealiseError, match="kube-system/cluster-autoscaler of slipway-dev-blue has no pod identity association"):
        here.make(kubernetes.RELEASE, SCALER)
    elsewhere = {**BALANCER, "values": {**BALANCER["values"], "clusterName": "other"}}
    with pytest.raises(RealiseError, match="clusterName is 'other'"):
        here.make(kubernetes.RELEASE, elsewhere)
    assert here.there.controllers == {}


def secret(name: str, data: Mapping[str, str], **labels: str) -> dict[str, Any]:
    packed = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    metadata = {"name": name, "namespace": "argocd", "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": packed}


def test_argo_cd_starts_before_its_kinds_are_served_and_waits_for_its_secrets(here: Cluster) -> None:
    here.make(NAMESPACE, namespace("argocd"))
    installing = threading.Thread(target=here.make, args=(kubernetes.RELEASE, ARGO))
    installing.start()

    def prepared() -> bool:
        return here.there.argocd is not None and cast("FakeArgoCD", here.there.argocd).done == ["prepare"]

    until(prepared)
    # Whoever does not wait for the release fails, every time.
    with pytest.raises(RealiseError, match="no kind Application"):
        here.make(APPLICATION, application())
    here.kube.apply(secret("slipway-webhook", {"value": "s3cret"}))
    here.kube.apply(secret("slipway-gitops-repository", {"url": "https://x"}, **{"argocd.argoproj.io/secret-type": "repository"}))
    installing.join(WAIT_SECONDS)
    argocd = cast("FakeArgoCD", here.there.argocd)
    assert argocd.done == ["prepare", "install"]
    assert argocd.given["settings"] == {"admin.enabled": "false", "webhook.maxPayloadSizeMB": "5"}
    assert argocd.given["secret"] == {"webhook.github.secret": "$slipway-webhook:value"}
    application_id = here.make(APPLICATION, application())
    here.delete(kubernetes.RELEASE, "argocd/argocd")
    assert argocd.done == ["prepare", "install", "stop"]
    # Its kinds stay, and with them what nobody removes any more.
    assert here.read(APPLICATION, application_id) is not None


def test_argo_cd_without_its_secrets_says_what_is_missing_and_leaves_nothing(
    here: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "SECRETS_SECONDS", 0.2)
    here.make(NAMESPACE, namespace("argocd"))
    with pytest.raises(
        RealiseError, match=r"waiting for Secret slipway-webhook with key value, a Secret labelled .*not installed"
    ):
        here.make(kubernetes.RELEASE, ARGO)
    assert here.there.argocd is None
    assert here.read(kubernetes.RELEASE, "argocd/argocd") is None


# External Secrets


@pytest.fixture
def played(emulators: Emulators, accounts: Accounts, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster in an account, with a role that may read the platform's secrets, and Argo CD's namespace."""
    place = Place(account=next(accounts), region=REGION)
    iam = emulators.client("iam", place.account, REGION)
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }
    role = iam.create_role(RoleName="pods", AssumeRolePolicyDocument=_document(trust))["Role"]["Arn"]
    secret_arn = f"arn:aws:secretsmanager:{REGION}:{place.account}:secret:slipway/argocd/*"
    groups = f"arn:aws:elasticloadbalancing:{REGION}:{place.account}:targetgroup/*/*"
    rights = (
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret_arn},
        {"Effect": "Allow", "Action": "elasticloadbalancing:Describe*", "Resource": "*"},
        {"Effect": "Allow", "Action": "elasticloadbalancing:*Targets", "Resource": groups},
    )
    iam.put_role_policy(RoleName="pods", PolicyName="read", PolicyDocument=_document(*rights))
    manager = emulators.client("secretsmanager", place.account, REGION)
    for name in ("slipway/argocd/reader", "slipway/other"):
        manager.create_secret(Name=name, SecretString="a key")
    with clusters(tmp_path, emulators) as lab:
        made = Cluster(lab, place)
        allow(made.there, "external-secrets", "external-secrets", role)
        made.make(NAMESPACE, namespace("argocd"))
        yield made


def _document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def store(**aws: str) -> dict[str, Any]:
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStore",
        "metadata": {"name": "slipway", "namespace": "argocd"},
        "spec": {"provider": {"aws": {"service": "SecretsManager", "region": REGION, **aws}}},
    }


def external(key: str = "slipway/argocd/reader", template: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": "repository", "namespace": "argocd"},
        "spec": {
            "refreshInterval": "5m",
            "secretStoreRef": {"kind": "SecretStore", "name": "slipway"},
            "target": {"name": "repository", "template": {"engineVersion": "v2", **(template or {})}},
            "data": [{"secretKey": "value", "remoteRef": {"key": key}}],
        },
    }


def synced(cluster: Cluster) -> dict[str, Any] | None:
    """The condition of the ExternalSecret."""
    found = cluster.kube.get("external-secrets.io/v1", "ExternalSecret", "repository", "argocd") or {}
    conditions = found.get("status", {}).get("conditions", [])
    return cast("dict[str, Any]", conditions[0]) if conditions else None


def made_secret(cluster: Cluster) -> dict[str, Any] | None:
    return cluster.kube.get("v1", "Secret", "repository", "argocd")


def value(cluster: Cluster, key: str = "value") -> str:
    found = made_secret(cluster)
    return base64.b64decode(found["data"][key]).decode() if found else ""


def test_a_secret_follows_the_one_in_secrets_manager_and_goes_with_its_external_secret(played: Cluster) -> None:
    played.make(kubernetes.RELEASE, EXTERNAL)
    template = {
        "metadata": {"labels": {"argocd.argoproj.io/secret-type": "repository"}},
        "data": {"type": "git", "githubAppPrivateKey": "{{ .value }}"},
    }
    played.make(STORE, store())
    id_ = played.make(EXTERNAL_SECRET, external(template=template))
    condition = until(lambda: synced(played))
    assert (condition["status"], condition["reason"]) == ("True", "SecretSynced")
    there = made_secret(played)
    assert there is not None
    assert {*there["data"]} == {"type", "githubAppPrivateKey"}
    assert value(played, "githubAppPrivateKey") == "a key"
    assert there["metadata"]["labels"]["argocd.argoproj.io/secret-type"] == "repository"
    # What somebody deletes comes back.
    played.kube.delete("v1", "Secret", "repository", "argocd")
    until(lambda: made_secret(played))
    played.delete(EXTERNAL_SECRET, id_)
    assert made_secret(played) is None


def test_a_new_value_comes_with_the_interval_or_when_it_is_asked_for(played: Cluster) -> None:
    played.make(kubernetes.RELEASE, EXTERNAL)
    played.make(STORE, store())
    played.make(EXTERNAL_SECRET, external())
    until(lambda: value(played) == "a key")
    manager = played.there.emulators.client("secretsmanager", played.place.account, REGION)
    manager.put_secret_value(SecretId="slipway/argocd/reader", SecretString="another")
    force = {"metadata": {"annotations": {"force-sync": "1"}}}
    played.kube.patch("external-secrets.io/v1", "ExternalSecret", "repository", force, "argocd")
    until(lambda: value(played) == "another")
    manager.put_secret_value(SecretId="slipway/argocd/reader", SecretString="a third")
    declared = external()
    declared["spec"]["refreshInterval"] = "300ms"
    played.make(EXTERNAL_SECRET, declared)
    until(lambda: value(played) == "a third")


@pytest.mark.parametrize(
    ("given", "stored", "fault"),
    [
        (external("slipway/other"), store(), "AccessDenied"),
        (external("slipway/argocd/none"), store(), "ResourceNotFound"),
        (external(template={"data": {"key": "{{ .other }}"}}), store(), 'no entry for key "other"'),
        (external(template={"data": {"key": "{{ .value | upper }}"}}), store(), "no functions"),
        (external(template={"templateFrom": []}), store(), "templateFrom is not played"),
        (external(template={"engineVersion": "v1"}), store(), "engineVersion is v1"),
        (external(), store(service="ParameterStore"), "service is ParameterStore"),
        (external(), store(role="arn:aws:iam::111111111111:role/x"), "role is not played"),
    ],
)
def test_a_secret_that_cannot_be_made_says_why(
    played: Cluster, given: dict[str, Any], stored: dict[str, Any], fault: str
) -> None:
    played.make(kubernetes.RELEASE, EXTERNAL)
    played.make(STORE, stored)
    id_ = played.make(EXTERNAL_SECRET, given)
    condition = until(lambda: synced(played))
    assert (condition["status"], condition["reason"]) == ("False", "SecretSyncedError")
    assert fault in condition["message"]
    assert made_secret(played) is None
    played.delete(EXTERNAL_SECRET, id_)


def test_a_secret_is_tried_again_until_it_can_be_made(played: Cluster) -> None:
    played.make(kubernetes.RELEASE, EXTERNAL)
    association = played.there.record.identities.pop("a-external-secrets")
    played.make(EXTERNAL_SECRET, external())
    until(lambda: synced(played))
    played.make(STORE, store())
    played.there.record.identities["a-external-secrets"] = association
    until(lambda: (synced(played) or {})["status"] == "True")
    assert value(played) == "a key"


def test_an_external_secret_hangs_when_its_controller_went_first(played: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "DELETE_SECONDS", 0.2)
    played.make(kubernetes.RELEASE, EXTERNAL)
    played.make(STORE, store())
    id_ = played.make(EXTERNAL_SECRET, external())
    until(lambda: synced(played))
    played.there.halt(secrets.NAME)
    with pytest.raises(RealiseError, match=f"{secrets.FINALIZER}.*Controllers that run: none"):
        played.delete(EXTERNAL_SECRET, id_)


# Target groups


def binding(arn: str, name: str = "storefront", **spec: Any) -> dict[str, Any]:  # noqa: ANN401 — JSON
    return {
        "apiVersion": "elbv2.k8s.aws/v1beta1",
        "kind": "TargetGroupBinding",
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {"serviceRef": {"name": "argocd-server", "port": 80}, "targetGroupARN": arn, "targetType": "ip", **spec},
    }


@pytest.fixture
def balanced(played: Cluster) -> tuple[Cluster, str, str]:
    """The cluster with the controller, a target group and its VPC."""
    emulators, place = played.there.emulators, played.place
    vpc = emulators.client("ec2", place.account, REGION).create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = emulators.client("elbv2", place.account, REGION).create_target_group(
        Name="blue", Protocol="HTTP", Port=8080, VpcId=vpc, TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    role = played.there.role_of("external-secrets", "external-secrets")
    allow(played.there, "kube-system", "aws-load-balancer-controller", role)
    played.make(kubernetes.RELEASE, BALANCER)
    return played, group, vpc


def bound(cluster: Cluster, name: str = "storefront") -> str | None:
    """Fault of a binding once it was looked at."""
    return cluster.there.bindings.get(("argocd", name))


def test_a_binding_is_served_and_held_until_its_controller_lets_go(balanced: tuple[Cluster, str, str]) -> None:
    cluster, group, vpc = balanced
    id_ = cluster.make(BINDING, binding(group, vpcID=vpc))
    until(lambda: bound(cluster) is not None)
    assert not bound(cluster)
    live = cluster.kube.get("elbv2.k8s.aws/v1beta1", "TargetGroupBinding", "storefront", "argocd")
    assert live is not None
    assert live["metadata"]["finalizers"] == [bindings.FINALIZER]
    # The controller's own doing is no drift.
    read = cluster.read(BINDING, id_, binding(group, vpcID=vpc))
    assert read is not None
    assert all(same(value, read[key]) for key, value in binding(group, vpcID=vpc).items())
    cluster.delete(BINDING, id_)
    until(lambda: bound(cluster) is None)


def test_a_binding_hangs_when_its_controller_went_first(
    balanced: tuple[Cluster, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, group, vpc = balanced
    id_ = cluster.make(BINDING, binding(group, vpcID=vpc))
    until(lambda: bound(cluster) is not None)
    cluster.delete(kubernetes.RELEASE, "kube-system/aws-load-balancer-controller")
    monkeypatch.setattr(kubernetes, "DELETE_SECONDS", 0.2)
    with pytest.raises(RealiseError, match=bindings.FINALIZER):
        cluster.delete(BINDING, id_)


def test_a_second_binding_of_a_target_group_is_refused(balanced: tuple[Cluster, str, str]) -> None:
    cluster, group, _ = balanced
    cluster.make(BINDING, binding(group))
    # Itself again is no second one.
    cluster.make(BINDING, binding(group))
    with pytest.raises(RealiseError, match="is already bound to following TargetGroupBinding argocd/storefront"):
        cluster.make(BINDING, binding(group, "other"))


def test_a_binding_that_cannot_be_served_says_why(balanced: tuple[Cluster, str, str]) -> None:
    cluster, group, _ = balanced
    cluster.make(BINDING, binding(group.replace("/blue/", "/red/")))
    assert "TargetGroupNotFound" in until(lambda: bound(cluster))
    cluster.make(BINDING, binding(group, "elsewhere", vpcID="vpc-0"))
    assert "spec.vpcID is vpc-0" in until(lambda: bound(cluster, "elsewhere"))


def test_a_binding_needs_the_rights_of_its_controllers_role(balanced: tuple[Cluster, str, str]) -> None:
    cluster, group, vpc = balanced
    iam = cluster.there.emulators.client("iam", cluster.place.account, REGION)
    few = {"Effect": "Allow", "Action": "elasticloadbalancing:Describe*", "Resource": "*"}
    iam.put_role_policy(RoleName="pods", PolicyName="read", PolicyDocument=_document(few))
    cluster.make(BINDING, binding(group, vpcID=vpc))
    assert "may not elasticloadbalancing:RegisterTargets" in until(lambda: bound(cluster))
