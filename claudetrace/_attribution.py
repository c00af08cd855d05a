"""`Attribution`: fills in who a call is for, from the tags of process, block, client and baggage, and the request."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from claudetrace._errors import ClaudetraceError
from claudetrace._files import make_folder, open_file, refuse_foreign
from claudetrace._tags import (
    NO_TAGS,
    OWN_TAGS,
    TagContext,
    clean_tags,
    client_tags,
    current_tags,
    limited,
    tag_columns,
    with_tags,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._call import Row
    from claudetrace._config import Settings

HASH_BYTES = 16
MIN_KEY_CHARACTERS = 32
MAX_CACHED = 10_000


class Attribution:
    """What one `instrument()` knows of who its calls are for."""

    def __init__(self, settings: Settings, resource: Row) -> None:
        self._process_tags = limited(dict(settings.tags))
        self._baggage = settings.baggage
        self._resource = resource
        self._hashed = settings.hash_tags
        self._hash = tag_hasher(settings.hash_key, settings.db) if settings.hash_tags else None
        self._plain_columns = {**resource, **tag_columns(self._process_tags)}
        self._plain = TagContext(self._process_tags, ())

    def fill(self, columns: Row, client: object, user: object) -> TagContext:
        """Puts the tags in force into `columns`; gives them with the scopes that count the call."""
        here, bound = current_tags(), client_tags(client)
        if not (here.tags or bound or self._baggage or self._hashed or user is not None):
            columns.update(self._plain_columns)
            return TagContext(self._process_tags, here.scopes) if here.scopes else self._plain
        tags = {**self._process_tags, **self._from_baggage(), **here.tags, **bound}
        if user is not None and "user" not in tags:
            tags.update(clean_tags({"user": user}))
        tags = self._as_stored(limited(tags))
        columns.update(self._resource)
        columns.update(tag_columns(tags))
        return TagContext(tags, here.scopes)

    def of_item(self, row: Row, tags: dict[str, str]) -> Row:
        """The row of a batch's result with `tags` of its own, which it keeps when those of its batch are known."""
        own = self._as_stored(tags)
        return {**with_tags(row, own), OWN_TAGS: orjson.dumps(own).decode()} if own else row

    def _as_stored(self, tags: dict[str, str]) -> dict[str, str]:
        if self._hash is None:
            return tags
        return {name: self._hash(value) if name in self._hashed else value for name, value in tags.items()}

    def hashed(self, tag: str, value: str | None) -> str | None:
        """`value` as the ledger is to have it: hashed, where the settings say so of `tag`."""
        return None if value is None else self._as_stored({tag: value})[tag]

    def _from_baggage(self) -> dict[str, str]:
        if not self._baggage:
            return NO_TAGS.tags  # type: ignore[return-value]  # read alone
        from opentelemetry.baggage import get_baggage

        return clean_tags({name: get_baggage(name) for name in self._baggage})


def tag_hasher(key: str | None, db: Path | None) -> Callable[[str], str]:
    """What replaces a value by its keyed hash, the same in every process that has the key."""
    secret = hashlib.blake2b((key or _key_beside(db)).encode(), digest_size=32).digest()
    cache: dict[str, str] = {}

    def hashed(value: str) -> str:
        known = cache.get(value)
        if known is None:
            known = hashlib.blake2b(value.encode("utf-8", "replace"), key=secret, digest_size=HASH_BYTES).hexdigest()
            if len(cache) < MAX_CACHED:
                cache[value] = known
        return known

    return hashed


def hashed_as(value: str, db: Path) -> str | None:
    """What the ledger `db` has in place of `value` where it hashes it, if its key is at hand."""
    key = os.environ.get("CLAUDETRACE_HASH_KEY")
    if not key and not _key_path(db).exists():
        return None
    return tag_hasher(key or None, db)(value)


def _key_path(db: Path) -> Path:
    return Path(f"{db}.key")


def _key_beside(db: Path | None) -> str:
    """The key in `<db>.key`, made at the first need, readable by its owner alone. Raises `ClaudetraceError`."""
    if db is None:
        return secrets.token_hex(32)
    path = _key_path(db)
    try:
        if not path.exists():
            _make_key(path)
        refuse_foreign(path)
        key = path.read_text().strip()
    except (OSError, ValueError) as error:
        raise ClaudetraceError(f"hash_tags needs the key in {path}, and {error}: pass hash_key=") from error
    if len(key) < MIN_KEY_CHARACTERS:
        # Hashes by a key that anyone can guess hide nothing.
        raise ClaudetraceError(f"hash_tags needs the key in {path}, which is cut short: restore it, or pass hash_key=")
    return key


def _make_key(path: Path) -> None:
    make_folder(path.parent)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    fd = open_file(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(fd, secrets.token_hex(32).encode())
        # Of processes that start at once, the first to link its key has it for all.
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        os.close(fd)
        fresh.unlink()
