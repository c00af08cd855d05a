"""The budgets' store in a PostgreSQL database, for the processes of many hosts."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._connect import View
from claudetrace._budgets._postgres._link import Link, linked
from claudetrace._budgets._postgres._store import PostgresStore as OwnStore
from claudetrace._budgets._records import Fact, Opening
from claudetrace._budgets._steps import Step
from claudetrace._guard import Guard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claudetrace._budgets._postgres._url import ServerUrl

LONGEST_S = 30.0
PATIENCE_S = 10.0
APART_S = 5.0


@contextmanager
def view(url: ServerUrl) -> Iterator[View]:
    """As `_connect.view`. Each question sees the store as it is then. Raises `ServerError`."""
    with linked(url) as link:
        look = partial(_look, link, LONGEST_S)
        yield View(look, partial(_facts, look))


def _look(link: Link, longest_s: float, what: str, **said: Any) -> Any:
    return link.call("look_v1", {"what": what, **said}, longest_s)


def _facts(look: Any) -> Iterator[Fact]:
    found = look("server")
    yield Fact("server", f"PostgreSQL {found['server']}")
    yield Fact("schema", f"version {found['version']}")
    yield Fact("a crash", "loses nothing" if found["durable"] else "may lose the last second, which is sent again")
    apart_s = time.time() - found["now"]
    finding = "set this host's clock: rows and alerts have its time" if abs(apart_s) > APART_S else None
    yield Fact("clock", f"{apart_s:+.1f} s from the server's", finding)
    if not os.environ.get("CLAUDETRACE_HASH_KEY"):
        told = "not set: hash_tags gives one value another hash on each host; set one on all that use it"
        yield Fact("CLAUDETRACE_HASH_KEY", told)


@contextmanager
def changing(url: ServerUrl, *, wholly: bool = False) -> Iterator[Any]:  # noqa: ARG001 - as of a file
    """Lets a command change the store, as a process without budgets of its own. Older versions of rows stay with the
    server until it vacuums them."""
    store = OwnStore(url, Opening((), Guard(), time.time, _nothing, _nothing, _nothing))
    look = partial(_look, store.link, PATIENCE_S)
    try:
        with store.group(PATIENCE_S):
            yield SimpleNamespace(look=look, do=lambda said: store.do([Step(said)], durable=True)[0][0])
    finally:
        store.close()


def _nothing(*_said: Any) -> Any:
    return {}
