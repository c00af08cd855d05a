"""The operations of the API that are recorded, and how each is billed. Every set of operations is here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind of call: the API's resource and verb, and how its answer is billed."""

    name: str
    billed: bool = True
    """Whether answers cost anything. Counting tokens and creating a batch are free."""

    lines: bool = False
    """Whether the body is JSON lines with a response in each."""

    batch: bool = False

    @property
    def may_bill_twice(self) -> bool:
        """Whether an attempt that was given up may be billed besides the next one."""
        return self.billed and not self.batch


MESSAGES_CREATE = Operation("messages.create")
COUNT_TOKENS = Operation("messages.count_tokens", billed=False)
BATCHES_CREATE = Operation("messages.batches.create", billed=False)
BATCHES_RESULT = Operation("messages.batches.result", lines=True, batch=True)
COMPLETIONS_CREATE = Operation("completions.create")
OPERATIONS = (MESSAGES_CREATE, COUNT_TOKENS, BATCHES_CREATE, BATCHES_RESULT, COMPLETIONS_CREATE)
FREE = tuple(each.name for each in OPERATIONS if not each.billed)
"""Operations that cost nothing, whatever is in their `usage`."""
FREE_SQL = ", ".join(f"'{name}'" for name in FREE)
