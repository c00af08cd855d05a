"""`Journal`: keeps a row safe as soon as `append` returns, whatever happens to the process.

A row is one line of JSON, appended by one `write` to this process's own segment. Nothing here takes a lock: a dropped
stream ends wherever the garbage collector runs, which may be inside this very code.
"""

from __future__ import annotations

import errno
import os
import sys
from collections import deque
from contextlib import suppress
from itertools import cycle, repeat
from operator import length_hint
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._clock import monotonic
from claudetrace._descriptors import MARKS, identity, is_marked, mark
from claudetrace._forks import Forks, is_before_forks, watch
from claudetrace._ledger import _segments
from claudetrace._text import utf8

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._call import Row
    from claudetrace._descriptors import Identity
    from claudetrace._guard import Guard
    from claudetrace._ledger._segments import Segment

KEPT_ROWS = 10_000
RETRY_S = 1.0
BITS = 64
MANY = 1 << 62
_next_mark = cycle(MARKS)
"""Each journal of a process has its own: the host may close the file of one, whose number another's then gets."""


class Counter:
    """A count that any thread may raise without a lock: one step of an iterator is atomic."""

    def __init__(self) -> None:
        self._left = repeat(None, MANY)

    def add(self) -> None:
        next(self._left)

    @property
    def value(self) -> int:
        return MANY - length_hint(self._left)


class Journal(Forks):
    """The journal of this process in the folder `spool`, which is made when the first row comes.

    Where rows are `to_send`, the names of its segments say so.
    """

    def __init__(self, spool: Path, guard: Guard, *, to_send: bool = False) -> None:
        self.spool = spool
        self.to_send = to_send
        self._guard = guard
        # Writers use this number while they write. `dup2` leads it from file to file, and only the end of the journal
        # closes it. A host may close it all the same and open a file of its own under it: so each write looks first.
        self._fd = -1
        self._files: tuple[Identity | None, ...] = ()
        """The files that the number may lead to: two while it is led from one to the next."""
        self._mark = next(_next_mark)
        self._is_marked = False
        """Whether they have the mark, which is told faster."""
        self._reset()
        watch(self)

    def _reset(self) -> None:
        self.segment: Segment | None = None
        self.retired: list[Segment] = []
        """Segments that writers have left, for the loader to read to their end."""
        self.kept: deque[bytes] = deque()
        """Lines that could not be written to the disk."""
        self.taken: list[Segment] = []
        """Segments whose descriptor the host has closed, for the loader to open anew."""
        self.torn: deque[bytes] = deque(maxlen=1000)
        """Lines of which only the beginning has reached the disk; the whole ones are in `kept`."""
        self._recorded = Counter()
        self._lost = Counter()
        self._opener: deque[None] = deque([None])
        self._retry_at = 0.0
        self._closed = self._ended = False

    @property
    def recorded(self) -> int:
        """How many rows were appended in this process."""
        return self._recorded.value

    @property
    def lost(self) -> int:
        """How many of them are lost, because neither the disk nor the memory had room."""
        return self._lost.value

    def append(self, row: Row) -> None:
        """Keeps `row` from here on, also through SIGKILL. Never raises, takes no lock."""
        self._recorded.add()
        try:
            try:
                line = b"\n" + orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
            except (TypeError, ValueError, RecursionError):
                line = b"\n" + orjson.dumps(_plain(row), option=orjson.OPT_APPEND_NEWLINE)
        except Exception as error:  # noqa: BLE001 - the caller's call goes on
            self._lost.add()
            self._guard.caught("write a call as JSON; it is lost", error)
            return
        self._write(line)

    def _write(self, line: bytes) -> None:
        segment = self.segment
        try:
            if segment is not None and not self._is_ours():
                self._disown(segment)
                segment = None
            if segment is None and (segment := self._open()) is None:
                self._write_alone(line)
                return
            written = os.write(self._fd, line)
        except Exception as error:  # noqa: BLE001 - a detector of blocking calls raises what it likes, instead of writing
            self._keep(line, error)
            return
        if written != len(line):
            self.torn.append(line[:written])
            self._keep(line, OSError(f"{self.spool} has no room"))
        elif segment.sealed:
            # It was sealed during the write, and perhaps read for the last time before it.
            self._write(line)

    def _is_ours(self) -> bool:
        """Whether the writers' number leads to a file of ours, and not to one that the host opened since."""
        if self._is_marked:
            return is_marked(self._fd, self._mark)
        for _ in range(3):
            try:
                found = os.fstat(self._fd)
            except OSError:
                return False
            if (found.st_dev, found.st_ino) in self._files:
                return True
            # Somebody else's, or it was led to the next file in between.
        return False

    def disown(self, segments: list[Segment]) -> None:
        """Moves `segments`, whose descriptors the host has closed, to `taken`."""
        for segment in segments:
            if segment in self.retired:
                self.retired.remove(segment)
                self.taken.append(segment)
            else:
                self._disown(segment)

    def _disown(self, segment: Segment) -> None:
        """Gives up a number that is the host's by now. What was written is in the file."""
        if self.segment is segment:
            # A thread that is writing to it now writes its row again, to the next one.
            self.segment, segment.sealed = None, True
            if self._is_ours():
                self._lead_fd_nowhere()
            else:
                self._fd = -1
            self.taken.append(segment)
            error = OSError(errno.EBADF, "the program has closed it")
            self._guard.caught(f"write by the descriptor of {self.spool}; it is opened anew", error)

    def _open(self) -> Segment | None:
        """This process's segment, or `None` while another thread makes it, or when there is to be none."""
        if self._is_alone():
            return None
        if self._retry_at > monotonic():
            raise OSError(f"{self.spool} cannot be written")
        try:
            self._opener.pop()
        except IndexError:
            return None
        try:
            if self.segment is None:
                self._lead_to(_segments.create(self.spool, to_send=self.to_send))
        except Exception:
            self._retry_at = monotonic() + RETRY_S
            raise
        finally:
            self._opener.append(None)
        return self.segment

    def _lead_to(self, segment: Segment) -> None:
        self._lead_fd_to(segment.fd)
        self.segment = segment

    def _lead_fd_to(self, fd: int) -> None:
        new, ours = identity(fd), self._fd >= 0 and self._is_ours()
        self._files = (*self._files[-1:], new)
        self._is_marked = mark(fd, self._mark)
        if ours:
            os.dup2(fd, self._fd, inheritable=False)
        else:
            self._fd = os.dup(fd)
        self._files = (new,)

    def _is_alone(self) -> bool:
        """Whether other processes must load each row, since none of this process's threads does."""
        return self._closed or is_before_forks()

    def _write_alone(self, line: bytes) -> None:
        """Writes `line` to a segment of its own, for this process's loader, or another's where there is none here."""
        alone = self._is_alone()
        segment = _segments.create(self.spool, line, locked=not alone, to_send=self.to_send)
        if alone:
            segment.close()
        else:
            segment.retired_at = float("-inf")
            self.retired.append(segment)

    def _keep(self, line: bytes, error: Exception) -> None:
        if self._ended and self._leave([line], error):
            return
        if len(self.kept) < KEPT_ROWS:
            self.kept.append(line)
            self._guard.caught(f"write the journal {self.spool}; rows are kept in memory", error)
        else:
            self._lost.add()
            self._guard.caught(f"write the journal {self.spool}; memory is full, so rows are lost", error)

    # What follows is for the loader's thread.

    def write_kept(self) -> None:
        """Moves what is kept in memory to the disk, as far as there is room."""
        self._retry_at = 0.0
        for _ in range(len(self.kept)):
            before = len(self.kept)
            self._write(self.kept.popleft())
            if len(self.kept) >= before:
                # There is still no room, and the rest would not find any either.
                self.kept.rotate(1)
                return

    def holds_something(self) -> bool:
        """Whether the current segment is not empty."""
        segment = self.segment
        return segment is not None and segment.size() > 0

    def rotate(self) -> None:
        """Leads writers to a new segment and retires the old one. Raises where none can be made."""
        old = self.segment
        if old is not None:
            self._lead_to(_segments.create(self.spool, to_send=self.to_send))
            old.retired_at = monotonic()
            self.retired.append(old)

    def seal(self) -> None:
        """Retires the segment without a new one. Each row that still comes gets a segment of its own."""
        self._closed = True
        segment, self.segment = self.segment, None
        if segment is not None:
            segment.sealed = True
            self.retired.append(segment)
        for segment in self.retired:
            segment.retired_at = float("-inf")

    def leave_kept(self) -> None:
        """Writes what is kept in memory to another disk, since the process ends, and logs where it is. Rows that still
        come and find no room go there at once. Never raises."""
        self._ended = True
        lines: list[bytes] = []
        with suppress(IndexError):
            while True:
                lines.append(self.kept.popleft())
        if lines and not self._leave(lines, OSError(f"{self.spool} cannot be written")):
            for _ in lines:
                self._lost.add()

    def _leave(self, lines: list[bytes], error: Exception) -> bool:
        calls, path = f"{len(lines)} call{'' if len(lines) == 1 else 's'}", None
        with self._guard("find another disk for the journal"):
            path = _segments.leave_elsewhere(self.spool, lines, to_send=self.to_send)
        where = "no disk has room, so they are lost" if path is None else f"they are in {path} for the next program"
        self._guard.caught(f"write {calls} to {self.spool} before the end; {where}", error)
        return path is not None

    def release(self) -> None:
        """Lets go of the sealed segments, so that whoever comes next may load what is left in them."""
        if self._closed:
            for segment in self.retired:
                segment.close()
            self.retired = []
            # Every descriptor of the file holds the lock. This number stays ours, for writers that have it in hand.
            if self._fd >= 0:
                self._lead_fd_nowhere()

    def _lead_fd_nowhere(self) -> None:
        fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._lead_fd_to(fd)
        os.close(fd)

    def after_fork_in_child(self) -> None:
        """Leaves the parent its segments. The child's are made when its first row comes."""
        closed = self._closed
        for segment in (*self.retired, *([self.segment] if self.segment else [])):
            segment.close()
        self._close_fd()
        self._reset()
        self._closed = closed

    def _close_fd(self) -> None:
        if self._fd >= 0 and self._is_ours():
            os.close(self._fd)
        self._fd = -1

    _at_the_end = staticmethod(sys.is_finalizing)

    def __del__(self) -> None:
        # When the interpreter ends its modules are gone, and its files are closed with it.
        if self._at_the_end():
            return
        # Nobody can be writing: a writer would hold the journal.
        if self.segment is not None:
            self.segment.close()
        for segment in self.retired:
            segment.close()
        self._close_fd()


def _plain(value: Any, depth: int = 0) -> Any:
    """`value` with everything that JSON or UTF-8 cannot hold as text, so that the row is not lost."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() < BITS else str(value)
    if isinstance(value, dict) and depth < BITS:
        return {str(_plain(key, depth)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < BITS:
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    text = value if isinstance(value, str) else str(value)
    return utf8(text)
