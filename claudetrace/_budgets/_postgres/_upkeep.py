"""What commands change in the store on a server: what is held, and who somebody was."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._forgetting import ANSWERED, Forgetting
from claudetrace._budgets._postgres._session import Session
from claudetrace._budgets._postgres._steps import Step
from claudetrace._budgets._postgres._view import grants_of, view
from claudetrace._budgets._store import Opening
from claudetrace._errors import ClaudetraceError
from claudetrace._guard import Guard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._budgets._store import Grant, Stored
    from claudetrace._budgets._windows import Window

PATIENCE_S = 10.0


def release(url: ServerUrl, name: str, key: str | None = None) -> list[int]:
    """As `_connect.release`."""
    with view(url) as seen:
        known = [str(each.budget.name) for each in seen.budgets()]
    if name not in known:
        there = ", ".join(map(repr, known)) or "none"
        raise ClaudetraceError(f"there is no budget {name!r} in {url}; there is {there}")
    with _session(url) as session:
        return _do(session, {"do": "release", "name": name, "key": key})  # type: ignore[no-any-return]  # amounts


def forget(
    url: ServerUrl, user: str, sessions: set[str], rows: Mapping[str, str], of: str = "user"
) -> tuple[int, list[str]]:
    """As `_connect.forget`. Older versions of rows stay with the server until it vacuums them."""
    with _session(url) as session:
        found = session.link.call("look_v1", {"what": "told"}, PATIENCE_S)
        forgetting = Forgetting(found["budgets"] or (), user, sessions, of)
        marks = [(forgetting.mark(*each), *each) for each in found["fired"] or ()]
        alerts = [(forgetting.alert(text), alert_id) for alert_id, text in found["alerts"] or ()]
        said = {
            "do": "forget_who",
            "keys": forgetting.keys,
            "marks": [each for each in marks if each[0]],
            "alerts": [(*anew, alert_id) for anew, alert_id in alerts if anew],
            "answered": ANSWERED,
            "results": [(row_id, *name.split("/", 1)) for name, row_id in rows.items()],
        }
        return _do(session, said), forgetting.defined


def grant(url: ServerUrl, each: Stored, window: Window, given: Grant) -> None:
    """As `_connect.grant`."""
    said = {
        "do": "grant",
        "usd": given.picousd,
        "calls": given.calls,
        "made_at": int(given.made_at.timestamp()),
        "made_by": given.made_by,
        "why": given.why,
        "until": None if given.until is None else int(given.until.timestamp()),
    }
    with _session(url) as session:
        _do(session, said, [_claim(each, given.key, window)])


def revoke(url: ServerUrl, each: Stored, key: str, window: Window, at: datetime, by: str) -> list[Grant]:
    """As `_connect.revoke`."""
    asked = {"what": "grants", "id": each.id, "key": key, "since": window.since, "until": window.until}
    with _session(url) as session:
        found = grants_of(session.link.call("look_v1", asked, PATIENCE_S))
        said = {"do": "revoke", "at": int(at.timestamp()), "by": by}
        _do(session, said, [_claim(each, key, window)])
    return found[::-1]


def _claim(each: Stored, key: str, window: Window) -> dict[str, Any]:
    return {"b": each.id, "k": key, "s": window.slot, "e": window.end, "since": window.since, "until": window.until}


@contextmanager
def _session(url: ServerUrl) -> Iterator[Session]:
    """One without budgets of its own."""
    session = Session(url, Opening((), Guard(), time.time, _nothing, _nothing, _nothing))
    try:
        yield session
    finally:
        session.leave()


def _do(session: Session, said: dict[str, Any], claims: list[dict[str, Any]] | None = None) -> Any:
    step = Step({**said, "claims": claims} if claims else said)
    return session.do([step], PATIENCE_S, durable=True)[0][0]


def _nothing(*_said: Any) -> Any:
    return {}
