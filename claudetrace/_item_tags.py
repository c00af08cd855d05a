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
    """A block in which each item of a batch that is made, and each result that is read, has tags of its own, over those
    of the batch: by them it counts in budgets, and by those at the reading its row says whom it was for.

    `by`: a mapping from `custom_id` to tags, or a callable that gives them. What it does not know keeps the tags of
    the batch. Raises `ClaudetraceError` where it is neither.
    """
    if not (isinstance(by, Mapping) or callable(by)):
        raise ClaudetraceError(
            f"tag_results({by!r:.80}) cannot be: give a mapping from custom_id to tags, or a callable that gives them"
        )
    return ItemTags(by)


def current_item_tags() -> ItemTags | None:
    """What the innermost `tag_results` block says here and now."""
    return _blocks.get()
