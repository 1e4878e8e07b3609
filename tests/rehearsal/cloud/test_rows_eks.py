"""EKS by the table: what AWS would refuse is refused, and all can be read, changed and taken away again."""

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import pytest

from rehearsal.cloud import MOTO, Ask, Emulators, Place, RealiseError
from rehearsal.cloud.row import same
from rehearsal.cloud.rows import eks
from rehearsal.program import Request
from tests.rehearsal.cloud.kit import REGION, Accounts
from tests.rehearsal.lab.fake import FakePlane, clusters

CLUSTER: Final = "aws:eks/cluster:Cluster"
ADDON: Final = "aws:eks/addon:Addon"
ENTRY: Final = "aws:eks/accessEntry:AccessEntry"
GROUP: Final = "aws:eks/nodeGroup:NodeGroup"
POLICY: Final = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
IDENTITY: Final = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
ADMIN: Final = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
NAME: Final = "slipway-dev-blue"
DEPLOY: Final = "arn:aws:iam::111111111111:role/slipway-deploy"


class Account:
    """An account with a network and roles, and a lab of fakes for it."""

    def __init__(self, emulators: Emulators, account: str) -> None:
        """Make them."""
        self.emulators, self.place = emulators, Place(account=account, region=REGION)
        self.lab: Any = None
        self.roles = itertools.count()
        ec2 = self.client("ec2")
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"][
                "SubnetId"
            ]
            for number, zone in enumerate("ab")
        ]
        self.template = ec2.create_launch_template(LaunchTemplateName=NAME, LaunchTemplateData={})["LaunchTemplate"][
            "LaunchTemplateId"
        ]
        source = {"ArnEquals": {"aws:SourceArn": f"arn:aws:eks:{REGION}:{account}:cluster/{NAME}"}}
        self.control = self.role("control", "eks.amazonaws.com", source)
        self.nodes = self.role("nodes", "ec2.amazonaws.com")
        self.pods = self.role("pods", "pods.eks.amazonaws.com", source, actions=["sts:AssumeRole", "sts:TagSession"])
        self.client("iam").attach_role_policy(
            RoleName=self.nodes.rpartition("/")[2], PolicyArn="arn:aws:iam::aws:policy/AmazonEKSWorkerNodeMinimalPolicy"
        )

    def client(self, service: str) -> Any:  # noqa: ANN401 — boto3's
        """A client in the account."""
        emulator = MOTO if service == "eks" else ""
        return self.emulators.client(service, self.place.account, self.place.region, emulator=emulator)

    def clear(self) -> None:
        """Take away what a test has left."""
        there = self.client("eks")
        for name in there.list_clusters()["clusters"]:
            for group in there.list_nodegroups(clusterName=name)["nodegroups"]:
                there.delete_nodegroup(clusterName=name, nodegroupName=group)
            there.delete_cluster(name=name)
        for each in self.groups():
            self.client("ec2").delete_security_group(GroupId=each["GroupId"])

    def groups(self) -> list[dict[str, Any]]:
        """Security groups beside the network's own."""
        wanted = [{"Name": "vpc-id", "Values": [self.vpc]}]
        there = self.client("ec2").describe_security_groups(Filters=wanted)["SecurityGroups"]
        return [each for each in there if each["GroupName"] != "default"]

    def role(self, name: str, service: str, condition: Mapping[str, Any] | None = None, actions: list[str] | None = None) -> str:
        """A role that lets a service in; answers with its ARN."""
        statement: dict[str, Any] = {
            "Sid": "Trust",
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": actions or ["sts:AssumeRole"],
            **({"Condition": condition} if condition else {}),
        }
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        return str(
            self.client("iam").create_role(RoleName=f"{name}-{next(self.roles)}", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        )

    def inputs(self, type_: str) -> dict[str, Any]:
        """What the program declares of a type, in this account."""
        here = {"clusterName": NAME}
        declared: dict[str, dict[str, Any]] = {
            CLUSTER: {
                "name": NAME,
                "version": "1.35",
                "roleArn": self.control,
                "vpcConfig": {
                    "subnetIds": self.subnets,
                    "endpointPrivateAccess": True,
                    "endpointPublicAccess": True,
                    "publicAccessCidrs": ["192.0.2.0/24"],
                },
                "accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
                "enabledClusterLogTypes": ["api", "audit", "authenticator"],
                "deletionProtection": False,
                "tags": {"team": "platform"},
            },
            GROUP: {
                **here,
                "nodeGroupNamePrefix": f"{NAME}-",
                "nodeRoleArn": self.nodes,
                "subnetIds": self.subnets,
                "amiType": "AL2023_ARM_64_STANDARD",
                "instanceTypes": ["m7g.large"],
                "launchTemplate": {"id": self.template, "version": "1"},
                "scalingConfig": {"minSize": 2.0, "maxSize": 6.0, "desiredSize": 2.0},
                "updateConfig": {"maxUnavailablePercentage": 33.0},
            },
            ADDON: {
                **here,
                "addonName": "vpc-cni",
                "configurationValues": json.dumps({"enableNetworkPolicy": "true"}),
                "resolveConflictsOnCreate": "OVERWRITE",
                "resolveConflictsOnUpdate": "OVERWRITE",
            },
            ENTRY: {**here, "principalArn": DEPLOY, "kubernetesGroups": ["slipway:preview"]},
            POLICY: {**here, "principalArn": DEPLOY, "policyArn": ADMIN, "accessScope": {"type": "cluster"}},
            IDENTITY: {**here, "namespace": "external-secrets", "serviceAccount": "external-secrets", "roleArn": self.pods},
        }
        return declared[type_]

    def ask(self, type_: str, inputs: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> Ask:
        """What a row is asked."""
        request = Request(stack="dev", type=type_, name="blue", inputs=dict(inputs), custom=True, parent="")
        return Ask(request=request, place=self.place, emulators=self.emulators, lab=self.lab, old=old or {})

    def make(self, type_: str, **changes: Any) -> str:  # noqa: ANN401 — JSON
        """Make what the program declares, with changes; answers with its id. Nothing of it is dropped."""
        ask = self.ask(type_, {**self.inputs(type_), **changes})
        created = eks.ROWS[type_].create(ask)
        assert ask.inputs.unread() == []
        return created.id

    def read(self, type_: str, id_: str, inputs: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
        """What stands under an id; with `inputs`, as a refresh asks for it."""
        reader = eks.ROWS[type_].read
        assert reader is not None
        return reader(self.ask(type_, inputs or {}), id_)

    def update(self, type_: str, id_: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 — JSON
        """Change what the program declares."""
        updater = eks.ROWS[type_].update
        assert updater is not None
        inputs = {**self.inputs(type_), **changes}
        changed = updater(self.ask(type_, inputs, self.inputs(type_)), id_)
        assert changed.id == id_
        return inputs

    def delete(self, type_: str, id_: str) -> None:
        """Take it away."""
        deleter = eks.ROWS[type_].delete
        assert deleter is not None
        deleter(self.ask(type_, {}), id_)


@pytest.fixture(scope="module")
def account(emulators: Emulators, accounts: Accounts) -> Account:
    """The account of all tests here: clients of a new one take longer than a test."""
    return Account(emulators, next(accounts))


@pytest.fixture
def here(account: Account, tmp_path: Path) -> Iterator[Account]:
    """The account without clusters, and a lab of its own for the test."""
    with clusters(tmp_path, account.emulators) as lab:
        account.lab = lab
        yield account
    account.clear()


# In the order in which the program makes them; what cannot be read back of each.
LOST: Final[Mapping[str, frozenset[str]]] = {
    CLUSTER: frozenset(),
    ENTRY: frozenset(),
    POLICY: frozenset(),
    GROUP: frozenset(),
    ADDON: frozenset({"resolveConflictsOnCreate", "resolveConflictsOnUpdate"}),
    IDENTITY: frozenset(),
}


def test_what_was_made_is_read_back_by_its_id_alone_and_goes_in_the_reverse_order(here: Account) -> None:
    made = [(type_, here.make(type_)) for type_ in LOST]
    assert {*LOST} == {*eks.ROWS}
    for type_, id_ in made:
        declared = here.inputs(type_)
        read = here.read(type_, id_, declared)
        assert read is not None
        assert {*declared} - {*read} == LOST[type_], type_
        assert [key for key in declared if key in read and not same(declared[key], read[key])] == [], type_
        imported = here.read(type_, id_)
        assert imported is not None
        # A prefix is the engine's word for a name.
        assert {*declared} - {*imported} - {"nodeGroupNamePrefix"} == LOST[type_], type_
    for type_, id_ in reversed(made):
        here.delete(type_, id_)
        assert here.read(type_, id_) is None
        # What is gone already is no error.
        here.delete(type_, id_)
    assert here.lab.find(NAME) is None
    assert here.groups() == []


def test_a_cluster_is_reached_and_has_a_tagged_group(here: Account) -> None:
    created = eks.ROWS[CLUSTER].create(here.ask(CLUSTER, here.inputs(CLUSTER)))
    cluster = here.lab.get(NAME)
    assert created.outputs["endpoint"] == cluster.server
    assert created.outputs["certificateAuthority"] == {"data": "Y2E="}
    assert created.outputs["arn"] == f"arn:aws:eks:{REGION}:{here.place.account}:cluster/{NAME}"
    group = created.outputs["vpcConfig"]["clusterSecurityGroupId"]
    (there,) = here.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert there["VpcId"] == here.vpc
    assert {"Key": f"kubernetes.io/cluster/{NAME}", "Value": "owned"} in there["Tags"]


@pytest.mark.parametrize(
    ("type_", "changes"),
    [
        (CLUSTER, {"version": "1.36"}),
        (CLUSTER, {"deletionProtection": True}),
        (CLUSTER, {"enabledClusterLogTypes": ["audit"]}),
        (CLUSTER, {"tags": {"team": "shop"}}),
        (CLUSTER, {"tags": {}}),
        (GROUP, {"scalingConfig": {"minSize": 1.0, "maxSize": 4.0, "desiredSize": 4.0}}),
        (GROUP, {"updateConfig": {"maxUnavailable": 1.0}}),
        (GROUP, {"labels": {"tier": "web"}}),
        (ADDON, {"configurationValues": json.dumps({"enableNetworkPolicy": "false"})}),
        (ADDON, {"configurationValues": None}),
        (ENTRY, {"kubernetesGroups": ["others"]}),
    ],
)
def test_a_change_is_read_back_and_touches_nothing_else(here: Account, type_: str, changes: Mapping[str, Any]) -> None:
    ids = {each: here.make(each) for each in LOST}
    before = {each: here.read(each, ids[each], here.inputs(each)) for each in LOST}
    inputs = here.update(type_, ids[type_], **changes)
    for each in LOST:
        declared = inputs if each == type_ else here.inputs(each)
        read, was = here.read(each, ids[each], declared), before[each]
        assert read is not None
        assert was is not None
        wanted = {key: value for key, value in {**was, **(changes if each == type_ else {})}.items() if value is not None}
        assert [key for key in {*wanted, *read} if not same(wanted.get(key), read.get(key))] == []


def test_a_pods_role_can_be_another(here: Account) -> None:
    here.make(CLUSTER)
    id_ = here.make(IDENTITY)
    other = here.role("others", "pods.eks.amazonaws.com", actions=["sts:AssumeRole", "sts:TagSession"])
    here.update(IDENTITY, id_, roleArn=other)
    read = here.read(IDENTITY, f"{NAME},{id_}")
    assert read is not None
    assert read["roleArn"] == other
    here.make(ADDON, addonName="eks-pod-identity-agent")
    assert here.lab.get(NAME).role_of("external-secrets", "external-secrets") == other


def test_ranges_of_the_endpoint_can_be_others(here: Account) -> None:
    id_ = here.make(CLUSTER)
    network = {**here.inputs(CLUSTER)["vpcConfig"], "publicAccessCidrs": ["198.51.100.0/24"]}
    declared = here.update(CLUSTER, id_, vpcConfig=network)
    read = here.read(CLUSTER, id_, declared)
    assert read is not None
    assert read["vpcConfig"] == network


def test_nodes_follow_the_group(here: Account) -> None:
    here.make(CLUSTER)
    id_ = here.make(GROUP)
    name = id_.partition(":")[2]
    assert name.startswith(f"{NAME}-")
    cluster = here.lab.get(NAME)
    assert len(cluster.nodes(name)) == 2
    here.update(GROUP, id_, scalingConfig={"minSize": 1, "maxSize": 4, "desiredSize": 1})
    assert len(cluster.nodes(name)) == 1
    here.delete(GROUP, id_)
    assert cluster.nodes(name) == []


@pytest.mark.parametrize(
    ("type_", "changes", "fault"),
    [
        (CLUSTER, {}, "Cluster already exists"),
        (CLUSTER, {"name": "no good!"}, "AWS would refuse eks:CreateCluster: name is 'no good!'"),
        (CLUSTER, {"enabledClusterLogTypes": ["everything"]}, "everything"),
        (CLUSTER, {"accessConfig": {"authenticationMode": "IAM"}}, "authenticationMode is 'IAM'"),
        (GROUP, {"amiType": "AL2"}, "amiType is 'AL2'"),
        (GROUP, {"clusterName": "other"}, "No cluster found for name: other"),
        (GROUP, {"nodeGroupNamePrefix": "x" * 60}, "63 are allowed"),
        (GROUP, {"scalingConfig": {"minSize": 3, "maxSize": 6, "desiredSize": 2}}, "desiredSize must lie between"),
        (GROUP, {"launchTemplate": {"id": "lt-0123456789abcdef0"}}, "launch"),
        (ADDON, {"addonName": "vpc-cnl"}, "Addon vpc-cnl specified is not supported"),
        (ADDON, {"configurationValues": "{"}, "is no JSON"),
        (ADDON, {"resolveConflictsOnCreate": "WIN"}, "resolveConflicts is 'WIN'"),
        (ADDON, {"clusterName": "other"}, "No cluster found for name: other"),
        (ENTRY, {"kubernetesGroups": ["system:masters"]}, "cannot start with system:"),
        (POLICY, {"principalArn": f"{DEPLOY}2"}, "has no access entry"),
        (POLICY, {"policyArn": f"{ADMIN}2"}, "is not"),
        (POLICY, {"accessScope": {"type": "world"}}, "type is 'world'"),
        (IDENTITY, {"clusterName": "other"}, "No cluster found for name: other"),
    ],
)
def test_what_aws_would_refuse_is_refused(here: Account, type_: str, changes: Mapping[str, Any], fault: str) -> None:
    here.make(CLUSTER)
    if type_ == POLICY:
        here.make(ENTRY)
    with pytest.raises(RealiseError, match=fault):
        here.make(type_, **changes)


@pytest.mark.parametrize("type_", [ADDON, ENTRY, IDENTITY])
def test_nothing_is_made_twice(here: Account, type_: str) -> None:
    here.make(CLUSTER)
    here.make(type_)
    with pytest.raises(RealiseError, match="ResourceInUseException"):
        here.make(type_)


@pytest.mark.parametrize(
    ("type_", "key", "service", "actions"),
    [
        (CLUSTER, "roleArn", "ec2.amazonaws.com", ["sts:AssumeRole"]),
        (GROUP, "nodeRoleArn", "eks.amazonaws.com", ["sts:AssumeRole"]),
        (IDENTITY, "roleArn", "eks.amazonaws.com", ["sts:AssumeRole", "sts:TagSession"]),
        # Credentials come with tags.
        (IDENTITY, "roleArn", "pods.eks.amazonaws.com", ["sts:AssumeRole"]),
    ],
)
def test_a_role_must_let_its_service_in(here: Account, type_: str, key: str, service: str, actions: list[str]) -> None:
    if type_ != CLUSTER:
        here.make(CLUSTER)
    wrong = here.role("wrong", service, actions=actions)
    with pytest.raises(RealiseError, match="let it in by the role's trust policy"):
        here.make(type_, **{key: wrong})


def test_a_role_that_trusts_another_cluster_alone_is_refused(here: Account) -> None:
    source = {"ArnEquals": {"aws:SourceArn": f"arn:aws:eks:{REGION}:{here.place.account}:cluster/other"}}
    wrong = here.role("wrong", "pods.eks.amazonaws.com", source, actions=["sts:AssumeRole", "sts:TagSession"])
    here.make(CLUSTER)
    with pytest.raises(RealiseError, match=r"pods\.eks\.amazonaws\.com may not sts:AssumeRole"):
        here.make(IDENTITY, roleArn=wrong)


def test_ec2_names_no_source_when_it_takes_a_role_on(here: Account) -> None:
    wrong = here.role("wrong", "ec2.amazonaws.com", {"StringEquals": {"aws:SourceAccount": here.place.account}})
    here.make(CLUSTER)
    with pytest.raises(RealiseError, match=r"ec2\.amazonaws\.com may not"):
        here.make(GROUP, nodeRoleArn=wrong)


def test_nodes_without_their_policy_never_join(here: Account) -> None:
    early = here.role("early", "ec2.amazonaws.com")
    here.make(CLUSTER)
    with pytest.raises(RealiseError, match="NodeCreationFailure"):
        here.make(GROUP, nodeRoleArn=early)


def test_a_cluster_goes_after_its_nodes(here: Account) -> None:
    cluster = here.make(CLUSTER)
    group = here.make(GROUP)
    with pytest.raises(RealiseError, match="ResourceInUseException"):
        here.delete(CLUSTER, cluster)
    assert cast("FakePlane", here.lab.get(NAME).control_plane).running
    here.delete(GROUP, group)
    here.delete(CLUSTER, cluster)


def test_a_protected_cluster_stays(here: Account) -> None:
    cluster = here.make(CLUSTER, deletionProtection=True)
    with pytest.raises(RealiseError, match="deletion protection is on"):
        here.delete(CLUSTER, cluster)
    here.update(CLUSTER, cluster, deletionProtection=False)
    # The row compares with what the program declares: nothing has changed there.
    assert here.lab.get(NAME).record.settings["deletionProtection"] is True


@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_versions_go_up_one_by_one(here: Account, version: str) -> None:
    cluster = here.make(CLUSTER)
    with pytest.raises(RealiseError, match=f"from 1.35 to {version}"):
        here.update(CLUSTER, cluster, version=version)


def test_entries_need_a_cluster_that_asks_for_them(here: Account) -> None:
    here.make(CLUSTER, accessConfig={"authenticationMode": "CONFIG_MAP"})
    with pytest.raises(RealiseError, match="authentication mode must be set to"):
        here.make(ENTRY)


def test_there_is_no_way_back_from_entries(here: Account) -> None:
    cluster = here.make(CLUSTER)
    with pytest.raises(RealiseError, match="from API to CONFIG_MAP"):
        here.update(CLUSTER, cluster, accessConfig={"authenticationMode": "CONFIG_MAP"})


def test_policies_go_with_their_entry(here: Account) -> None:
    here.make(CLUSTER)
    entry, policy = here.make(ENTRY), here.make(POLICY)
    here.delete(ENTRY, entry)
    assert here.read(POLICY, policy) is None


def test_subnets_lie_in_two_zones(here: Account) -> None:
    network = {**here.inputs(CLUSTER)["vpcConfig"], "subnetIds": here.subnets[:1]}
    with pytest.raises(RealiseError, match="at least two different AZs"):
        here.make(CLUSTER, vpcConfig=network)


def test_a_cluster_whose_control_plane_does_not_start_leaves_nothing(account: Account, tmp_path: Path) -> None:
    class Failing(FakePlane):
        def start(self) -> None:
            msg = "no room"
            raise OSError(msg)

    with clusters(tmp_path, account.emulators, Failing) as account.lab, pytest.raises(RealiseError, match="no room"):
        account.make(CLUSTER)
    assert account.client("eks").list_clusters()["clusters"] == []
    assert account.groups() == []
