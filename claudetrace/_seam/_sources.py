"""The rooms of the sources, each of which tells the one recorder."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from claudetrace._sources import SOURCES

if TYPE_CHECKING:
    from collections.abc import Collection

    from claudetrace._seam._live import Recorder
    from claudetrace._seam._where import TermsOfCalls
    from claudetrace._sources import Source


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
