"""Reads from an answer's content what its price depends on: whether there is output, and whether code ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MARKS = frozenset(["fallback"])
"""Blocks that are no output."""
_TEXTS = {"text": ("text",), "thinking": ("thinking", "signature"), "compaction": ("content", "encrypted_content")}
"""Blocks that are output only if one of these fields is not empty."""
_WEB_TOOLS = ("web_search", "web_fetch")


class Content:
    """What the blocks of one answer told. Keeps none of them."""

    told = False
    """Whether any content was seen."""
    yielded = False
    """Whether the model has put out anything."""
    ran_code = False
    """Whether code ran in a container, whose time is in no usage."""
    frees_code = False
    """Whether a web tool was called from that code, which makes the container free."""

    def __init__(self, blocks: object = None) -> None:
        if isinstance(blocks, list):
            self.told = True
            for block in blocks:
                self.add(block)

    def add(self, block: object) -> str:
        """Reads a block, whole or its start. Returns its kind, empty where it has none."""
        self.told = True
        # Checking the abstract type takes longer than all the rest.
        if type(block) is not dict and not isinstance(block, Mapping):
            self.yielded = self.yielded or bool(block)
            return ""
        kind = str(block.get("type"))
        if kind in _TEXTS:
            self.yielded = self.yielded or any(map(block.get, _TEXTS[kind]))
        elif kind not in _MARKS:
            self.yielded = True
            self._note_code(kind, block)
        return kind

    def is_empty(self, output_tokens: int | None) -> bool:
        """Whether the answer has no output: by its content, or by its count if no content was seen."""
        return not (self.yielded if self.told else output_tokens)

    def _note_code(self, kind: str, block: Mapping[str, Any]) -> None:
        if kind.endswith("code_execution_tool_result"):
            self.ran_code = True
        elif block.get("name") in _WEB_TOOLS or kind.startswith(_WEB_TOOLS):
            caller = block.get("caller")
            called_from = caller.get("type") if isinstance(caller, Mapping) else None
            if isinstance(called_from, str) and called_from.startswith("code_execution"):
                self.frees_code = True
