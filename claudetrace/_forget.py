"""`forget`: takes a user, customer, session or tag out of every file of ours here, and says what is left."""

from __future__ import annotations

import glob
import os
import sqlite3
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from claudetrace._attribution import hashed_as
from claudetrace._budgets import _commands, _connect
from claudetrace._clock import monotonic
from claudetrace._errors import ClaudetraceError
from claudetrace._files import open_file
from claudetrace._guard import Guard
from claudetrace._ledger import _forget, _segments
from claudetrace._ledger._forget import Whom
from claudetrace._ledger._load import load_orphans
from claudetrace._places import RECORDS_DB, spool_of
from claudetrace._tags import tag_text
from claudetrace._text import spellings

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator

    from claudetrace._budgets._connect import StoreName

LIVING_S = 8.0
"""How long programs that run have to go on in another segment, which takes them two seconds and a bit."""
LOOK_S = 0.25
SHORTEST_BYTES = 4
"""Shorter names are in much else, and are not overwritten in a file that SQLite cannot read."""
CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class Forgotten:
    """How many calls, days of sums, entries of budgets and unreadable lines no longer tell of it, and what may
    still."""

    calls: int = 0
    days: int = 0
    entries: int = 0
    lines: int = 0
    left: list[str] = field(default_factory=list)

    @property
    def is_something(self) -> bool:
        """Whether anything told of it."""
        return bool(self.calls or self.days or self.entries or self.lines)

    @contextmanager
    def each(self, path: StoreName) -> Iterator[None]:
        """Notes that the file cannot be changed, and goes on with the others."""
        try:
            yield
        except (ClaudetraceError, sqlite3.Error, OSError) as error:
            told = str(error)
            self.left.append(told if str(path) in told else f"{path} cannot be changed: {told}")


def forget(
    db: Path, store: StoreName, tag: str, value: str, progress: Callable[[int], None] | None = None
) -> Forgotten:
    """Takes a value of a tag out of the ledger at `db`, the records that wait beside it, their journals, the budgets'
    store, and what was set aside of them."""
    done = Forgotten()
    ledgers = _ledgers(db)
    names = whom(db, tag, value)
    spools = {**{spool_of(path): path for path in ledgers}, **dict.fromkeys(_spools_without_ledger())}
    for spool, path in spools.items():
        _let_load(spool, path, [name.in_rows for name in names])
    for name in names:
        _forget_in_stores(store, ledgers, name, done)
        for path in ledgers:
            with done.each(path):
                done.days = max(done.days, _forget.told_of(path, name)[1])
                done.calls += _forget.forget(path, name, progress=progress)
            for aside in _set_aside(path, "overwritten"):
                with done.each(aside):
                    _rid(aside, name, partial(_forget.forget, aside, name))
        for spool, path in spools.items():
            _forget_in_journal(spool, path, name, done)
        for path in (*ledgers, *_files(store)):
            for log in path.parent.glob(f"{glob.escape(path.name)}.left-*-wal"):
                if _holds(log, spellings(name.value)):
                    gone = "is of a file that is gone: delete it when you have no use for it"
                    done.left.append(f"{log} may name them, and {gone}")
    return done


def whom(db: Path, tag: str, value: str) -> list[Whom]:
    """That value by each name that the ledger may have for it: as it is, and hashed."""
    plain = tag_text(value)
    return [Whom(tag, name) for name in dict.fromkeys((plain, hashed_as(plain, db) or plain))]


def told_of(db: Path, tag: str, value: str) -> tuple[int, int]:
    """How many calls tell of it, and how many days have sums that do. Changes nothing."""
    found = [_forget.told_of(path, name) for path in _ledgers(db) for name in whom(db, tag, value)]
    return sum(calls for calls, _ in found), max(days for _, days in found)


def _ledgers(db: Path) -> list[Path]:
    """The ledger, and the one of records that wait to be sent."""
    both = dict.fromkeys((db, db.with_name(RECORDS_DB)))
    return [path for path in both if path.exists() or spool_of(path).is_dir()]


def _spools_without_ledger() -> list[Path]:
    """The journals of programs of this user that have no ledger, also of killed ones, whose rows nobody loads."""
    found = Path(tempfile.gettempdir()).glob("claudetrace-*")
    return [
        folder
        for folder in found
        if folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
    ]


def _let_load(spool: Path, db: Path | None, theirs: list[re.Pattern[bytes]]) -> None:
    """Loads what processes left that are gone, and has those that run load and let go of what names somebody."""
    until = monotonic() + LIVING_S
    while True:
        if db is not None:
            load_orphans(db, Guard())
        naming_them = [path for path in _segments.paths(spool) if any(_is_in(path, found) for found in theirs)]
        for path in naming_them:
            with suppress(OSError):
                path.chmod(path.stat().st_mode | _segments.ASKED_FOR)
        if monotonic() > until or not any(_is_held(path) for path in naming_them):
            return
        time.sleep(LOOK_S)


def _is_held(path: Path) -> bool:
    """Whether a process that runs has the segment."""
    with suppress(OSError):
        if (segment := _segments.adopt(path)) is None:
            return path.exists()
        segment.close()
    return False


def _files(store: StoreName) -> list[Path]:
    return [store] if isinstance(store, Path) else []


def _forget_in_stores(store: StoreName, ledgers: list[Path], name: Whom, done: Forgotten) -> None:
    sessions, rows = set[str](), dict[str, str]()
    for path in ledgers:
        with done.each(path):
            more = _forget.known_as(path, name)
            sessions |= more[0]
            rows |= more[1]
    if _connect.exists(store):
        with done.each(store):
            entries, defined = _commands.forget(store, name.value, sessions, rows, name.tag)
            done.entries += entries
            done.left += [
                f"the budget {each!r} is for them by its definition: change the program that has it" for each in defined
            ]
    for path in _files(store):
        for aside in _set_aside(path, "broken"):
            with done.each(aside):
                _rid(aside, name, partial(_commands.forget, aside, name.value, sessions, rows, name.tag))


def _set_aside(path: Path, why: str) -> list[Path]:
    found = path.parent.glob(f"{glob.escape(path.name)}.{why}-*")
    return [aside for aside in found if not aside.name.endswith(("-wal", "-shm", "-journal"))]


def _forget_in_journal(spool: Path, db: Path | None, name: Whom, done: Forgotten) -> None:
    """Drops lines that name somebody where nobody loads them, and notes what others still have to load."""
    with done.each(spool):
        done.lines += _drop_lines(spool / _segments.UNREADABLE, name.in_text)
    for path in (*_segments.paths(spool), *(_segments.left_elsewhere(spool) if db else ())):
        with done.each(path):
            if db is None and not _is_held(path):
                done.lines += _drop_lines(path, name.in_rows)
            elif _is_in(path, name.in_rows):
                done.left.append(f"{path} has calls of theirs that wait to be loaded: run this again, or doctor")


def _is_in(path: Path, found: re.Pattern[bytes]) -> bool:
    try:
        return found.search(path.read_bytes()) is not None
    except OSError:
        return False


def _drop_lines(path: Path, found: re.Pattern[bytes]) -> int:
    """How many lines of the file name somebody. They go."""
    if not _is_in(path, found):
        return 0
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not found.search(line)]
    anew = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(open_file(anew, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as opened:
        opened.write(b"".join(kept))
    anew.replace(path)
    return len(lines) - len(kept)


def _rid(path: Path, name: Whom, act: Callable[[], object]) -> None:
    """Has a file that was set aside name somebody no more: by `act`, or byte by byte where SQLite cannot read it."""
    try:
        act()
    except (ClaudetraceError, sqlite3.Error):
        forms = spellings(name.value)
        if not _holds(path, forms):
            return
        if min(map(len, forms)) < SHORTEST_BYTES or name.tag not in _forget.FORGOTTEN:
            raise
        _overwrite(path, forms)


def _overwrite(path: Path, forms: list[bytes]) -> None:
    fd = open_file(path, os.O_RDWR)
    try:
        for form in forms:
            for at in _places(fd, form):
                os.pwrite(fd, b"x" * len(form), at)
        os.fsync(fd)
    finally:
        os.close(fd)


def _holds(path: Path, forms: list[bytes]) -> bool:
    """Whether one of `forms` is in the file. Not for one that this process may have open by SQLite."""
    try:
        fd = open_file(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return any(next(_places(fd, form), None) is not None for form in forms)
    finally:
        os.close(fd)


def _places(fd: int, form: bytes) -> Iterator[int]:
    """Where in the file `form` is."""
    start = 0
    while chunk := os.pread(fd, CHUNK_BYTES + len(form) - 1, start):
        at = chunk.find(form)
        while at >= 0:
            yield start + at
            at = chunk.find(form, at + 1)
        start += CHUNK_BYTES
