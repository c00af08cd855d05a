"""The sources of calls, by name: the package that makes them, and the room that sees them."""

from __future__ import annotations

from typing import NamedTuple


class Source(NamedTuple):
    """A package whose calls are seen, and the room that sees them.

    A room has `install(recorder, terms)` and `uninstall()`, and `flush(timeout_s)` if it tells later than it sees.
    """

    package: str
    room: str


SOURCES = {
    "anthropic": Source("anthropic", "claudetrace._seam._patch"),
    "agent_sdk": Source("claude-agent-sdk", "claudetrace._seam._agent_sdk"),
}
"""Each by its name in `instrument(sources=…)`. What a room needs is loaded when its package is imported."""
