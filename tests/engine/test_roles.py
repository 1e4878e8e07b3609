"""The deploy role and the preview role under the real engine: an action that is missing from a role ends the run by its name.

The administrator makes the stack's first `up`, unless another file of this folder has had it made. Every test finds it whole.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from components import naming
from rehearsal.engine.cli import ADMINISTRATOR, DEPLOY, PREVIEW, EngineError
from rehearsal.engine.play import unchanged
from rehearsal.engine.stage import EngineStage
from rehearsal.lab.kube import KubeError
from rehearsal.program import Declared, Program
from tests.engine.conftest import STACK, Copy
from tests.roles.asks import asks_of, guarded, refusals
from tests.roles.needs import TABLE, Place

NAMESPACE: Final = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "by-preview"}}
_STATED: Final = "def deploy_statements("
# Put in front of the function that states what the deploy role may do.
_CHANGED: Final = """def deploy_statements(*args, **more):
    return [{change} for each in as_declared(*args, **more)]{beside}


def as_declared("""
_MORE: Final = '    Service("reports", ServiceArgs(platform=platform, repository="reports", port=8080))\n'


def change(copy: Copy, each: str, *, beside: str = "") -> None:
    """Change the deploy role's statements in the copy, and make that so, as only an administrator can."""
    copy.plant("components/ci_access.py", _STATED, _CHANGED.format(change=each, beside=beside))
    copy.stage.engine.up(STACK, role=ADMINISTRATOR)


def refusal(copy: Copy, *options: str) -> str:
    """What an `up` of the broken program by the deploy role is refused with."""
    with pytest.raises(EngineError) as caught:
        copy.stage.engine.up(STACK, *options)
    assert naming.role(STACK, "deploy") in caught.value.outcome.caller
    return " ".join(str(caught.value).split())


@pytest.fixture(scope="module")
def grown(lab: EngineStage) -> Program:
    """The stack after its first `up`."""
    return lab.realise(STACK)


@pytest.fixture(autouse=True)
def whole(grown: Program, copy: Copy) -> Iterator[None]:
    """Every test finds the roles as they are declared, and leaves them so."""
    del grown
    yield
    if copy.is_broken:
        copy.mend()
        copy.stage.engine.up(STACK, role=ADMINISTRATOR)


def test_the_first_up_is_an_administrator_s_and_what_comes_later_the_roles(lab: EngineStage) -> None:
    first = next(each for each in lab.outcomes if (each.stack, each.command) == (STACK, "up"))
    assert f"assumed-role/{lab.administrator(STACK).rpartition('/')[2]}/administrator-" in first.caller
    preview = lab.engine.preview(STACK)
    unchanged(preview)
    assert f"assumed-role/{naming.role(STACK, 'preview')}/preview-" in preview.caller
    assert f"assumed-role/{naming.role(STACK, 'deploy')}/deploy-" in lab.engine.up(STACK).caller
    assert f"assumed-role/{naming.role(STACK, 'deploy')}/deploy-" in lab.engine.refresh(STACK).caller


def as_listed(each: Declared) -> Declared:
    """Return a resource in the words of the list, which knows a cluster as pulumi_eks takes it: with a role, not its ARN."""
    role = str(each.inputs.get("roleArn", "")).rpartition("/")[2]
    return (
        replace(each, inputs={**each.inputs, "serviceRole": {"id": role}}) if each.type.startswith("aws:eks/cluster:") else each
    )


def test_the_roles_that_stand_allow_all_that_handling_what_stands_needs(lab: EngineStage) -> None:
    program, here = lab.engine.program(STACK), lab.place(STACK)
    place = Place(account=here.account, region=here.region)
    found = [each for each in program.resources if each.custom and each.type.startswith("aws:")]
    asked = [
        ask
        for each in found
        if not guarded(each, place, STACK)
        for ask in asks_of(as_listed(each), TABLE[each.type], place, STACK)
    ]
    assert len({ask.who for ask in asked}) > 100, "the state is not read as it is"
    for purpose, those in ((DEPLOY, asked), (PREVIEW, [ask for ask in asked if ask.verb == "read" and not ask.hidden])):
        identity = lab.identities.caller(lab.identify(STACK, purpose)[0]).identity
        assert not refusals(identity, those), purpose


def test_without_get_role_on_the_service_linked_role_no_node_group_is_made(copy: Copy) -> None:
    ours = "f'arn:aws:iam::{args[0]}:role/slipway-*'"
    change(copy, f"{{**each, 'Resource': [{ours}]}} if 'iam:GetRole' in each['Action'] else each")
    # Nodes of another type are another node group.
    copy.plant("components/cluster.py", "instance_types=list(nodes.instance_types)", 'instance_types=["m7i.2xlarge"]')
    said = refusal(copy)
    assert "is not authorized to perform: iam:GetRole on resource: arn:aws:iam::" in said
    assert ":role/aws-service-role/eks-nodegroup.amazonaws.com/AWSServiceRoleForAmazonEKSNodegroup" in said


def test_without_untag_policy_no_tag_of_a_policy_goes(copy: Copy) -> None:
    tagged = 'f"{name}-boundary",\n            tags={"team": "platform"},'
    copy.plant("components/ci_access.py", 'f"{name}-boundary",', tagged)
    change(copy, "{**each, 'Action': [one for one in each['Action'] if one != 'iam:UntagPolicy']}")
    copy.plant("components/ci_access.py", tagged, 'f"{name}-boundary",')
    said = refusal(copy)
    assert "is not authorized to perform: iam:UntagPolicy on resource: arn:aws:iam::" in said
    assert naming.role(STACK, "boundary") in said


def test_an_action_of_ec2_that_is_denied_ends_the_up_that_needs_it(copy: Copy) -> None:
    denial = "{'Sid': 'Planted', 'Effect': 'Deny', 'Action': ['ec2:CreateLaunchTemplateVersion'], 'Resource': '*'}"
    change(copy, "each", beside=f" + [{denial}]")
    copy.plant("components/cluster.py", '"http_put_response_hop_limit": 1', '"http_put_response_hop_limit": 2')
    said = refusal(copy)
    assert "is not authorized to perform: ec2:CreateLaunchTemplateVersion on resource: arn:aws:ec2:" in said
    assert "with an explicit deny in an identity-based policy: statement Planted" in said


def test_the_deploy_role_cannot_change_itself(copy: Copy) -> None:
    copy.plant("components/ci_access.py", _STATED, _CHANGED.format(change="each", beside="[:-1]"))
    said = refusal(copy)
    assert f"role/{naming.role(STACK, 'deploy')} with an explicit deny in a permissions boundary" in said


def test_the_preview_role_shows_a_new_service_and_creates_nothing_of_it(copy: Copy, lab: EngineStage) -> None:
    copy.append("services.py", _MORE)
    assert lab.engine.preview(STACK).of("create")
    outcome = lab.engine.up(STACK, "--continue-on-error", role=PREVIEW, check=False)
    assert outcome.code != 0
    said = " ".join(" ".join(outcome.diagnostics).split())
    assert f"assumed-role/{naming.role(STACK, 'preview')}/" in said
    assert "is not authorized to perform: ecr:CreateRepository" in said
    names = [each["repositoryName"] for each in lab.client(STACK, "ecr").describe_repositories()["repositories"]]
    assert not [each for each in names if each.endswith("/reports")]


def test_the_cluster_lets_the_preview_role_try_and_not_make(lab: EngineStage) -> None:
    kube = lab.cluster(STACK).kube_of(lab.identities.caller(lab.identify(STACK, PREVIEW)[0]))
    kube.apply(NAMESPACE, dry_run=True)
    with pytest.raises(KubeError, match=r"only tries changes \(dry run\)"):
        kube.apply(NAMESPACE)
    with pytest.raises(KubeError, match="secrets is forbidden"):
        kube.list("v1", "Secret", "argocd")


def test_a_right_that_the_preview_role_lacks_in_the_cluster_ends_the_preview(copy: Copy, lab: EngineStage) -> None:
    namespaces = '{"api_groups": [""], "resources": ["namespaces"], "verbs": _TRY}'
    copy.plant("components/cluster.py", namespaces, namespaces.replace("_TRY", "_READ"))
    lab.engine.up(STACK, role=ADMINISTRATOR)
    copy.append("services.py", _MORE)
    with pytest.raises(EngineError, match='cannot patch resource "namespaces"'):
        lab.engine.preview(STACK)
