"""The files of the journal: segments of lines of JSON, each held by `flock` while its owner lives."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from claudetrace._descriptors import Descriptor, identity, lock
from claudetrace._files import is_private, make_folder, open_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claudetrace._call import Row

SUFFIX = ".jsonl"
TO_SEND = ".send.jsonl"
"""The end of the name of a segment whose rows are to be sent as records, whoever loads them."""
UNREADABLE = "unreadable.jsonl"
ASKED_FOR = stat.S_ISVTX
"""The bit of a segment's mode by which `forget` asks its owner to go on in another; it has no other meaning for a
file."""
DISKS = ("/var/tmp", "/dev/shm")  # noqa: S108 - each folder of ours in there is checked
"""Where rows go, beside the temporary folder, that the ledger's disk had no room for when their process ended. What is
in memory is gone after a restart, and there until then."""
READ_BYTES = 1 << 20
MAX_ROWS = 200
"""So many are a transaction: more would save little, and some steps of it keep callers waiting for as long as it has
rows."""


@dataclass(slots=True, eq=False)
class Segment:
    """One file of the journal, open for its owner or its adopter. `loaded_bytes` are in the ledger."""

    path: Path
    held: Descriptor
    loaded_bytes: int = 0
    sealed: bool = False
    """Whether writers must not use it any more; one that was writing writes its row again elsewhere."""
    retired_at: float | None = None
    """When writers were led to the next segment, by the monotonic clock."""
    kept_bytes: int = 0
    """Unreadable lines before this place are in `unreadable.jsonl` already."""
    rows: int = 0
    """How many rows a process has read of it that leaves it to others to load."""
    offset_checked: bool = False
    """Whether `loaded_bytes` was compared with what the ledger says."""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def to_send(self) -> bool:
        """Whether its rows are to be sent as records. Its name says so, since its owner may be gone."""
        return self.name.endswith(TO_SEND)

    @property
    def fd(self) -> int:
        return self.held.fd

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def pending(self) -> bool:
        """Whether some of it is not in the ledger."""
        return self.size() > self.loaded_bytes

    def is_linked(self) -> bool:
        """Whether its path still leads to it: somebody may have removed the folder."""
        return identity(self.path) == self.held.file

    def is_asked_for(self) -> bool:
        """Whether somebody has asked its owner to go on in another."""
        try:
            return bool(os.fstat(self.fd).st_mode & ASKED_FOR)
        except OSError:
            return False

    def delete(self) -> None:
        """Removes the file and lets go of it."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        self.held.close()


class Lines(NamedTuple):
    """Lines read from a segment, and where the next begin."""

    lines: list[bytes]
    end: int


def create(spool: Path, content: bytes = b"", *, locked: bool = True, to_send: bool = False) -> Segment:
    """A new segment in `spool` that holds `content`. It is locked before anybody can see it."""
    make_folder(spool)
    name = f"{os.getpid()}-{secrets.token_hex(8)}"
    hidden = spool / f"{name}.new"
    fd = open_file(hidden, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
    try:
        if locked:
            lock(fd)
        _write_whole(fd, content)
        path = spool / f"{name}{TO_SEND if to_send else SUFFIX}"
        os.rename(hidden, path)  # noqa: PTH104 - may run in a garbage collection: the fewest steps
    except BaseException:
        os.close(fd)
        with suppress(OSError):
            hidden.unlink()
        raise
    return Segment(path=path, held=Descriptor(fd))


def _write_whole(fd: int, content: bytes) -> None:
    if os.write(fd, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def adopt(path: Path) -> Segment | None:
    """The segment at `path`, locked for this process, or `None` while its owner lives."""
    try:
        fd = open_file(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    segment = Segment(path=path, held=Descriptor(fd))
    # Another process may have loaded and deleted it in between.
    if lock(fd) and segment.is_linked():
        return segment
    segment.close()
    return None


def paths(spool: Path) -> list[Path]:
    """Every segment in `spool`, oldest first."""
    try:
        names = os.listdir(spool)  # noqa: PTH208 - names alone are needed, every two seconds
    except OSError:
        return []
    found = [spool / name for name in names if name.endswith(SUFFIX) and name != UNREADABLE]
    return sorted(found, key=_modified)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def read(segment: Segment, *, whole: bool) -> Iterator[Lines]:
    """What is not loaded yet, in batches. It is read from the open file, so that even a deleted one is read to its end.

    With `whole` nobody writes to it any more, and a last line without a newline counts as a line.
    """
    start, size = segment.loaded_bytes, READ_BYTES
    while data := _read_at(segment, size, start):
        end = data.rfind(b"\n") + 1
        if len(data) < size and whole:
            end = len(data)
        if end == 0:
            if len(data) < size:
                return
            size *= 2
            continue
        yield from _batches(data[:end], start)
        start, size = start + end, READ_BYTES


def _read_at(segment: Segment, size: int, start: int) -> bytes:
    if not segment.held.is_ours():
        raise OSError(errno.EBADF, f"the program has closed the descriptor of {segment.path}")
    # Not `pread`, which a faked file system leaves to the real one. Whoever writes appends, wherever this is.
    os.lseek(segment.fd, start, os.SEEK_SET)
    return os.read(segment.fd, size)


def _batches(data: bytes, start: int) -> Iterator[Lines]:
    lines: list[bytes] = []
    end = start
    # Not split at once, which would keep callers waiting.
    for line in BytesIO(data):
        end += len(line)
        if line != b"\n":
            lines.append(line.rstrip(b"\n"))
        if len(lines) == MAX_ROWS:
            yield Lines(lines=lines, end=end)
            lines = []
    yield Lines(lines=lines, end=end)


def row_of(line: bytes) -> Row | None:
    """The row that `line` is, or `None` where it is none."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def keep_unreadable(spool: Path, lines: list[bytes], segment: str) -> None:
    """Appends lines that are no rows to `unreadable.jsonl`, each with where it stood."""
    found_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    kept = b"".join(
        orjson.dumps({"found_at": found_at, "segment": segment, "line": line.decode(errors="replace")}) + b"\n"
        for line in lines
    )
    make_folder(spool)
    fd = open_file(spool / UNREADABLE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, kept)
    finally:
        os.close(fd)


def clear_leftovers(spool: Path, older_than_s: float, now_s: float) -> None:
    """Removes files of processes that died while they made a segment, which nobody had written to."""
    with suppress(OSError):
        for path in spool.glob("*.new"):
            if now_s - _modified(path) > older_than_s:
                path.unlink(missing_ok=True)


def leave_elsewhere(spool: Path, lines: Sequence[bytes], *, to_send: bool) -> Path | None:
    """Writes `lines` to a file on another disk, for the next process on the ledger. Returns its path; `None` where no
    disk has room."""
    for folder in _folders(spool):
        try:
            _make_private(folder.parent)
            _make_private(folder)
            segment = create(folder, b"".join(lines), locked=False, to_send=to_send)
        except OSError:
            continue
        segment.close()
        return segment.path
    return None


def left_elsewhere(spool: Path) -> list[Path]:
    """The segments that were left on other disks for the ledger of `spool`, in folders that are this user's alone."""
    return [
        path for folder in _folders(spool) if is_private(folder.parent) and is_private(folder) for path in paths(folder)
    ]


def _folders(spool: Path) -> list[Path]:
    name = hashlib.sha256(os.fsencode(spool.absolute())).hexdigest()[:16]
    user = f"claudetrace-{os.getuid()}"
    return [Path(disk) / user / f"{name}.spool" for disk in dict.fromkeys((tempfile.gettempdir(), *DISKS))]


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_private(folder):
        raise PermissionError(f"{folder} is not this user's alone")
