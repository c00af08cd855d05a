"""Datasette as `claudetrace dashboard` starts it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasette.app import Datasette
from datasette.plugins import pm
from datasette.utils import parse_metadata

import claudetrace_dashboards
from claudetrace._errors import ClaudetraceError
from claudetrace._sqlite import NamedPath
from claudetrace_dashboards._waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTIONS = "datasette.yaml"
NAME = "ledger"


def datasette_on(path: Path, settings: Mapping[str, Any]) -> Datasette:
    """Datasette with our pages on the ledger at `path`, which need not be there yet."""
    if not str(path).isprintable():
        raise ClaudetraceError(f"{str(path)!a} has characters that no page can show; link it to another name")
    if not any(plugin is claudetrace_dashboards for plugin in pm.get_plugins()):
        pm.register(claudetrace_dashboards, "claudetrace_dashboards")
    metadata = merged(described(path.stem), dict(settings))
    made = Datasette([NamedPath(path)] if path.exists() else [], **arguments(metadata))
    wait_for(made, path)
    return made


def described(database: str) -> dict[str, Any]:
    """Our descriptions of a ledger, for the name that it has in Datasette."""
    beside = files("claudetrace_dashboards") / DESCRIPTIONS
    text = beside.read_text() if beside.is_file() else (Path(__file__).parents[1] / DESCRIPTIONS).read_text()
    found: dict[str, Any] = parse_metadata(text)
    found["databases"] = {database: found["databases"][NAME]}
    return found


def merged(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """`ours` with all that `theirs` says, which wins."""
    both = {
        key: merged(ours[key], value) if isinstance(ours.get(key), dict) and isinstance(value, dict) else value
        for key, value in theirs.items()
    }
    return {**ours, **both}


def arguments(metadata: dict[str, Any]) -> dict[str, Any]:
    """The settings as this Datasette wants them: since 1.0 they are called its configuration."""
    settings = metadata.pop("settings", None)
    more = {"settings": settings} if settings else {}
    if hasattr(Datasette, "allowed"):
        return {"metadata": metadata, "config": metadata, **more}
    return {"metadata": metadata, **more}
