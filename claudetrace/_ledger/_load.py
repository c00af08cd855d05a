"""Loads segments of the journal into the ledger: this process's own, and those of processes that are gone."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from claudetrace import _usable
from claudetrace._clock import monotonic
from claudetrace._files import is_writable
from claudetrace._headroom import with_headroom
from claudetrace._ledger import _segments
from claudetrace._places import spool_of
from claudetrace._pricing._row import lacking_price

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._ledger._journal import Journal
    from claudetrace._ledger._schema import Pace
    from claudetrace._ledger._segments import Lines, Segment
    from claudetrace._ledger._store import Store

ROTATE_BYTES = 1 << 20
GRACE_S = 2.0
"""How long a segment that has a successor is read on: a write that had begun is over by then."""
LEFTOVER_S = 3600.0


class JournalLoader:
    """Loads the segments in `spool` into `store`, or hands their rows to `on_rows` alone where there is no store.

    It holds the lock `gate` during each step and frees it between two, so that a fork can happen there.
    """

    def __init__(
        self,
        spool: Path,
        *,
        guard: Guard,
        gate: threading.Lock,
        store: Store | None,
        journal: Journal | None = None,
        has_ledger: bool = True,
        on_rows: Callable[[list[Row], bool], None] | None = None,
        on_marked: Callable[[int], None] | None = None,
        pace: Pace = iter,
    ) -> None:
        self.spool = spool
        self.handled = 0
        """How many rows of this process no longer wait."""
        self.quarantined = 0
        self.unreadable = 0
        self.adopted: Segment | None = None
        self.left: dict[Path, int] = {}
        """Segments that other processes are to load, each with the number of its rows, until one has loaded it."""
        self._guard = guard
        self._gate = gate
        self._ledger = store
        self._has_ledger = has_ledger
        self._journal = journal
        self._on_rows = on_rows
        self._on_marked = on_marked
        self._pace = pace
        self._tidied = False
        self._taken: set[str] = set()
        """Names of segments of this process whose descriptors the host has closed."""

    @property
    def leaves(self) -> bool:
        """Whether this process may not open the ledger, and leaves its segments to one that may."""
        return self._has_ledger and _usable.is_forbidden()

    @property
    def _store(self) -> Store | None:
        return None if self.leaves else self._ledger

    @property
    def waits_for_others(self) -> bool:
        """Whether other processes have not loaded yet all that was left to them."""
        for path in [path for path in self.left if not path.exists()]:
            self.handled += self.left.pop(path)
        journal = self._journal
        return self.leaves and journal is not None and bool(self.left or journal.retired or journal.holds_something())

    def load_own(self) -> None:
        """Loads all that this process has appended so far. Raises for a fault of the ledger's file."""
        journal = self._journal
        if journal is None:
            return
        self._let_go_of_taken(journal)
        self._follow_folder(journal)
        if journal.kept:
            journal.write_kept()
        current = journal.segment
        for segment in (*journal.retired, *([current] if current else [])):
            settled = segment.retired_at is not None and segment.retired_at + GRACE_S < monotonic()
            self._load(segment, replayed=False, whole=settled)
            if settled and not segment.pending():
                self._finish(segment)
                journal.retired.remove(segment)
        if journal.kept and not self.leaves:
            self._load_kept(journal)
        most = 0 if self.leaves else ROTATE_BYTES
        if current is not None and current is journal.segment and current.size() > most:
            self._rotate(journal)
        if self._taken and not self.leaves:
            self.load_orphans()

    def _let_go_of_taken(self, journal: Journal) -> None:
        """Leaves segments whose descriptors the host has closed to `load_orphans`, which opens them anew."""
        taken = [each for each in (*journal.retired, journal.segment) if each and not each.held.is_ours()]
        journal.disown(taken)
        while journal.taken:
            segment = journal.taken.pop()
            self._taken.add(segment.name)
            segment.close()

    def load_orphans(self) -> int:
        """How many rows of processes that are gone were new to the ledger, and are loaded now."""
        taken = 0
        for path in (*_segments.paths(self.spool), *_segments.left_elsewhere(self.spool)):
            with self._guard("open a segment of the journal"), self._gate:
                self.adopted = None if self._is_own(path.name) else _segments.adopt(path)
            if (segment := self.adopted) is None:
                continue
            try:
                taken += self._load(segment, replayed=segment.name not in self._taken, whole=True)
                self._finish(segment)
                self._taken.discard(segment.name)
            finally:
                segment.close()
                self.adopted = None
        if not self._tidied:
            self._tidied = True
            _segments.clear_leftovers(self.spool, LEFTOVER_S, time.time())
        return taken

    def _is_own(self, name: str) -> bool:
        journal = self._journal
        if journal is None:
            return False
        return any(segment.name == name for segment in (*journal.retired, journal.segment) if segment)

    def _follow_folder(self, journal: Journal) -> None:
        """Rotates a segment that was removed, or that `forget` has asked for; the old one is still read to its end."""
        segment = journal.segment
        if segment is not None and (segment.is_asked_for() or not segment.is_linked()):
            self._rotate(journal)

    def _rotate(self, journal: Journal) -> None:
        with self._guard(f"make a new segment in {self.spool}"), self._gate:
            journal.rotate()

    def _load(self, segment: Segment, *, replayed: bool, whole: bool) -> int:
        taken = 0
        try:
            self._check_offset(segment)
            for lines in _segments.read(segment, whole=whole):
                taken += self._load_lines(segment, lines, replayed=replayed)
        except Exception:
            # Only the ledger knows whether the last batch is in it.
            segment.offset_checked = False
            raise
        return taken

    def _check_offset(self, segment: Segment) -> None:
        if not segment.offset_checked and self._store is not None and segment.pending():
            with self._gate:
                segment.loaded_bytes = max(segment.loaded_bytes, self._store.loaded_bytes(segment.name))
            segment.offset_checked = True

    def _load_lines(self, segment: Segment, lines: Lines, *, replayed: bool) -> int:
        with self._gate:
            rows, unreadable = self._rows_of(lines.lines)
            if unreadable and lines.end > segment.kept_bytes:
                self._keep_unreadable(segment, unreadable)
                segment.kept_bytes = lines.end
            new = self._write(rows, segment.name, lines.end, unsent=segment.to_send)
            segment.loaded_bytes = lines.end
        if self.leaves:
            segment.rows += len(rows)
        elif not replayed:
            self.handled += len(rows)
        self._deliver(new, replayed=replayed)
        return len(new)

    def _rows_of(self, lines: list[bytes]) -> tuple[list[Row], list[bytes]]:
        """The rows in `lines`, with what their callers have left to be worked out, and the lines that are none."""
        rows: list[Row] = []
        unreadable: list[bytes] = []
        for line in self._pace(lines):
            if (row := _segments.row_of(line)) is None:
                unreadable.append(line)
                continue
            rows.append(row)
            try:
                row.update(lacking_price(with_headroom(row)))
            except Exception as error:  # noqa: BLE001 - a row without a price can be repriced, a lost one cannot
                self._guard.caught("price a row of the journal", error)
        return rows, unreadable

    def _write(self, rows: list[Row], segment: str | None = None, loaded_bytes: int = 0, *, unsent: bool) -> list[Row]:
        if self._store is None:
            return rows
        written = self._store.write(rows, segment, loaded_bytes, unsent=unsent)
        if unsent and written.rows and self._on_marked is not None:
            self._on_marked(len(written.rows))
        if written.quarantined:
            self.quarantined += written.quarantined
            error = ValueError(f"{written.quarantined} set aside in its table quarantine, with the reason")
            self._guard.caught(f"store every call in the ledger {self._store.path}", error)
        return written.rows

    def _keep_unreadable(self, segment: Segment, lines: list[bytes]) -> None:
        torn = [line.strip(b"\n") for line in self._journal.torn] if self._journal else []
        unreadable = [line for line in lines if line not in torn]
        if unreadable:
            _segments.keep_unreadable(self.spool, unreadable, segment.name)
            self.unreadable += len(unreadable)
            error = ValueError(f"{len(unreadable)} kept in {self.spool / _segments.UNREADABLE}")
            self._guard.caught("read every line of the journal", error)

    def _load_kept(self, journal: Journal) -> None:
        """Loads rows straight from memory, where the journal's disk has no room for them."""
        # They stay there meanwhile: the process may end, and has to find them.
        lines = [journal.kept[place] for place in range(min(len(journal.kept), _segments.MAX_ROWS))]
        with self._gate:
            rows, _ = self._rows_of(lines)
            new = self._write(rows, unsent=journal.to_send)
        with suppress(IndexError):
            for _ in lines:
                journal.kept.popleft()
        self.handled += len(lines)
        self._deliver(new, replayed=False)

    def _deliver(self, rows: list[Row], *, replayed: bool) -> None:
        if rows and self._on_rows is not None:
            with self._guard("hand on the rows that were loaded"):
                self._on_rows(rows, replayed)

    def _finish(self, segment: Segment) -> None:
        """Deletes a segment that is loaded and that nobody writes to, or leaves it to others."""
        with self._gate:
            if self.leaves:
                self.left[segment.path] = segment.rows
                segment.close()
                return
            segment.delete()
            if self._store is not None:
                with self._guard("tidy up after a segment of the journal"):
                    self._store.forget_segment(segment.name)

    def after_fork_in_child(self) -> None:
        """Leaves to the parent what the parent adopted."""
        if self.adopted is not None:
            self.adopted.close()


def load_orphans(db: Path, guard: Guard) -> int:
    """How many rows of processes that are gone were loaded into the ledger `db`. Never raises; does nothing where this
    user may not write there."""
    spool = spool_of(db)
    if not (_segments.paths(spool) or _segments.left_elsewhere(spool)) or not is_writable(db):
        return 0
    if spool.exists() and not os.access(spool, os.W_OK):
        return 0
    # Here and not above: it imports sqlite3, which a program needs once it has a row to load.
    from claudetrace._ledger._store import Store

    with closing(Store(db, guard)) as store, guard(f"load what is left in {spool}"):
        return JournalLoader(spool, guard=guard, gate=threading.Lock(), store=store).load_orphans()
    return 0
