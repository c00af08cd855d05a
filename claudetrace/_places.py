"""Where our files are on this machine, and what this process is called."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from claudetrace._files import is_private, make_folder
from claudetrace._tags import tag_text

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("claudetrace")

RECORDS_DB = "records.db"
"""Where rows of programs without a ledger wait to be sent, beside the default one."""

NOWHERE = Path(os.devnull) / "ledger.db"
"""A place where no file can ever be."""


def ledger_path(named: Path | Literal[False] | None) -> Path | None:
    """The path of the ledger: `named`, or `default_db()`; `None` for no ledger.

    It is absolute, so that a process that changes its folder keeps its ledger.
    """
    if named is False:
        return None
    return (default_db() if named is None else named).absolute()


def default_db() -> Path:
    """The path of the ledger where nothing names one: in the user's data folder, or else in a temporary one.

    Under pytest it is in a temporary folder of this process: tests are no spend. Never raises: where no folder can be
    written the path is one that cannot be either, rows wait in memory, and everything else works.
    """
    if variable := os.environ.get("CLAUDETRACE_DB"):
        with suppress(RuntimeError):  # a home of nobody
            return Path(variable).expanduser()
    if "PYTEST_VERSION" in os.environ:
        return _temporary_folder("claudetrace-pytest-", os.getpid()) / "ledger.db"
    folder = _data_folder()
    if folder is not None and _is_writable(folder):
        return folder / "ledger.db"
    try:
        fallback = _private_folder(Path(tempfile.gettempdir()) / f"claudetrace-{_user()}")
    except OSError as error:
        log.warning("claudetrace can write to no folder, so it keeps no ledger: %s", error)
        return NOWHERE
    where = folder or "the data folder of a user without a home"
    log.warning("claudetrace cannot write to %s: the ledger is %s, which may not last", where, fallback / "ledger.db")
    return fallback / "ledger.db"


def spool_of(db: Path | None) -> Path:
    """The folder of the journal of the ledger at `db`; without a ledger a temporary one."""
    if db is None:
        with suppress(OSError):  # no folder can be written: rows stay in memory
            return Path(tempfile.mkdtemp(prefix="claudetrace-"))
        db = NOWHERE
    return db.with_name(f"{db.name}.spool")


def _data_folder() -> Path | None:
    """The user's data folder for claudetrace; `None` for a user without a home."""
    import platformdirs

    try:
        folder = Path(platformdirs.user_data_dir("claudetrace", appauthor=False))
    except RuntimeError:
        return None
    # Older versions give a home that is not known as the folder "~".
    return folder if folder.is_absolute() else None


def _is_writable(folder: Path) -> bool:
    with suppress(OSError):
        make_folder(folder)
        return os.access(folder, os.W_OK)
    return False


def _private_folder(folder: Path) -> Path:
    """`folder`, so that all processes of this user record to one ledger. Everybody may write to where it is: if
    somebody else has made it first, a folder of this process."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if is_private(folder):
            return folder
    return _temporary_folder("claudetrace-", os.getpid())


@cache
def _temporary_folder(prefix: str, pid: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=prefix))

    def remove() -> None:
        if os.getpid() == pid:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _user() -> str:
    getuid: Callable[[], int] | None = getattr(os, "getuid", None)
    return str(getuid()) if getuid else os.environ.get("USERNAME", "user")


def resource() -> dict[str, str]:
    """The columns that name this process: as OpenTelemetry's variables say, else by the program and the host."""
    import socket
    import sys

    named: dict[str, str] = {}
    for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        name, equals, value = pair.partition("=")
        if equals:
            named[name.strip()] = unquote(value.strip())
    program = Path(sys.argv[0] or "python").name if sys.argv else "python"
    environment = named.get("deployment.environment.name") or named.get("deployment.environment")
    columns = {
        "service": os.environ.get("OTEL_SERVICE_NAME") or named.get("service.name") or program,
        "instance": named.get("service.instance.id") or socket.gethostname(),
    }
    columns |= {"environment": environment} if environment else {}
    return {name: tag_text(value) for name, value in columns.items()}
