"""Loads a newer price list that lies beside a ledger, after checking it."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from claudetrace._errors import ClaudetraceError
from claudetrace._files import make_folder, open_file
from claudetrace._pricing import _rates
from claudetrace._pricing._rates import RateBook, book

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("claudetrace")

LARGEST_BYTES = 4_000_000
_KEYED_BY_RATES = {"_plan": "_plans", "_upper_bound": "highest_rates", "_own": "own_rates_of"}
"""The caches that depend on the rates in force, by module."""


def beside(db: Path) -> Path:
    """Where the updated list of the ledger `db` is kept."""
    return db.with_name(f"{db.name}.rates.json")


def use_rates_of(db: Path | None) -> None:
    """From now on this process prices by the list beside `db`, if there is one that is not older than the package's.
    A list that cannot be used is logged and ignored. Never raises."""
    updated = None
    try:
        updated = None if db is None else kept_list(db)
    except ClaudetraceError as error:
        log.warning("claudetrace prices by its own list: %s", error)
    if updated is not None and updated.as_of < _rates.packaged().as_of:
        updated = None
    if (updated and updated.version) == (_rates.updated and _rates.updated.version):
        return
    _rates.updated = updated
    book.cache_clear()
    for module, name in _KEYED_BY_RATES.items():
        if (loaded := sys.modules.get(f"claudetrace._pricing.{module}")) is not None:
            kept = getattr(loaded, name)
            kept.clear() if isinstance(kept, dict) else kept.cache_clear()


def kept_list(db: Path) -> RateBook | None:
    """The list beside `db`, or `None` where there is none. Raises `ClaudetraceError` where it cannot be used."""
    file = beside(db)
    try:
        with os.fdopen(open_file(file, os.O_RDONLY), "rb") as opened:
            content = opened.read(LARGEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ClaudetraceError(f"the price list {file} cannot be read: {error.strerror or error}") from error
    return checked_list(content, str(file))


def checked_list(content: bytes, name: str) -> RateBook:
    """The price list in `content`. Raises `ClaudetraceError` that says what is wrong with the list called `name`."""
    # Loaded only if there is a list.
    from claudetrace._pricing._list_check import alterations, digests, other_rules, problems

    if len(content) > LARGEST_BYTES:
        raise ClaudetraceError(f"{name} has more than {LARGEST_BYTES:,} bytes: no price list")
    try:
        data = orjson.loads(content)
        known = _rates.packaged().data
        wrong = [
            *problems(data),
            *other_rules(known["global"], data["global"]),
            *alterations(digests(known), digests(data)),
        ]
        found = RateBook(data, hashlib.sha256(content).hexdigest())
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ClaudetraceError(
            f"{name} is no price list in the form of rates.json: {type(error).__name__}: {error}"
        ) from None
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ClaudetraceError(f"{name} cannot be used: {wrong[0]}{more}")
    return found


def keep_list(content: bytes, db: Path) -> Path:
    """Writes `content` beside `db`, whole or not at all. Raises `ClaudetraceError` where it cannot be written."""
    file = beside(db)
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        make_folder(file.parent)
        with os.fdopen(open_file(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise ClaudetraceError(f"{file} cannot be written: {error.strerror or error}") from error
    return file
