"""What AWS errors are called. Their text may quote the request: it stays away from logs."""

from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

ERRORS = (BotoCoreError, ClientError)


def code(error: Exception) -> str:
    """AWS's name of an error, such as `ThrottlingException`; botocore's own where AWS did not answer."""
    answer: Any = getattr(cast("Any", error), "response", {})
    return str(answer.get("Error", {}).get("Code") or type(error).__name__)


def described(error: Exception) -> str:
    """Operation and name of an error."""
    return f"AWS {getattr(error, 'operation_name', '')}: {code(error)}"
