"""The sources of calls: a room each, which tells the one recorder. A further one is a folder and a line here."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from claudetrace._seam._live import Recorder
    from claudetrace._seam._where import TermsOfCalls


class Source(NamedTuple):
    """A package whose calls are seen, and the room that sees them.

    A room has `install(…)` and `uninstall()`, and `flush(…)` if it tells later than it sees.
    """

    package: str
    room: str


SOURCES = {
    "anthropic": Source("anthropic", "claudetrace._seam._patch"),
    "agent_sdk": Source("claude-agent-sdk", "claudetrace._seam._agent_sdk"),
}
"""Each source by its name in `instrument(sources=…)`. What a room needs is loaded when its package is imported."""


def install(recorder: Recorder, terms: TermsOfCalls, names: Collection[str] | None) -> None:
    """Reports every call of the sources `names`, or of all, to `recorder` from now on. Packages may come later."""
    for name, source in SOURCES.items():
        if names is None or name in names:
            import_module(source.room).install(recorder, terms)
        else:
            _uninstall(source)


def uninstall() -> None:
    """No call from now on is seen."""
    for source in SOURCES.values():
        _uninstall(source)


def flush(timeout_s: float) -> bool:
    """Whether all that was seen is told. Blocks at most `timeout_s`."""
    rooms = [sys.modules[source.room] for source in SOURCES.values() if source.room in sys.modules]
    return all(room.flush(timeout_s) for room in rooms if hasattr(room, "flush"))


def _uninstall(source: Source) -> None:
    if source.room in sys.modules:
        sys.modules[source.room].uninstall()
