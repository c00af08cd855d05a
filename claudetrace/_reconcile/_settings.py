"""`[reconcile]` of `claudetrace.toml`, and the discount: as it says, or as the last reconciliation measured it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace import _parse
from claudetrace._call import exact_usd
from claudetrace._config import CONFIG_NAME, read_config
from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    import sqlite3
    from decimal import Decimal

MEASURED = """
    SELECT
        SUM(list_picousd / 1000000),
        SUM(list_picousd % 1000000),
        SUM(billed_picousd / 1000000),
        SUM(billed_picousd % 1000000),
        MIN(day),
        MAX(day)
    FROM bill
    WHERE scope = (SELECT scope FROM bill ORDER BY reconciled_at DESC LIMIT 1)
        AND judged
        AND list_picousd > 0
        AND day >= (SELECT DATE(MAX(day), '-31 days') FROM bill)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillSettings:
    """What `[reconcile]` says."""

    at_least: Fraction = Fraction("0.98")
    """A lower capture rate is a finding, if a workspace or a key is named."""
    discount: Fraction | None = None
    """The share of the list price that is not billed."""
    workspace_ids: tuple[str, ...] = ()
    api_key_ids: tuple[str, ...] = ()


def bill_settings() -> BillSettings:
    """The settings in the file that the environment or the working directory names. Raises `ClaudetraceError`."""
    said = read_config(None).get("reconcile", {})
    where = f"[reconcile] in {CONFIG_NAME}"
    known: dict[str, Callable[[str, object], Any]] = {
        "at_least": _share,
        "discount": _discount,
        "workspace_ids": _parse.names,
        "api_key_ids": _parse.names,
    }
    if not isinstance(said, Mapping) or set(said) - set(known):
        _parse.refuse(where, said, f"it may hold {', '.join(known)} and nothing else")
    return BillSettings(**{name: known[name](f"{where} {name}", value) for name, value in said.items()})


def _discount(name: str, value: object) -> Fraction:
    share = _share(name, value)
    return share if share < 1 else _parse.refuse(name, value, "something is billed, so it is less than 1")


def _share(name: str, value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        _parse.refuse(name, value, "it is a share from 0 to 1, such as 0.12")
    return Fraction(str(value))


class Discount(NamedTuple):
    """The share of the list price that is not billed, and the source of that."""

    share: Fraction
    known_by: str

    def billed_usd(self, list_picousd: int) -> Decimal:
        """What is billed for this list price, to the picodollar."""
        return exact_usd(round(list_picousd * (1 - self.share)))


def known_discount(connection: sqlite3.Connection) -> Discount:
    """The discount. Raises `ClaudetraceError` if none is set or measured."""
    if (told := bill_settings().discount) is not None:
        return Discount(told, "as [reconcile] discount says")
    whole, rest, billed, billed_rest, first, last = connection.execute(MEASURED).fetchone()
    if not whole and not rest:
        raise ClaudetraceError(
            "no discount is known: run `claudetrace reconcile`, which measures it, or set discount under [reconcile] "
            "in the file that CLAUDETRACE_CONFIG names"
        )
    share = 1 - Fraction(billed * 10**6 + billed_rest, whole * 10**6 + rest)
    return Discount(share, f"as `claudetrace reconcile` measured it from {first} to {last}")
