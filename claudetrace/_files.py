"""Makes and opens files of ours: for their owner alone, and never one that somebody else may have put there."""

from __future__ import annotations

import errno
import logging
import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from claudetrace._errors import ClaudetraceError

log = logging.getLogger("claudetrace")

FILE_MODE = 0o600
SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")
_OPENING = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Follows no link, and does not wait for a pipe in the place of a file."""
FRAGILE = {
    "tmpfs": "in memory: it is gone after a restart",
    "ramfs": "in memory: it is gone after a restart",
    "overlay": "in a container's own layer: it is gone with the container",
    **dict.fromkeys(
        ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "9p", "virtiofs"),
        "on a network file system, on which SQLite can lose data",
    ),
}
_mode = FILE_MODE


class ForeignFile(ClaudetraceError, PermissionError):  # noqa: N818 - what it is, not how it went
    """A file or folder that somebody else may have put where ours belongs."""


def set_file_mode(mode: int) -> None:
    """Makes new files of this process with `mode`, and new folders with the x bits that match."""
    global _mode
    _mode = mode


def folder_mode() -> int:
    """The mode of new folders: with `file_mode` for a group, what is made in them belongs to that group too."""
    return _mode | (_mode & 0o444) >> 2 | (stat.S_ISGID if _mode & 0o060 else 0)


def make_folder(folder: Path) -> None:
    """Makes `folder` with the parents that are missing. Raises `OSError`, `ForeignFile` for one of somebody else."""
    try:
        folder.mkdir(mode=folder_mode())
    except FileNotFoundError:
        make_folder(folder.parent)
        make_folder(folder)
    except FileExistsError:
        if not folder.is_dir():
            raise
        refuse_foreign(folder)
    else:
        _give(folder, folder.parent.stat())
        if _mode != FILE_MODE:
            # What the umask has taken off.
            folder.chmod(folder_mode())


def _give(made: int | Path, folder: os.stat_result) -> None:
    """Gives what is new in `folder` to its owner where root made it, as SQLite does; and to its group where it is for a
    group."""
    with suppress(OSError, AttributeError):
        if os.geteuid() == 0 and folder.st_uid != 0:
            os.chown(made, folder.st_uid, folder.st_gid)
        elif _mode & stat.S_IWGRP and folder.st_mode & stat.S_IWGRP:
            os.chown(made, -1, folder.st_gid)


def open_file(path: Path, flags: int) -> int:
    """A descriptor of the regular file at `path`. Raises `OSError`, `ForeignFile` for one of somebody else.

    With `O_CREAT` in `flags` it is made if need be, with the mode of our files.
    """
    if flags & os.O_CREAT and not flags & os.O_EXCL:
        try:
            return open_file(path, flags | os.O_EXCL)
        except FileExistsError:
            return open_file(path, flags & ~os.O_CREAT)
    try:
        fd = os.open(path, flags | _OPENING, _mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise ForeignFile(_told(path, "a link")) from error
        raise
    try:
        if flags & os.O_CREAT:
            _give(fd, path.parent.stat())
            if _mode != FILE_MODE:
                os.fchmod(fd, _mode)
        _refuse(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_database(path: Path) -> None:
    """Makes the empty file of a database with the mode of our files, which SQLite gives to those beside it. One that is
    there stays as it is. Raises `OSError`."""
    make_folder(path.parent)
    try:
        os.close(open_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        refuse_foreign_database(path)


def is_writable(database: Path) -> bool:
    """Whether this user may write the database, or make it, and files beside it, without which SQLite changes none."""
    real = os.path.realpath(database)
    folder = os.path.dirname(real)  # noqa: PTH120 - nothing here raises
    if not os.path.exists(folder):  # noqa: PTH110 - nothing here raises
        return True
    return os.access(folder, os.W_OK | os.X_OK) and (not os.path.lexists(real) or os.access(real, os.W_OK))


def require_writable(database: Path) -> None:
    """Raises `ClaudetraceError` where this user may not write the database."""
    if not is_writable(database):
        raise ClaudetraceError(f"{database} or its folder cannot be written by this user, so nothing of it is changed")


def refuse_foreign_database(path: Path) -> None:
    """Raises `ForeignFile` where the database at `path`, or a file beside it, may be somebody else's."""
    for suffix in SQLITE_SUFFIXES:
        refuse_foreign(path.with_name(path.name + suffix))


def refuse_foreign(path: Path) -> None:
    """Raises `ForeignFile` where somebody else may have put what is at `path`."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    _refuse(path, found)


def _refuse(path: Path, found: os.stat_result) -> None:
    folder = path.parent.stat()
    if not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        # Whoever named this folder trusts its owner, and nobody else writes there.
        return
    if stat.S_ISLNK(found.st_mode):
        raise ForeignFile(_told(path, "a link"))
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise ForeignFile(_told(path, "no file"))
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise ForeignFile(_told(path, "a file that has another name too"))
    if found.st_uid not in (os.geteuid(), folder.st_uid) and not _of_group(found, folder):
        raise ForeignFile(_told(path, "another user's"))


def _of_group(found: os.stat_result, folder: os.stat_result) -> bool:
    """Whether `found` is of the group for which `file_mode` opens our files, and of nobody beyond it."""
    return bool(_mode & stat.S_IWGRP) and found.st_gid == folder.st_gid and not found.st_mode & stat.S_IWOTH


def _told(path: Path, what: str) -> str:
    return (
        f"{path} is {what}, in a folder that others can write to, so it is not used: remove it, or name a place of "
        "your own with db= or CLAUDETRACE_DB"
    )


def is_private(folder: Path) -> bool:
    """Whether `folder` is a folder of this user's, and no link, that nobody else can use."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    is_ours = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
    return is_ours and stat.S_ISDIR(found.st_mode)


@cache
def warn_of_fragile(path: Path, what: str, setting: str) -> None:
    """Logs, once, that `what` is kept where the file system does not last, and which `setting` names another place.
    Whoever names a temporary folder knows that."""
    if (reason := fragile_filesystem(path)) and not path.is_relative_to(tempfile.gettempdir()):
        log.warning("claudetrace keeps %s where it may not last: %s; set %s=", what, reason, setting)


def fragile_filesystem(path: str | Path) -> str | None:
    """Why the file system of `path` is no place for a ledger, or `None` where it is one or cannot be told."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
        real = Path(os.path.realpath(path))
    except OSError:
        return None
    kinds = {Path(folder.replace("\\040", " ")): kind for _, folder, kind, *_ in map(str.split, mounts.splitlines())}
    kind = next((kinds[folder] for folder in (real, *real.parents) if folder in kinds), "")
    reason = FRAGILE.get(kind) or (FRAGILE["nfs"] if kind.startswith("fuse.") else None)
    return f"{path} is {reason} ({kind})" if reason else None
