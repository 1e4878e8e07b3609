"""Evaluates the stacks of one checkout in a process of its own: `python -m checks.worker ROOT FOLDER FD STACK...`.

ROOT may be another version of the library (the main branch's). Only `rehearsal.program.evaluate` is asked of it. Answers are
one JSON document per line, written to the file descriptor FD: what services.py prints cannot mix with them.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from pulumi.runtime.proto import alias_pb2

from checks.explain import explain


def main(arguments: Sequence[str]) -> int:
    """Evaluate each stack and write one line about it."""
    root, folder, descriptor, *stacks = arguments
    place = Path(folder)
    # The first entry is the folder of this checkout, from which `checks` has come by now.
    sys.path[0] = root
    os.environ["SLIPWAY_PLATFORM"] = folder
    with os.fdopen(int(descriptor), "w", encoding="utf-8") as answers:
        for stack in stacks:
            began = time.perf_counter()
            try:
                answer: dict[str, object] = {"resources": _evaluate(stack)}
            except BaseException as error:  # noqa: BLE001 — sys.exit() in services.py too: the parent says it in a sentence
                answer = {"fault": explain(getattr(error, "cause", None) or error, place)}
            answers.write(json.dumps({"stack": stack, "seconds": time.perf_counter() - began, **answer}, default=str) + "\n")
            answers.flush()
    return 0


def _evaluate(stack: str) -> list[dict[str, Any]]:
    from rehearsal.program import evaluate  # noqa: PLC0415 — the asked checkout's, by the path set above

    return [
        {
            "urn": each.urn,
            "type": each.type,
            "parent": each.parent,
            "physical": each.custom or each.remote,
            "kept": each.protect or each.retain_on_delete,
            "protect": each.protect,
            "provider": each.provider.rpartition("::")[0].rpartition("::")[2],
            "aliases": [_alias(str(text)) for text in each.aliases],
            "inputs": each.inputs,
        }
        for each in evaluate(stack).resources
    ]


def _alias(text: str) -> dict[str, Any]:
    if text.startswith("urn:"):
        return {"urn": text}
    return json_format.MessageToDict(text_format.Parse(text, alias_pb2.Alias()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
