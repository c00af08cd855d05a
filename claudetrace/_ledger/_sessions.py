"""The sessions of calls that are changed: made anew from their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._ledger._sums import remake_sessions

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable


def first_at(_: sqlite3.Connection, sessions: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(sessions, "")


def refresh(connection: sqlite3.Connection, sessions: dict[str, str]) -> None:
    remake_sessions(connection, sessions)
