"""Where rows go that the disk of the ledger had no room for when their process ended: this user's folders on others."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from claudetrace._ledger import _segments

if TYPE_CHECKING:
    from collections.abc import Sequence

DISKS = ("/var/tmp", "/dev/shm")  # noqa: S108 - each folder of ours in there is checked
"""Beside the temporary folder. What is in memory is gone after a restart, and there until then."""


def leave(spool: Path, lines: Sequence[bytes], *, to_send: bool) -> Path | None:
    """The file that `lines` are in from here on, for the next process on the ledger; `None` where no disk has room."""
    for folder in _folders(spool):
        try:
            _make_private(folder.parent)
            _make_private(folder)
            segment = _segments.create(folder, b"".join(lines), locked=False, to_send=to_send)
        except OSError:
            continue
        segment.close()
        return segment.path
    return None


def left(spool: Path) -> list[Path]:
    """What others left for the ledger of `spool`, in folders that nobody else can write to."""
    return [
        path
        for folder in _folders(spool)
        if _is_private(folder.parent) and _is_private(folder)
        for path in _segments.paths(folder)
    ]


def _folders(spool: Path) -> list[Path]:
    name = hashlib.sha256(os.fsencode(spool.absolute())).hexdigest()[:16]
    user = f"claudetrace-{os.getuid()}"
    return [Path(disk) / user / f"{name}.spool" for disk in dict.fromkeys((tempfile.gettempdir(), *DISKS))]


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(folder):
        raise PermissionError(f"{folder} is not this user's alone")


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
