"""Proves that no handling of a fault is there for nothing: each is taken away in turn, and named tests must fail for it.

A handling is taken away in a copy of functions/, never in the tree itself: a folder with that copy, and with links to the rest.
`python -m tests.functions.handlings [PART OF A NAME...]` exits 1 if a removal leaves all tests green, if they fail without any
removal, or if a handling's text is no longer found once: then it belongs to be written anew below.
"""

import io
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rehearsal.githost import graphql_api
from tests.rehearsal import githost_kit

ROOT: Final = Path(__file__).resolve().parents[2]
LINKED: Final = ("components", "pyproject.toml", "rehearsal", "scaffold", "tests")
AT_ONCE: Final = 2
# The module that holds the Apps' keys, which are slow to make: nothing of the function's.
KEYS: Final = "tests.rehearsal.githost_kit"
# The longest row takes a second; what is taken away may let one run for ever.
PATIENCE_SECONDS: Final = 120

FAULTS: Final = "tests/functions/test_faults.py::test_a_fault_is_classified_and_nothing_is_lost_doubled_or_let_out"
SWEEPS: Final = "tests/functions/test_faults.py::test_a_sweep_that_meets_a_fault_says_so_and_the_next_one_mends"
HANDLER: Final = "tests/functions/test_handler.py"
REPORTED: Final = "tests/functions/test_reporter.py::test"


@dataclass(frozen=True, kw_only=True)
class Handling:
    """Something that the function does about a fault.

    Attributes:
        name: What it does.
        file: Where, below functions/gitops_writer.
        old: The text that does it, found once.
        new: The text without it.
        tests: Node ids; `[name]` alone is a row of the fault suite. At least one must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def nodes(self) -> list[str]:
        """The tests as pytest takes them."""
        return [f"{FAULTS}{each}" if each.startswith("[") else each for each in self.tests]


def _in(file: str, *handlings: tuple[str, str, str, str]) -> list[Handling]:
    """Handlings of one file: name, old text, new text, tests with blanks between them."""
    return [
        Handling(name=name, file=file, old=old, new=new, tests=tuple(tests.split(" "))) for name, old, new, tests in handlings
    ]


GITHUB: Final = _in(
    "github.py",
    (
        "an expired token is replaced",
        "if status == _HTTP_UNAUTHORIZED:\n            # Revoked",
        "if False:\n            # Revoked",
        "[401-expired-token-at-the-commit]",
    ),
    ("a refused token is forgotten", "self.app.forget()", "pass", "[401-expired-token-at-the-commit]"),
    (
        "a token is not used for its last minutes",
        " - _TOKEN_MARGIN_SECONDS",
        "",
        f"{HANDLER}::test_the_token_is_kept_until_shortly_before_it_expires",
    ),
    (
        "a token's answer without one is trouble",
        "except (KeyError, ValueError):\n                self",
        "except ZeroDivisionError:\n                self",
        "[a-token-answer-without-token]",
    ),
    ("a token never shows", '_token: str = field(default="", repr=False)', '_token: str = ""', "[500-once]"),
    (
        "a key that is none is refused in words",
        "except (RuntimeError, ValueError):",
        "except ZeroDivisionError:",
        "[aws-secret-holds-a-damaged-key]",
    ),
    ("Retry-After is read", "if given.isdigit():", "if False:", "[403-retry-after] [429-retry-after]"),
    (
        "a quota's reset is read",
        'if headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():',
        "if False:",
        "[403-quota-used-up-until-its-reset]",
    ),
    ("429 is a limit", "status == _HTTP_TOO_MANY or (", "(", "[429-without-a-time]"),
    ("403 may be a limit", "(status == _HTTP_FORBIDDEN and limited)", "False", "[403-retry-after]"),
    (
        "a used-up quota is a limit",
        'headers.get("x-ratelimit-remaining") == "0" or "rate',
        '"rate',
        "[403-quota-used-up-without-a-word]",
    ),
    ("a secondary limit is known by its words", ' or "rate limit" in said.lower()', "", "[403-secondary-limit-without-a-time]"),
    (
        "5xx passes",
        "if status >= _HTTP_SERVER or status == _HTTP_REQUEST_TIMEOUT:",
        "if status == _HTTP_REQUEST_TIMEOUT:",
        "[500-once] [503-once]",
    ),
    ("408 passes", " or status == _HTTP_REQUEST_TIMEOUT", "", "[408-once]"),
    (
        "a dropped connection passes",
        "except urllib3.exceptions.HTTPError as error:",
        "except ZeroDivisionError as error:",
        "[dropped-before-the-commit]",
    ),
    (
        "half a JSON passes",
        "parsed: object = json.loads(answer.data)\n    except ValueError:",
        "parsed: object = json.loads(answer.data)\n    except ZeroDivisionError:",
        "[half-a-json] [html-with-200]",
    ),
    ("a commit without its id passes", "except (KeyError, TypeError):", "except ZeroDivisionError:", "[a-commit-without-its-id]"),
    (
        "neither data nor errors passes",
        'if not data:\n            msg = "GitHub answered neither',
        'if False:\n            msg = "GitHub answered neither',
        "[no-data-and-no-errors-at-the-read]",
    ),
    ("a moved branch is read again", 'if "STALE_DATA" in kinds:', "if False:", "[stale-data-storm]"),
    ("a limit is known by its type", "kinds & _LIMITS or ", "", "[graphql-rate-limited] [graphql-rate-limit]"),
    ("a limit without a type is known by its words", ' or "rate limit" in msg.lower()', "", "[graphql-secondary-limit-with-200]"),
    ("a refusal is not tried again", "if kinds & _REFUSALS:", "if False:", "[graphql-forbidden]"),
    (
        "a change at fault is told from a missing right",
        'access="UNPROCESSABLE" not in kinds',
        "access=True",
        "[graphql-unprocessable-for-one-change]",
    ),
    (
        "a query that a server does not know is not tried again",
        "if any(isinstance",
        "if False and any(isinstance",
        "[graphql-a-field-that-an-old-server-lacks]",
    ),
    ("a missing branch is named", 'if not target or "oid" not in target:', "if False:", "[branch-missing]"),
    (
        "an absent file is no error",
        "and _only_absent(error))",
        "and False)",
        f"{HANDLER}::test_files_that_github_reports_as_not_found_are_just_absent",
    ),
    ("a file cut short is not written back", 'if blob.get("isTruncated"):', "if False:", "[file-that-github-cuts-short]"),
    (
        "a binary file is not written back",
        'if blob.get("isBinary") or not isinstance(text, str):',
        "if False:",
        "[file-that-is-binary]",
    ),
    (
        "a file that is no UTF-8 is not written back",
        'if len(text.encode()) != blob.get("byteSize"):',
        "if False:",
        "[file-that-is-not-utf-8]",
    ),
)

WRITER: Final = _in(
    "handler.py",
    ("a conflict is tried again", "except StaleHeadError as error:", "except ZeroDivisionError as error:", "[stale-data-storm]"),
    ("conflicts end", "if conflicts >= _CONFLICTS:", "if False:", "[stale-data-storm]"),
    ("trouble ends", "if troubles >= _TROUBLES or", "if", "[500-that-stays]"),
    (
        "a long limit is not sat out",
        "if troubles >= _TROUBLES or error.after_seconds > _PATIENCE_SECONDS:",
        "if troubles >= _TROUBLES:",
        "[403-secondary-limit-without-a-time]",
    ),
    (
        "a limit is remembered",
        "self.pace.hold(self.clock() + error.after_seconds)",
        "pass",
        "tests/functions/test_faults.py::test_what_comes_while_github_wants_to_be_left_alone_waits_as_well_and_asks_nothing",
    ),
    (
        "trouble of AWS goes back",
        "except aws.ERRORS as error:\n                # botocore",
        "except ZeroDivisionError as error:\n                # botocore",
        "[aws-ecr.DescribeImages-throttled] [aws-secret-missing]",
    ),
    (
        "no try is begun without time for it",
        "if remaining() - wait < _RESERVE_SECONDS:\n                raise cause",
        "if False:\n                raise cause",
        "[stale-data-with-no-time-left]",
    ),
    ("the queue waits as long as GitHub asks", "after_seconds = error.after_seconds", "pass", "[403-retry-after]"),
    (
        "a refusal fails no event",
        "except RefusedError as error:\n            # Nobody",
        "except ZeroDivisionError as error:\n            # Nobody",
        "[graphql-forbidden] [401-that-stays]",
    ),
    ("what waits is seen again soon", "self.queue.put_back(batch.open, after_seconds=after_seconds)", "[]", "[500-that-stays]"),
    (
        "a queue that does not put back harms nothing",
        (
            "except aws.ERRORS as error:\n            failed = [aws.described(error)]\n        if failed:\n"
            '            self.logger.warning("not put'
        ),
        (
            "except ZeroDivisionError as error:\n            failed = [str(error)]\n        if failed:\n"
            '            self.logger.warning("not put'
        ),
        "[aws-visibility-down-while-github-is]",
    ),
    (
        "a queue that does not delete harms nothing",
        (
            "except aws.ERRORS as error:\n            failed = [aws.described(error)]\n        if failed:\n"
            '            self.logger.warning("not del'
        ),
        (
            "except ZeroDivisionError as error:\n            failed = [str(error)]\n        if failed:\n"
            '            self.logger.warning("not del'
        ),
        "[aws-delete-down]",
    ),
    (
        "a queue that cannot be drained holds nothing back",
        "except aws.ERRORS as error:\n            # Nothing is held back",
        "except ZeroDivisionError as error:\n            # Nothing is held back",
        "tests/functions/test_faults.py::test_what_cannot_be_drained_waits_and_what_was_given_is_carried_out",
    ),
    (
        "somebody else's commit is not taken for one of ours",
        "tried.tags.pop(service, None)",
        "pass",
        f"{HANDLER}::test_somebody_elses_commit_of_the_same_image_is_not_taken_for_ours",
    ),
    (
        "what cannot be given up stays",
        'except aws.ERRORS as error:\n                    self.logger.error("not given up',
        'except ZeroDivisionError as error:\n                    self.logger.error("not given up',
        "[failure-queue-down]",
    ),
    ("what is given up is kept", "self.queue.give_up(message, outcome)", "pass", "[message-no-json]"),
    ("what was found here is deleted here", "deletable.append(message)", "pass", "[500-once]"),
    (
        "a commit whose answer was lost is known again",
        "if outcome.reason is Reason.CURRENT and tried.tags.get(service) == outcome.tag:",
        "if False:",
        "[dropped-after-the-commit] [504-after-the-commit]",
    ),
    (
        "a missing right is nobody's fault",
        "if error.access:\n                raise",
        "if False:\n                raise",
        "[graphql-forbidden]",
    ),
    (
        "a change at fault is found by halves",
        "if error.access:\n                raise",
        "if True:\n                raise",
        "[graphql-unprocessable-for-one-change]",
    ),
    (
        "a sweep does not tell what AWS quotes",
        "Lambda logs what is raised.\n            raise UnavailableError(aws.described(error)) from None",
        "Lambda logs what is raised.\n            raise UnavailableError(str(error)) from error",
        f"{SWEEPS}[aws-ecr.DescribeImages-denied]",
    ),
    ("a conflict counts", 'self._count("conflicts")', "pass", "[stale-data-storm]"),
    ("a refusal counts", 'self._count("refused")', "pass", "[graphql-forbidden] [rule-in-the-way]"),
    ("a failure counts", 'self._count("failures")', "pass", "[message-no-json]"),
)

CORE: Final = _in(
    "core.py",
    ("what is no JSON is given up", "except (ValueError, RecursionError):", "except RecursionError:", "[message-no-json]"),
    (
        "what is nested too deeply is given up",
        "except (ValueError, RecursionError):",
        "except ValueError:",
        "[message-nested-too-deeply]",
    ),
    ("what has no detail is given up", "if not isinstance(detail, dict):", "if False:", "[message-no-detail]"),
    ("another event is none of ours", 'if kind != "ECR Image Action" or (', "if (", "[message-foreign-type]"),
    (
        "only successful pushes count",
        '(facts.get("action-type"), facts.get("result")) != ("PUSH", "SUCCESS")',
        "False",
        "[message-foreign-action] [message-foreign-result]",
    ),
    (
        "another track's repository is none of ours",
        "if not repository.startswith(prefix) or not service:",
        "if False:",
        "[message-foreign-repository]",
    ),
    ("an image without a tag is dropped", "if not text:", "if False:", "[message-untagged]"),
    ("a mark is dropped", "if text.startswith(MARK_PREFIX):", "if False:", "[message-mark]"),
    ("a malformed tag is dropped", "if not found:\n        return None", "if False:\n        return None", "[message-malformed]"),
    (
        "a tag of no date is dropped",
        "except ValueError:\n        return None",
        "except ZeroDivisionError:\n        return None",
        "[message-malformed-in-time]",
    ),
    ("an undeclared service is dropped", "if event.service in known:", "if True:", "[message-undeclared]"),
    ("an image that has gone is dropped", "if found is None:", "if False:", "[message-gone]"),
    ("a tag from the future is dropped", "if tag.time > found.pushed_at + CLOCK_SKEW:", "if False:", "[message-future]"),
    (
        "an older image is dropped",
        "if present is not None and present > image.tag:",
        "if False:",
        f"{HANDLER}::test_the_same_event_again_and_an_older_one_make_no_commit",
    ),
    (
        "an image that is there already is dropped",
        "if present == image.tag and entry.digest == image.digest:",
        "if False:",
        f"{HANDLER}::test_the_same_event_again_and_an_older_one_make_no_commit",
    ),
    (
        "a service that people deleted stays so",
        "if layout.directory(service) in snapshot.removed:",
        "if False:",
        "[message-removed]",
    ),
    ("a missing file is its service's fault", "elif path not in snapshot.files:", "elif False:", "[file-missing]"),
    (
        "a file at fault holds nobody else back",
        "except (manifests.ManifestError, ValueError) as error:",
        "except ZeroDivisionError as error:",
        "[file-of-broken-yaml]",
    ),
    (
        "a file without a text is not edited",
        "if blob.fault:\n            raise ValueError",
        "if False:\n            raise ValueError",
        "[file-that-is-not-utf-8]",
    ),
)

FILES: Final = _in(
    "manifests.py",
    ("a file that is too large is not parsed", "if len(text) > LARGEST_CHARACTERS:", "if False:", "[file-of-one-mebibyte]"),
    (
        "what a parser stumbles over is the file's fault",
        "except Exception as error:",
        "except ValueError as error:",
        "[file-of-broken-yaml] [file-that-ruamel-stumbles-over-with-KeyError]",
    ),
    (
        "a file that is no mapping is not edited",
        "if not isinstance(document, CommentedMap):",
        "if False:",
        "[file-that-is-a-list]",
    ),
    (
        "a file without a list is not edited",
        "if not isinstance(images, CommentedSeq):\n        msg",
        "if False:\n        msg",
        "[file-whose-images-are-a-mapping]",
    ),
    ("another's entries get none beside them", "if found is None and images:", "if False:", "[file-without-the-entry]"),
    ("of two entries none is edited", "if len(found) > 1:", "if False:", "[file-with-two-entries]"),
    (
        "an anchored value is not edited",
        'if getattr(found.get(key), "anchor", None) is not None and',
        "if False and",
        "[file-with-an-anchored-tag]",
    ),
    (
        "a tag is always quoted",
        "DoubleQuotedScalarString(tag)",
        "tag",
        "[file-unquoted-numeric-tag] [file-unquoted-tag-in-exponent-form]",
    ),
    ("line ends stay", r'if "\r\n" in text:', "if False:", "[file-crlf]"),
    ("a byte order mark stays", '(_BOM if text.startswith(_BOM) else "") + ', "", "[file-bom]"),
)

EDGES: Final = [
    *_in(
        "ecr.py",
        (
            "an image that has gone is no error",
            "if aws.code(error) in _ABSENT:\n                return None",
            "if False:\n                return None",
            "[message-gone]",
        ),
    ),
    *_in(
        "queues.py",
        (
            "what is no JSON is kept as it is",
            "except (ValueError, RecursionError):",
            "except RecursionError:",
            "[message-no-json]",
        ),
        (
            "what waits for GitHub waits long enough",
            "after_seconds + jitter * _FIRST_SECONDS if after_seconds else 0",
            "0",
            "[403-retry-after]",
        ),
    ),
    *_in(
        "aws.py",
        (
            "what AWS quotes is not told",
            "return f\"AWS {getattr(error, 'operation_name', '')}: {code(error)}\"",
            "return str(error)",
            "[aws-ecr.DescribeImages-denied]",
        ),
    ),
    *_in(
        "catalogue.py",
        (
            "a broken entry is its service's fault",
            "except EntryError as error:",
            "except ZeroDivisionError as error:",
            "[catalogue-entry-broken]",
        ),
    ),
]

REPORTER: Final = [
    *_in(
        "reporter.py",
        (
            "a status is looked at again after it was set",
            "for _ in range(_LOOKS):",
            "for _ in range(1):",
            f"{REPORTED}_a_late_pending_does_not_stand_over_a_state_that_came_in_between",
        ),
        (
            "a history that lags is asked again",
            "if seen is Skip.NO_COMMIT and changed.succeeded:",
            "if False:",
            f"{REPORTED}_a_history_that_lags_behind_its_event_is_asked_again",
        ),
        (
            "events of one run are one status",
            "runs[changed.execution] = (both",
            "runs[changed.execution + message.id] = (both",
            f"{REPORTED}_events_of_one_run_in_one_batch_are_one_status",
        ),
        (
            "people are told of a failed run",
            "if changed.failed:",
            "if False:",
            f"{REPORTED}_a_failed_build_is_a_failure_on_its_commit_and_people_are_told_once",
        ),
        (
            "one repository's refusal is its service's",
            "if not error.access:",
            "if False:",
            f"{REPORTED}_an_app_that_is_not_installed_on_the_repository_is_that_service_s_fault_alone",
        ),
        (
            "a refusal of the App fails no event",
            "if not error.access:",
            "if True:",
            f"{REPORTED}_a_key_that_github_does_not_take_waits_for_a_person_and_fails_no_event",
        ),
        (
            "GitHub's limit is remembered",
            "self.pace.hold(self.clock() + after_seconds)",
            "pass",
            f"{REPORTED}_while_github_wants_to_be_left_alone_it_is",
        ),
        (
            "AWS's trouble goes back",
            'except aws.ERRORS as error:\n            self.logger.warning("back',
            'except ZeroDivisionError as error:\n            self.logger.warning("back',
            f"{REPORTED}_trouble_of_aws_sends_the_event_back_without_a_word_of_the_request[Publish]",
        ),
        (
            "what cannot be given up stays in the queue builds",
            'except aws.ERRORS as error:\n            self.logger.error("not given up',
            'except ZeroDivisionError as error:\n            self.logger.error("not given up',
            f"{REPORTED}_what_cannot_be_given_up_stays",
        ),
        (
            "a queue builds that does not put back harms nothing",
            "except aws.ERRORS as error:\n            failed = [aws.described(error)]",
            "except ZeroDivisionError as error:\n            failed = [str(error)]",
            f"{REPORTED}_a_queue_that_does_not_put_back_harms_nothing",
        ),
        (
            "no status is begun without time",
            " or remaining() - wait < _RESERVE_SECONDS",
            "",
            f"{REPORTED}_no_status_is_begun_without_time_for_it",
        ),
        (
            "statuses are paced",
            "self.sleep(wait)",
            "pass",
            f"{REPORTED}_many_builds_at_once_stay_within_what_github_allows",
        ),
    ),
    *_in(
        "builds.py",
        (
            "a newer run of the commit speaks for it",
            "if _repeated(changed.execution, commit, runs):",
            "if False:",
            f"{REPORTED}_an_older_run_of_the_same_commit_does_not_stand_over_a_newer_one",
        ),
        (
            "another track's run is none of ours",
            ' or name is None or name["track"] != track:',
            " or name is None:",
            f"{REPORTED}_another_track_s_or_team_s_run_is_left_alone",
        ),
        (
            "an event that is no JSON is given up",
            "except (ValueError, RecursionError):",
            "except RecursionError:",
            f"{REPORTED}_what_is_no_event_is_given_up_with_its_reason_and_the_rest_is_done",
        ),
        (
            "an event that is nested too deeply is given up",
            "except (ValueError, RecursionError):",
            "except ValueError:",
            f"{REPORTED}_what_is_no_event_is_given_up_with_its_reason_and_the_rest_is_done",
        ),
        (
            "an event without a run is given up",
            "if not _EXECUTION.fullmatch(execution):",
            "if False:",
            f"{REPORTED}_what_is_no_event_is_given_up_with_its_reason_and_the_rest_is_done",
        ),
    ),
    *_in(
        "pipelines.py",
        (
            "a pipeline that is gone is no error",
            "if aws.code(error) in _ABSENT:",
            "if False:",
            f"{REPORTED}_a_pipeline_that_is_gone_is_no_error",
        ),
    ),
    *_in(
        "github.py",
        (
            "a refused token is replaced for a status",
            "if status == _HTTP_UNAUTHORIZED:\n        # As for a commit",
            "if False:\n        # As for a commit",
            f"{REPORTED}_a_refused_token_is_replaced",
        ),
        (
            "a repository's refusal is told from the App's",
            "if status in {_HTTP_NOT_FOUND, _HTTP_UNPROCESSABLE}:",
            "if False:",
            f"{REPORTED}_an_app_that_is_not_installed_on_the_repository_is_that_service_s_fault_alone",
        ),
    ),
]

HANDLINGS: Final = (*GITHUB, *WRITER, *CORE, *FILES, *EDGES, *REPORTER)


def plant(folder: Path, changes: Mapping[str, str]) -> None:
    """A tree with a copy of the function, changed, and links to all else that its tests need."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "functions", folder / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    for file, text in changes.items():
        (folder / "functions" / "gitops_writer" / file).write_text(text, encoding="utf-8")


def without(handling: Handling) -> str:
    """The file's text without a handling.

    Raises:
        LookupError: the handling's text is not found once.
    """
    text = (ROOT / "functions" / "gitops_writer" / handling.file).read_text(encoding="utf-8")
    if (count := text.count(handling.old)) != 1:
        msg = f"{handling.file} holds {handling.old!r} {count} times: once is needed. Write the handling in {__name__} anew"
        raise LookupError(msg)
    return text.replace(handling.old, handling.new)


def _play(folder: Path, nodes: Sequence[str]) -> None:
    """Run tests in a tree, in this process, which was made for it; what pytest says is left beside the tree."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    for name in [each for each in sys.modules if each.partition(".")[0] in {"functions", "tests"} and each != KEYS]:
        del sys.modules[name]
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        # Plain: all else is loaded already, and nobody reads why an assertion failed.
        code = pytest.main([*nodes, "-q", "--tb=line", "--show-capture=no", "--assert=plain", "-p", "no:cacheprovider"])
    Path(f"{folder}.txt").write_text(said.getvalue(), encoding="utf-8")
    os._exit(code)


def verdict(folder: Path, exit_code: int | None) -> str:
    """What came of a run: `red`, `green`, or what else went wrong."""
    said = Path(f"{folder}.txt")
    told = said.read_text(encoding="utf-8") if said.exists() else ""
    if exit_code == pytest.ExitCode.OK:
        return "green"
    # An error before a test's own steps is no failure of it.
    if exit_code == pytest.ExitCode.TESTS_FAILED and re.search(r"^\d+ failed", told, re.MULTILINE):
        return "red"
    return f"ended with {exit_code}: {' '.join(told.split())[-300:]}"


def _warm() -> None:
    """Load once what every run needs, and is not under test; runs are forked from here."""
    # These import all that is used by way of the tests and the function, which themselves are imported anew in each run.
    for name in ("tests.functions.test_faults", "moto.ecr.models", "moto.secretsmanager.models", "moto.ssm.models"):
        import_module(name)
    graphql_api.warm()
    for app in (githost_kit.DEV_APP, githost_kit.STG_APP, githost_kit.PROMOTER_APP):
        githost_kit.key(str(app))


def prove(handlings: Sequence[Handling], console: Console) -> list[str]:
    """Take each handling away and run its tests; what is wrong, a line each."""
    wrong: list[str] = []
    todo: list[tuple[str, Mapping[str, str], Sequence[str], str]] = []
    for handling in handlings:
        try:
            todo.append((handling.name, {handling.file: without(handling)}, handling.nodes, "red"))
        except LookupError as error:
            wrong.append(f"{handling.name}: {error}")
    every = list(dict.fromkeys(node for handling in handlings for node in handling.nodes))
    halves = [every[::AT_ONCE], every[1::AT_ONCE]]
    todo[:0] = [(f"nothing is taken away ({n})", {}, nodes, "green") for n, nodes in enumerate(halves, 1) if nodes]
    _warm()
    context = multiprocessing.get_context("fork")
    running: dict[int, tuple[BaseProcess, Path, str, str]] = {}
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with tempfile.TemporaryDirectory() as place, Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(todo))
        waiting = list(enumerate(todo))
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                number, (name, changes, nodes, wanted) = waiting.pop(0)
                folder = Path(place) / str(number)
                folder.mkdir()
                plant(folder, changes)
                process = context.Process(target=_play, args=(folder, nodes))
                process.start()
                running[process.sentinel] = process, folder, name, wanted
            ended = wait(list(running), timeout=PATIENCE_SECONDS)
            for sentinel in ended or list(running):
                process, folder, name, wanted = running.pop(int(str(sentinel)))
                if not ended:
                    process.kill()
                process.join()
                got = verdict(folder, process.exitcode)
                if got != wanted:
                    wrong.append(f"{name}: its tests are {got}, {wanted} is needed")
                progress.update(bar, advance=1, description=f"{name}: {got}"[:90])
    return wrong


def main(arguments: Sequence[str]) -> int:
    """Prove all handlings, or those whose names hold one of `arguments`; the exit code."""
    console = Console(soft_wrap=True)
    chosen = [each for each in HANDLINGS if not arguments or any(part in each.name for part in arguments)]
    wrong = prove(chosen, console)
    for line in wrong:
        console.print(line, markup=False)
    console.print(
        f"{len(chosen)} handlings, {len(wrong)} of them not proven to be needed" if chosen else "no handling of that name"
    )
    return 1 if wrong or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
