"""Each class of fault that the lab exists to catch, planted in the copy of the program, and caught by what `make e2e` runs.

The order matters: the first test is the first `up` of the stack, and the later ones find it whole.
"""

import pytest

from rehearsal.engine.cli import EngineError
from rehearsal.engine.play import unchanged
from rehearsal.stage import StageError
from tests.engine.conftest import STACK, Copy


def refusal(copy: Copy, verb: str = "preview") -> str:
    """What the command line says of the broken program, which it must not take."""
    with pytest.raises(EngineError) as caught:
        getattr(copy.stage.engine, verb)(STACK)
    return str(caught.value)


def test_an_application_that_does_not_wait_for_its_definition_fails_the_first_up(copy: Copy) -> None:
    copy.plant(
        "components/application.py",
        "before: list[pulumi.Resource] = [namespace, *argocd.ready]",
        "before: list[pulumi.Resource] = [namespace]",
    )
    said = refusal(copy, "up")
    assert "-blue-application" in said
    assert "no kind Application in version argoproj.io/v1alpha1 is served" in said


def test_the_mended_program_goes_on_from_there_and_a_preview_shows_nothing(copy: Copy) -> None:
    copy.stage.realise(STACK)
    unchanged(copy.stage.engine.preview(STACK))


def test_a_misspelt_property_is_refused_by_its_name(copy: Copy) -> None:
    # The SDK itself refuses a misspelt argument; what reaches the wire by a transform or a dictionary, it does not.
    copy.plant(
        "components/cluster.py",
        'scaling_config={"min_size": nodes.minimum,',
        'scaling_config={"minimumSize": nodes.minimum,',
    )
    said = refusal(copy)
    assert "scalingConfig.minimumSize" in said
    assert "minSize" in said, "the nearest property is named"


def test_a_value_that_is_no_member_of_an_enum_is_refused_before_anything_is_made(copy: Copy) -> None:
    copy.plant("components/registry.py", 'image_tag_mutability="IMMUTABLE_WITH_EXCLUSION"', 'image_tag_mutability="UNCHANGEABLE"')
    said = refusal(copy)
    assert "imageTagMutability" in said
    assert "UNCHANGEABLE" in said
    assert "IMMUTABLE_WITH_EXCLUSION" in said, "what is allowed is named"


def test_a_role_name_of_more_than_64_characters_is_refused(copy: Copy) -> None:
    copy.plant("components/network.py", 'name=naming.role(args.environment, "flow")', f'name="{"r" * 65}"')
    said = refusal(copy)
    assert "create_role" in said
    assert "RoleName" in said
    assert "64" in said


def test_a_field_that_an_application_does_not_have_is_refused_by_the_api_server(copy: Copy) -> None:
    copy.plant("components/application.py", '"selfHeal": True,', '"selfHeal": True, "selfHealing": True,')
    said = refusal(copy)
    assert "selfHealing" in said
    assert "field not declared in schema" in said


def test_a_diff_that_never_ends_shows_in_the_second_preview(copy: Copy) -> None:
    copy.plant("components/argocd.py", 'ignore_changes=["secretString"], ', "")
    copy.stage.engine.up(STACK)
    with pytest.raises(StageError, match="a diff that never ends") as caught:
        unchanged(copy.stage.engine.preview(STACK))
    assert "SecretVersion blue-webhook (secretString)" in str(caught.value)


def test_a_list_that_aws_hands_back_in_another_order_shows_in_the_second_preview(copy: Copy) -> None:
    rules = "for priority, (description, selection) in "
    copy.plant(
        "components/registry.py",
        f"{rules}enumerate(selections, start=1)",
        f"{rules}reversed(list(enumerate(selections, start=1)))",
    )
    copy.stage.engine.up(STACK)
    with pytest.raises(StageError, match="LifecyclePolicy"):
        unchanged(copy.stage.engine.preview(STACK))


def test_a_component_that_is_renamed_without_an_alias_shows_as_delete_and_create(copy: Copy) -> None:
    copy.mend()
    copy.stage.engine.up(STACK)
    copy.plant("components/edge.py", '"slipway:edge:Route"', '"slipway:edge:HostRule"')
    outcome = copy.stage.engine.preview(STACK)
    with pytest.raises(StageError):
        unchanged(outcome)
    assert {each.operation for each in outcome.steps} >= {"create", "delete"}


def test_a_resource_can_be_imported_by_its_id(copy: Copy) -> None:
    stage = copy.stage
    stage.client(STACK, "sqs").create_queue(QueueName="by-hand", Attributes={"VisibilityTimeout": "45"})
    url = stage.client(STACK, "sqs").get_queue_url(QueueName="by-hand")["QueueUrl"]
    options = ("--yes", "--skip-preview", "--protect=false", "--generate-code=false")
    stage.engine.run("import", "aws:sqs/queue:Queue", "by-hand", url, *options, stack=STACK)
    found = stage.engine.program(STACK).one("sqs/queue:Queue", "by-hand")
    assert found.inputs["name"] == "by-hand"
    assert found.inputs["visibilityTimeoutSeconds"] == 45
