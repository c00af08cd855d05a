"""What `doctor` tells of sources: which are here and watched, and what is here that nobody watches."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from claudetrace._call import exact_usd
from claudetrace._sources import SOURCES
from claudetrace._transcripts._files import config_folders, transcripts_in
from claudetrace.cli._tables import Check, usd_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

UNSEEN = {
    "boto3": "its Bedrock calls (Converse, InvokeModel) are not seen; give their answers to claudetrace.record()",
    "litellm": "its calls are not seen; give their raw answers to claudetrace.record()",
}
"""Packages that call Claude another way."""
WATCHED = {
    "claude_agent_sdk._internal.query": ("Query", ("__init__",)),
    "claude_agent_sdk._internal.transport.subprocess_cli": ("SubprocessCLITransport", ("write", "read_messages")),
}
IMPORTED = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'transcripts'"
MISMATCHES = """
    SELECT
        (SELECT COUNT(*) FROM calls WHERE INSTR(cost_flags, '"agent_mismatch"') > 0),
        (
            SELECT pricing_terms
            FROM calls
            WHERE INSTR(pricing_terms, '"agent_total_picousd"') > 0
            ORDER BY started_at DESC
            LIMIT 1
        )
"""
DIGITS = 6


def check_sources() -> Iterator[Check]:
    """The packages that make calls to Claude."""
    for name, source in SOURCES.items():
        if name != "anthropic" and (found := _version(source.package)) is not None:
            yield Check(source.package, f"{found}, watched", _fault_of_agents())
    for package, words in UNSEEN.items():
        if (found := _version(package)) is not None:
            yield Check(package, f"{found}: {words}")


def _fault_of_agents() -> str | None:
    """What the Agent SDK lacks of what is wrapped."""
    for module, (name, methods) in WATCHED.items():
        try:
            owner = getattr(import_module(module), name, None)
        except Exception as error:  # noqa: BLE001 - a package's import may raise anything
            return f"it cannot be imported: {error}"
        if not all(hasattr(owner, method) for method in methods):
            return "it is built in a new way, so its calls are not seen; upgrade claudetrace"
    return None


def check_agents(connection: sqlite3.Connection) -> Iterator[Check]:
    """Transcripts that nobody imported, and where the CLI counts otherwise than its rows."""
    folders = [folder / "projects" for folder in config_folders(os.environ)]
    count = sum(1 for folder in folders for _ in transcripts_in(folder))
    (imported,) = connection.execute(IMPORTED).fetchone()
    if count and not imported:
        where = ", ".join(str(folder) for folder in folders if Path(folder).exists())
        yield Check("Claude Code", f"{count:,} transcripts in {where}; claudetrace import claude-code brings them in")
    differing, terms = connection.execute(MISMATCHES).fetchone()
    if differing:
        yield Check("agent_mismatch", f"{differing:,} rows where the CLI's own total is another{_numbers(terms)}")


def _numbers(terms: str | None) -> str:
    with suppress(TypeError, ValueError, KeyError):
        told = json.loads(terms or "")
        total, rows = (usd_text(exact_usd(told[f"agent_{name}_picousd"]), DIGITS) for name in ("total", "rows"))
        return f": of the last it counts {total}, and the rows have {rows}"
    return ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
