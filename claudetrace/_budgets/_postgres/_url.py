"""`ServerUrl`: where a store on PostgreSQL is. What is shown of it holds no secret."""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from claudetrace._budgets._records import StoreError
from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Mapping

KNOWN = re.compile(r"postgres(?:ql)?(?:\+\w+)?://(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?]*))?@)?(?P<rest>[^@]*)")
"""With `+…`, which names a driver in the URLs of SQLAlchemy."""
ENVIRONMENT = "env:"
WAYS_OUT: Mapping[str, str] = {
    "3F000": "make its schema: claudetrace budgets init URL",
    "42P01": "make its schema: claudetrace budgets init URL",
    "42883": "it is of another version: run claudetrace budgets init URL with this release",
    "42501": "this role may not use it: claudetrace budgets init URL prints what to GRANT",
    "28P01": "look at the user and the password of its URL",
    "53300": "it has no connection left: raise max_connections, or put PgBouncer in front",
    "25006": "this server only reads: name the one that writes, or add target_session_attrs=read-write",
}
"""By SQLSTATE."""


class ServerError(StoreError):
    """The server did not do what it was asked."""

    def __init__(self, told: str, *, state: str = "", answered: bool = True, closed: bool = False) -> None:
        super().__init__(told)
        self.state = state
        self.answered = answered
        """Whether the server has said so; else it may have done it."""
        self.closed = closed
        """Whether the connection was closed."""


class ServerUrl:
    """The URL of a database, or `env:NAME` of the variable that holds it. Two are equal if they lead to the same."""

    def __init__(self, said: str) -> None:
        """Raises `ClaudetraceError` for what is no such URL, and shows nothing of it."""
        self._variable = said.removeprefix(ENVIRONMENT) if said.startswith(ENVIRONMENT) else None
        text = said if self._variable is None else os.environ.get(self._variable, "")
        if not text:
            raise ClaudetraceError(f"budget_store={said!r} cannot be used: that variable is not set")
        found = KNOWN.fullmatch(text)
        if found is None:
            raise ClaudetraceError(
                "budget_store= cannot be used: write postgresql://user:password@host:port/database, with %XX in place "
                "of each of @ / ? # : % in the user and the password"
            )
        self._text = "postgresql" + text[text.index("://") :]
        self._secrets = {each for each in (found["password"],) if each}
        where, _, query = found["rest"].partition("?")
        self._secrets |= set(re.findall(r"(?:password|passwd)=([^&]+)", query))
        self._name = f"postgresql://{found['user'] + '@' if found['user'] else ''}{where}"

    @property
    def is_open_to_others(self) -> bool:
        """Whether it was said with its password."""
        return bool(self._secrets) and self._variable is None

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return repr(self._name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServerUrl) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __getstate__(self) -> Any:
        raise TypeError("the URL of a budgets' store holds a password, and is not pickled")

    def conninfo(self) -> bytes:
        """For libpq."""
        mark = "&" if "?" in self._text else "?"
        return f"{self._text}{mark}fallback_application_name=claudetrace&client_encoding=UTF8".encode()

    @cached_property
    def connect_s(self) -> float | None:
        """The URL's own `connect_timeout`."""
        found = re.search(r"[?&]connect_timeout=(\d+)", self._text)
        return float(found[1]) if found else None

    def fault(self, error: object, *, state: str = "", answered: bool, closed: bool = False) -> ServerError:
        """What went wrong, in words that hold no secret."""
        told = " ".join(str(error).split()) or "it closed the connection"
        for secret in self._secrets:
            for spelt in {secret, unquote(secret)}:
                told = told.replace(spelt, "…")
        way_out = WAYS_OUT.get(state)
        if way_out is None and "password authentication failed" in told:
            way_out = WAYS_OUT["28P01"]
        return ServerError(
            f"{self}: {told}" + (f"; {way_out}" if way_out else ""), state=state, answered=answered, closed=closed
        )
