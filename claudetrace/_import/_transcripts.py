"""`Transcripts`: what Claude Code wrote down of its sessions."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from claudetrace._attribution import Attribution
from claudetrace._import._into import ROWS_AT_ONCE
from claudetrace._ledger._schema import transaction
from claudetrace._ledger._times import FIRST
from claudetrace._parse import Agents
from claudetrace._places import resource
from claudetrace._pricing._own import load_own_rates
from claudetrace._pricing._row import with_price
from claudetrace._pricing._terms import Terms
from claudetrace._transcripts._files import Transcript, config_folders, transcripts_in
from claudetrace._transcripts._responses import row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from claudetrace._call import Row
    from claudetrace._config import Settings
    from claudetrace._import._into import Into

# Only a ledger into which somebody imports has it.
MAKE_MARKS = """
    CREATE TABLE IF NOT EXISTS transcripts (
        path TEXT PRIMARY KEY NOT NULL,
        read_bytes INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
"""
MARKS = "SELECT path, read_bytes, modified_ns FROM transcripts"
MARK = """
    INSERT INTO transcripts (path, read_bytes, modified_ns)
    VALUES (?, ?, ?)
    ON CONFLICT (path) DO UPDATE SET read_bytes = excluded.read_bytes, modified_ns = excluded.modified_ns
"""
NO_HOST = "api.anthropic.com"
"""Where Claude Code asks if nothing tells it another host; transcripts do not say."""


class Transcripts:
    """Reads the transcripts in `folders` on from where the ledger has them. Raises what the ledger raises."""

    def __init__(self, into: Into, folders: Iterable[Path] | None, settings: Settings, since: datetime | None) -> None:
        self._into, self._since = into, since or FIRST
        self._folders = [*(folders or (each / "projects" for each in config_folders(os.environ)))]
        self._settings = settings
        self._attribution = Attribution(replace(settings, db=into.db), {**resource(), "service": "claude-code"})
        own = None if settings.rates is None else load_own_rates(settings.rates, file=settings.rates_file)
        self._terms = Terms().with_own_rates(own)
        into.connection().execute(MAKE_MARKS)
        self._marks = {path: (read, modified) for path, read, modified in into.connection().execute(MARKS)}

    def size(self) -> int:
        """How many bytes are new."""
        return sum(count for _, count in self._changed())

    def _changed(self) -> list[tuple[Path, int]]:
        """The transcripts that have something new, with how many bytes."""
        found = []
        for folder in self._folders:
            for entry in transcripts_in(folder):
                with suppress(OSError):
                    status = entry.stat()
                    read, modified = self._marks.get(entry.path, (0, 0))
                    is_late = status.st_mtime >= self._since.timestamp()
                    if is_late and (status.st_size, status.st_mtime_ns) != (read, modified):
                        found.append((Path(entry.path), max(0, status.st_size - read)))
        return found

    def step(self, progress: Callable[[int], None] | None = None) -> None:
        """Takes in what is new. `progress` hears how many bytes were read."""
        rows: list[Row] = []
        marks: list[tuple[str, int, int]] = []
        for path, _ in self._changed():
            with suppress(FileNotFoundError):
                try:
                    rows += self._read(path, marks, progress)
                except OSError as error:
                    self._into.done.unreadable += 1
                    self._into.guard.caught(f"read {path}", error)
            if len(rows) >= ROWS_AT_ONCE:
                self._write(rows, marks)
        self._write(rows, marks)

    def _read(self, path: Path, marks: list[tuple[str, int, int]], progress: Callable[[int], None] | None) -> list[Row]:
        status = path.stat()
        read, _ = self._marks.get(str(path), (0, 0))
        transcript = Transcript(path, read)
        transcript.read(progress)
        self._into.done.broken += transcript.broken
        who = self._who(status.st_uid)
        marks.append((str(path), transcript.offset, status.st_mtime_ns))
        wanted = [each for each in transcript.taken() if each.at is not None and each.at >= self._since]
        return [with_price(row_of(each, who, self._terms, self._attribution.hashed)) for each in wanted]

    def _who(self, uid: int) -> Row:
        columns: Row = {"server_address": NO_HOST, "billing": (self._settings.agents or Agents()).billing}
        self._attribution.fill(columns, None, _user_name(uid))
        return columns

    def _write(self, rows: list[Row], marks: list[tuple[str, int, int]]) -> None:
        self._into.take(rows)
        if marks:
            connection = self._into.connection()
            with transaction(connection):
                connection.executemany(MARK, marks)
        self._marks.update({path: (read, modified) for path, read, modified in marks})
        rows.clear()
        marks.clear()


@cache
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
