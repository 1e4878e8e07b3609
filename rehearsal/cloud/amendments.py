"""What ministack lacks and the flow needs, added inside its process when it starts. Each is what AWS does, with its page.

ministack is in the middle of its version 1 and its insides are no contract: `apply` first looks for every name that it
replaces, so that a release that has moved one fails at its start and says which.
"""

import functools
import importlib
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import jwt

from rehearsal.cloud import policy
from rehearsal.registry.policy import Document, Identity, PolicyError, Request, judge

# Between two looks for messages when nobody has called: ministack's own second would be most of a push's way to its commit.
POLL_SECONDS: Final = 0.02
# What AWS's Python runtimes bring beside the standard library: the SDK and what it needs.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html#python-sdk-included
RUNTIME_PACKAGES: Final = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")

_LOG: Final = logging.getLogger(__name__)

# What is done in batches is judged by the action for one.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
_BATCHES: Final = {f"sqs:{each}Batch": f"sqs:{each}" for each in ("ChangeMessageVisibility", "DeleteMessage", "SendMessage")}

_REPLACED: Final = {
    "app": ("set_request_account_id",),
    "core.iam_actions": ("extract_resource_arn",),
    "core.iam_evaluator": ("EvalResult", "evaluate", "_resolve_managed_policy_document"),
    "core.lambda_runtime": ("_account_region_from_function_config", "_detect_runtime_binary", "_worker_key"),
    "services.eventbridge": ("_invoke_target", "_pattern_event_view"),
    "services.iam": (
        "_autocreate_aws_managed_enabled",
        "_autovivify_aws_managed_policy",
        "_aws_managed_policies",
        "_make_aws_managed_record",
        "_roles",
    ),
    "services.lambda_svc": ("_poll_loop", "_poll_sqs"),
    "services.secretsmanager": ("_secrets",),
    "services.sqs": ("_ensure_msg_fields", "_queue_by_arn"),
    "services.sts": ("_sessions", "handle_request", "_error"),
}


def apply() -> None:
    """Amend the ministack of this process.

    Raises:
        RuntimeError: this release of ministack keeps its insides elsewhere.
    """
    modules: dict[str, Any] = {name: importlib.import_module(f"ministack.{name}") for name in _REPLACED}
    missing = [
        f"ministack.{module}.{name}"
        for module, names in _REPLACED.items()
        for name in names
        if not hasattr(modules[module], name)
    ]
    if missing:
        msg = (
            f"ministack {metadata.version('ministack')} has no {', '.join(missing)}; rehearsal/cloud/amendments.py was written "
            "for 1.5: look where they went, or hold ministack back in pyproject.toml"
        )
        raise RuntimeError(msg)
    sessions = modules["services.sts"]._sessions  # noqa: SLF001 — an amendment reaches inside by its nature
    _sessions_have_accounts(modules["app"], sessions)
    _functions_act_as_their_role(modules["core.lambda_runtime"], sessions)
    _functions_see_what_lambda_has(modules["core.lambda_runtime"])
    _policies_of_aws_are_known(modules["services.iam"])
    _trust_counts(modules["services.sts"], modules["services.iam"])
    _roles_are_judged(modules["core.iam_evaluator"], modules["services.iam"])
    _resources_have_their_arn(modules["core.iam_actions"], modules["services.secretsmanager"])
    _queue_policies_count(modules["services.eventbridge"], modules["services.sqs"])
    _mappings_look_often(modules["services.lambda_svc"])


def _sessions_have_accounts(app: Any, sessions: dict[str, dict[str, Any]]) -> None:  # noqa: ANN401 — a module
    """The keys of an assumed role act in the role's account, not in a default one."""
    original = app.set_request_account_id

    def set_request_account_id(access_key_id: str) -> None:
        session = sessions.get(access_key_id)
        original(session["Arn"].split(":")[4] if session else access_key_id)

    app.set_request_account_id = set_request_account_id


def _functions_act_as_their_role(runtime: Any, sessions: dict[str, dict[str, Any]]) -> None:  # noqa: ANN401 — a module
    """A function's credentials are a session of its execution role, not the account's root.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html
    """
    original, worker_key = runtime._account_region_from_function_config, runtime._worker_key  # noqa: SLF001 — as above
    # Only where it spawns a worker is the account the access key; the worker's own name needs the account.
    naming = threading.local()

    def identity(config: dict[str, Any]) -> tuple[str, str]:
        account, region = original(config)
        if getattr(naming, "on", False):
            return account, region
        role = str(config["Role"]).rsplit("/", 1)[-1]
        key = f"ASIA{uuid.uuid4().hex[:16].upper()}"
        sessions[key] = {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{config['FunctionName']}",
            "UserId": f"AROA{role}:{config['FunctionName']}",
            "SecretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
            # As long as the worker lives: AWS would renew them.
            "Expiration": None,
        }
        return key, region

    def key(*args: Any, **kwargs: Any) -> str:  # noqa: ANN401 — handed through
        naming.on = True
        try:
            return str(worker_key(*args, **kwargs))
        finally:
            naming.on = False

    runtime._account_region_from_function_config, runtime._worker_key = identity, key  # noqa: SLF001 — as above


def _functions_see_what_lambda_has(runtime: Any) -> None:  # noqa: ANN401 — a module
    """A function finds its archive, the standard library and the SDK, and not whatever this project has installed."""
    found = runtime._detect_runtime_binary  # noqa: SLF001 — as above
    shelf = Path(os.environ["TMPDIR"]) / "runtime-packages"
    shelf.mkdir()
    for name in RUNTIME_PACKAGES:
        files = metadata.distribution(name).files or ()
        for top in {Path(each.parts[0]) for each in files if each.parts[0] not in {"..", "__pycache__"}}:
            (shelf / top).symlink_to(Path(str(metadata.distribution(name).locate_file(str(top)))).resolve())
    prologue = (
        "import sys\n"
        "sys.path = [each for each in sys.path if 'site-packages' not in each and 'dist-packages' not in each]\n"
        f"sys.path.append({str(shelf)!r})\n"
    )

    def binary(name: str) -> tuple[str, str]:
        program, script = found(name)
        return program, prologue + script if name.startswith("python") else script

    runtime._detect_runtime_binary = binary  # noqa: SLF001 — as above


def _policies_of_aws_are_known(iam: Any) -> None:  # noqa: ANN401 — a module
    """AWS's own managed policies stand with their real documents, which moto carries; a name that is none is refused.

    https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html
    """

    def find(arn: str) -> dict[str, Any] | None:
        path, _, name = arn.partition(":policy")[2].rpartition("/")
        known = _policies_of_aws().get(name)
        if known is None or known["Path"] != f"{path}/":
            return None
        record: dict[str, Any] = iam._make_aws_managed_record(f"{path}/{name}".lstrip("/"), json.dumps(known["Document"]))  # noqa: SLF001 — as above
        iam._aws_managed_policies[arn] = record  # noqa: SLF001 — as above
        return record

    iam._autocreate_aws_managed_enabled = lambda: True  # noqa: SLF001 — as above
    iam._autovivify_aws_managed_policy = find  # noqa: SLF001 — as above


@functools.cache
def _policies_of_aws() -> dict[str, Any]:
    return dict(json.loads(importlib.import_module("moto.iam.aws_managed_policies").aws_managed_policies_data))


def _roles_are_judged(evaluator: Any, iam: Any) -> None:  # noqa: ANN401 — modules
    """A role may do what its policies *and* its permissions boundary allow, by the rehearsal's evaluator.

    ministack leaves boundaries out, and an operator or key that it does not know counts as "no match", which in a denial is
    an allowance.
    """
    original = evaluator.evaluate

    def evaluate(context: Any, policies: Any) -> Any:  # noqa: ANN401 — ministack's own types
        arn, account = str(context.principal_arn), str(context.principal_account)
        name, session = _role_of(arn)
        role = iam._roles.get_scoped(account, None, name)  # noqa: SLF001 — as above
        if role is None:
            return original(context, policies)

        def document(policy_arn: str) -> Any:  # noqa: ANN401 — JSON, as text or read
            return evaluator._resolve_managed_policy_document(policy_arn, account)  # noqa: SLF001 — as above

        boundary = role.get("PermissionsBoundary")
        inline: Mapping[str, Document] = role.get("InlinePolicies") or {}
        identity = Identity(
            account=account,
            principal_arn=str(role["Arn"]),
            policies=[*inline.values(), *map(document, role.get("AttachedPolicies", []))],
            boundary=document(boundary) if boundary else None,
            session=session,
        )
        request = Request(
            caller=identity,
            action=_BATCHES.get(str(context.action), str(context.action)),
            resource=str(context.resource_arn),
            context={"aws:RequestedRegion": str(context.region), "aws:SecureTransport": "true"},
            resource_account=account,
        )
        try:
            verdict = judge(request)
        except PolicyError as error:
            _LOG.error("%s: %s on %s cannot be judged: %s", arn, request.action, request.resource, error)
            return evaluator.EvalResult("ImplicitDeny", arn, "", str(error))
        if not verdict:
            _LOG.warning("%s: %s", arn, verdict.reason)
        return evaluator.EvalResult("Allow" if verdict else "ImplicitDeny", arn, "", verdict.reason)

    evaluator.evaluate = evaluate


def _trust_counts(sts: Any, iam: Any) -> None:  # noqa: ANN401 — modules
    """A web identity assumes a role only if the role's trust policy lets its token's claims in. Nobody verifies a signature.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
    """
    original = sts.handle_request

    async def handle(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:  # noqa: ANN401 — ministack's signature
        asked = {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}
        if asked.get("Action") == "AssumeRoleWithWebIdentity":
            account, name = asked["RoleArn"].split(":")[4], _role_of(asked["RoleArn"])[0]
            role = iam._roles.get_scoped(account, None, name)  # noqa: SLF001 — as above
            claims = jwt.decode(asked["WebIdentityToken"], options={"verify_signature": False})
            if role is None or not policy.lets_in(str(role["AssumeRolePolicyDocument"]), account, claims):
                _LOG.warning("%s: not assumed by %s", asked["RoleArn"], claims)
                said = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
                return sts._error(403, "AccessDenied", said, "sts")  # noqa: SLF001 — as above
        return await original(method, path, headers, body, query)

    sts.handle_request = handle


def _role_of(arn: str) -> tuple[str, str]:
    """Names of role and session in the ARN of either."""
    if ":assumed-role/" in arn:
        name, _, session = arn.partition(":assumed-role/")[2].partition("/")
        return name, session
    return arn.partition(":role/")[2].rsplit("/", 1)[-1], ""


def _resources_have_their_arn(actions: Any, secrets: Any) -> None:  # noqa: ANN401 — modules
    """The ARN that AWS judges a request by, where ministack takes it for `*` or leaves its end away.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html (the path is the resource)
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_examples.html (six random characters)
    """
    original = actions.extract_resource_arn

    def extract(  # noqa: PLR0913, PLR0917 — ministack's signature
        service: str,
        method: str,
        path: str,
        headers: Any,  # noqa: ANN401 — as above
        body: bytes,
        query: Any,  # noqa: ANN401 — as above
        region: str,
        account: str,
    ) -> str:
        arn = str(original(service, method, path, headers, body, query, region, account))
        if service == "ssm" and arn == "*" and "GetParametersByPath" in str(headers.get("x-amz-target", "")):
            return f"arn:aws:ssm:{region}:{account}:parameter{json.loads(body)['Path'].rstrip('/')}"
        if service == "sns" and arn == "*":
            # The topic is in the form that boto3 sends, which ministack looks for in the query.
            return parse_qs(body.decode()).get("TopicArn", ["*"])[0]
        if service == "secretsmanager":
            name = arn.partition(":secret:")[2]
            secret = secrets._secrets.get_scoped(account, region, name)  # noqa: SLF001 — as above
            return str(secret["ARN"]) if secret else arn
        return arn

    actions.extract_resource_arn = extract


def _queue_policies_count(events: Any, sqs: Any) -> None:  # noqa: ANN401 — modules
    """EventBridge puts an event into a queue only if the queue's policy lets that rule in; else it goes to the dead letters.

    A refusal is not tried again. The dead-letter queue's policy must let the rule in too, or the event is lost.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    """
    original = events._invoke_target  # noqa: SLF001 — as above

    def invoke(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:  # noqa: ANN401 — as above
        arn = str(target.get("Arn", ""))
        # The scheduler comes this way too, with a schedule in the rule's place; it acts as the schedule's own role.
        if not arn.startswith("arn:aws:sqs:") or event.get("Source") == "aws.scheduler":
            original(target, event, rule, view)
            return
        fault = fault_of(arn, rule)
        if not fault:
            original(target, event, rule, view)
            return
        config: Mapping[str, str] = target.get("DeadLetterConfig") or {}
        letters = config.get("Arn", "")
        if not letters or fault_of(letters, rule):
            _LOG.error("rule %s: event lost: %s", rule["Arn"], f"{letters} refuses it too" if letters else "no dead-letter queue")
            return
        body = json.dumps((view or events._pattern_event_view(event)).event_with_detail())  # noqa: SLF001 — as above
        keep(letters, body, {"RULE_ARN": rule["Arn"], "TARGET_ARN": arn, "ERROR_CODE": fault, "RETRY_ATTEMPTS": "0"})

    def fault_of(arn: str, rule: dict[str, Any]) -> str:
        queue = sqs._queue_by_arn(arn)  # noqa: SLF001 — as above
        if queue is None:
            return "RESOURCE_NOT_FOUND"
        verdict = policy.may_send(str(queue["attributes"].get("Policy") or ""), str(rule["Arn"]), arn)
        if not verdict:
            _LOG.warning("rule %s: %s", rule["Arn"], verdict.reason)
        return "" if verdict else "NO_PERMISSIONS"

    def keep(arn: str, body: str, attributes: dict[str, str]) -> None:
        now = time.time()
        message: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "body": body,
            "receipt_handle": None,
            "sent_at": now,
            "visible_at": now,
            "receive_count": 0,
            "attributes": {},
            "message_attributes": {key: {"DataType": "String", "StringValue": value} for key, value in attributes.items()},
            "sys": {"SenderId": "events.amazonaws.com", "SentTimestamp": str(int(now * 1000))},
        }
        sqs._ensure_msg_fields(message)  # noqa: SLF001 — as above
        sqs._queue_by_arn(arn)["messages"].append(message)  # noqa: SLF001 — as above

    events._invoke_target = invoke  # noqa: SLF001 — as above


def _mappings_look_often(functions: Any) -> None:  # noqa: ANN401 — a module
    """A message in a queue reaches its function at once; Lambda's pollers wait on the queue by long polling.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#sqs-polling-behavior
    """

    def poll() -> None:
        while True:
            try:
                busy = functions._poll_sqs()  # noqa: SLF001 — as above
            except Exception:  # noqa: BLE001 — as ministack's own loop: a fault in one look must not end all looking
                _LOG.exception("event source mappings")
                busy = False
            if not busy:
                time.sleep(POLL_SECONDS)

    functions._poll_loop = poll  # noqa: SLF001 — as above


__all__ = ["POLL_SECONDS", "RUNTIME_PACKAGES", "apply"]
