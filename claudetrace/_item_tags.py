"""`tag_results(by)`: who each result of a batch is for, by its `custom_id`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claudetrace._entries import Block, Blocks
from claudetrace._errors import ClaudetraceError
from claudetrace._tags import tags_given

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    ByCustomId = Mapping[str, Mapping[str, object]] | Callable[[str], Mapping[str, object] | None]


def _innermost(blocks: Sequence[ItemTags]) -> ItemTags | None:
    return blocks[-1] if blocks else None


_blocks: Blocks[ItemTags, ItemTags | None] = Blocks("claudetrace_item_tags", _innermost)


class ItemTags(Block):
    """A block in which the items of a batch have tags of their own. Entering and leaving never raise."""

    _blocks = _blocks

    def __init__(self, by: ByCustomId) -> None:
        self._by: Any = by.get if isinstance(by, Mapping) else by

    def of(self, custom_id: str) -> dict[str, str]:
        """The tags of an item, none where nothing is said of it. Raises what the user's callable raises, and
        `TypeError` where it gives no mapping."""
        return tags_given(self._by(custom_id))


def tag_results(by: ByCustomId) -> ItemTags:
    """A block in which each item of a batch has tags of its own, on top of the batch's tags.

    with claudetrace.tag_results({"item-1": {"customer": "acme"}, "item-2": {"customer": "globex"}}):
        for result in client.messages.batches.results(batch_id):
            ...

    by: a mapping from `custom_id` to tags, or a function that returns them. An item that it does not know keeps the
        batch's tags.

    Around `batches.create` it decides which budgets an item counts in, around `batches.results` what its row says.
    Raises `ClaudetraceError` if `by` is neither.
    """
    if not (isinstance(by, Mapping) or callable(by)):
        raise ClaudetraceError(
            f"tag_results({by!r:.80}) cannot be: give a mapping from custom_id to tags, or a callable that gives them"
        )
    return ItemTags(by)


def current_item_tags() -> ItemTags | None:
    """What the innermost `tag_results` block says here and now."""
    return _blocks.get()
