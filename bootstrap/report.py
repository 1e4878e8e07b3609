"""The rows of a check, and what they say together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    """Result of one row."""

    READY = "ready"
    MISSING = "missing"
    NOT_LOOKED_AT = "not looked at"
    LATER = "later"


class Step(StrEnum):
    """The step of docs/adopt.md that makes a row ready, by its heading there."""

    SETTINGS = "1. Settings"
    PEOPLE = "2. Team and repositories"
    APPS = "3. GitHub Apps"
    ACCOUNT = "4. Bootstrap each account"
    DELEGATE = "5. Delegate the zones"
    CONNECT = "6. Connect CodePipeline to GitHub"
    OWNER = "7. The owner's first up: prd"
    HAND_OVER = "8. The GitOps repository's Apps and keys"
    OTHERS = "9. The first up of stg and dev"
    ACTIONS = "10. Previews and deployments by GitHub Actions"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One precondition.

    Attributes:
        key: Its name for machines, such as `secret:reader`.
        step: The step that makes it ready.
        state: What the check has found.
        text: The finding.
        fix: Command or console step that makes it ready, or that looks where the check cannot; "" where nothing is to be done.
        after_up: Whether the first `pulumi up` of the stack comes before it.
    """

    key: str
    step: Step
    state: State
    text: str
    fix: str = ""
    after_up: bool = False

    def lines(self) -> str:
        """Return the row as people read it: one line, and the fix on a second one."""
        fix = f"\n{'':15}{self.fix}" if self.fix and self.state is not State.READY else ""
        return f"{self.state.value:<14} {self.text}{fix}"

    def due(self, *, up: bool) -> "Row":
        """Return the row as it counts now: before the first `up`, what comes after it is not missing yet."""
        later = self.after_up and not up and self.state is not State.READY
        return replace(self, state=State.LATER) if later else self


@dataclass(frozen=True, kw_only=True)
class Report:
    """All rows of one stack.

    Attributes:
        stack: Name of the stack.
        account: Its account.
        up: Whether the stack's first `pulumi up` has been made.
        rows: In the order in which they were found.
    """

    stack: str
    account: str
    up: bool
    rows: Sequence[Row]

    @property
    def ready(self) -> bool:
        """Whether nothing is missing for the next step, and everything was looked at."""
        return not self.of(State.MISSING) and not self.of(State.NOT_LOOKED_AT)

    def of(self, state: State) -> list[Row]:
        """Return the rows in a state."""
        return [row for row in self.rows if row.state is state]

    def summary(self) -> str:
        """Return the last line."""
        following = "previews and deployments" if self.up else f"pulumi up --stack {self.stack}"
        counts = ", ".join(f"{len(self.of(state))} {state.value}" for state in State)
        return f"{self.stack}: {counts}. {'Ready' if self.ready else 'Not ready'} for: {following}."

    def as_json(self) -> str:
        """Return everything for machines."""
        rows = [
            {"key": row.key, "step": row.step.value, "state": row.state.value, "text": row.text, "fix": row.fix}
            for row in self.rows
        ]
        whole = {"stack": self.stack, "account": self.account, "up": self.up, "ready": self.ready, "rows": rows}
        return json.dumps(whole, indent=2, ensure_ascii=False)
