"""`Forgetting`: what in a budgets' store tells who somebody was, and the names that tell nothing in its place."""

from __future__ import annotations

import re
import secrets
from shlex import quote
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._alerts._sentences import named
from claudetrace._budgets._budget import EACH
from claudetrace._call import RESERVED_TAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = re.compile(r"(\w+(?: [\d.e+-]+)?(?: of \S+)? -?\d+ |loop session )(.*)", re.DOTALL)
"""What a mark begins with, and whose it is."""
ANSWERED = "its answer named somebody who is forgotten"
"""In place of what a receiver said of an alert, which may say whose it is."""


class Forgetting:
    """What is of `value`, a value of the tag `of`, or of one of `sessions`, among what a store has `told`: its budgets,
    the marks of what was told in it, and its alerts."""

    def __init__(self, told: Mapping[str, Any], value: str, sessions: set[str], of: str) -> None:
        # One name for each: two together would have spent more than the limit of one.
        anew = {key: f"(forgotten {secrets.token_hex(4)})" for key in (value, *sessions)}
        self._by_name = {("", key): anew[key] for key in sessions}
        keys, defined = list[tuple[str, int, str]](), set[str]()
        for budget_id, name, definition in told["budgets"] or ():
            # Also those of a budget that this version cannot use.
            for tag, said in (orjson.loads(definition).get("tags") or {}).items():
                theirs = _keys(tag, value, sessions, of)
                if said == EACH:
                    keys += [(anew[key], budget_id, key) for key in theirs]
                    self._by_name |= {(name, key): anew[key] for key in theirs}
                elif said in theirs:
                    defined.add(name)
        marks = [(self._mark(budget, mark), budget, mark) for budget, mark in told["fired"] or ()]
        alerts = [(self._alert(text), alert_id) for alert_id, text in told["alerts"] or ()]
        self.said: dict[str, Any] = {
            "keys": keys,
            "marks": [each for each in marks if each[0]],
            "alerts": [(*found, alert_id) for found, alert_id in alerts if found],
            "answered": ANSWERED,
        }
        """What takes the place of what: of keys in each budget; of marks; of alerts, with the key that each names."""
        self.defined = sorted(defined)
        """The budgets that name them in their own definition."""

    def _mark(self, budget: str, mark: str) -> str | None:
        found = MARK.fullmatch(mark)
        neutral = self._by_name.get((budget, found[2])) if found else None
        return f"{found[1]}{neutral}" if found and neutral else None

    def _alert(self, text: str) -> tuple[str, str] | None:
        said: dict[str, Any] = orjson.loads(text)
        key = said.get("key") or ""
        neutral = self._by_name.get((said.get("budget") or "", key))
        if neutral is None:
            return None
        message = str(said.get("message")).replace(named(key), named(neutral))
        message = message.replace(f"--key {quote(key)}", f"--key {quote(neutral)}")
        # What leads to the calls names whose they are.
        said |= {"key": neutral, "message": message, "command": None, "link": None}
        return orjson.dumps(said).decode(), key


def _keys(tag: str, value: str, sessions: set[str], of: str) -> set[str]:
    """Which values of a tag are forgotten: those that the ledger forgets too."""
    if tag == "session":
        return sessions
    # A user's name may be in any tag of the application's own.
    return {value} if tag == of or (of == "user" and tag not in RESERVED_TAGS) else set()
