"""Checks own rates key by key, and finds the line of the file that is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._pricing._rates import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

_DAYS = ("from", "to")
_RATES_KEYS = {"discount", "discounts", "models", *_DAYS}
_DISCOUNT_KEYS = {"discount", *_DAYS}
_MODEL_KEYS = {"discount", "batch", "fast", *CLASSES, *_DAYS}
_LARGEST_USD_PER_MILLION = 10**9
_KEY = re.compile(r"""\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)\s*(\.|$)""")


class Refused(Exception):  # noqa: N818 - never leaves this room: `load_own_rates` makes an error of it
    """Own rates that cannot be used: where, and why."""

    def __init__(self, keys: tuple[str, ...], reason: str) -> None:
        super().__init__(keys, reason)
        self.keys = keys
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPeriod:
    """Own prices from one day until before another: a discount, or prices by class."""

    start: str
    end: str | None
    discount: Fraction | None = None
    prices: Mapping[str, str] | None = None
    batch: Mapping[str, str] | None = None
    fast: Mapping[str, str] | None = None


Checked: TypeAlias = "tuple[tuple[OwnPeriod, ...], dict[str, tuple[OwnPeriod, ...]], dict[str, str]]"
"""Discounts on the whole list, the periods of each model, and the models that are priced like another."""


def checked_rates(source: Any, model_of: Callable[[str], str]) -> Checked:
    """The own rates in `source`. Raises `Refused` at the first that cannot be used."""
    liked = _liked(source)
    _known_keys(source, _RATES_KEYS | liked.keys(), ())
    tables: list[tuple[tuple[str, ...], Any]] = [
        (("discounts", str(place)), table) for place, table in _tables(source, "discounts")
    ]
    if "discount" in source:
        tables.append(((), {name: source[name] for name in _DISCOUNT_KEYS if name in source}))
    elif any(name in source for name in _DAYS):
        raise Refused((), "a day without a `discount`; add one, or remove the day")
    discounts = _in_order([_discount(table, keys) for keys, table in tables], ("discounts",))
    models: dict[str, tuple[OwnPeriod, ...]] = {}
    named = source.get("models", {})
    if not isinstance(named, Mapping):
        raise Refused(("models",), "must be a table with a model's id for each key")
    for name in named:
        keys = ("models", str(name))
        periods = [
            _model_period(table, keys if place is None else (*keys, str(place)))
            for place, table in _tables(named, name, keys)
        ]
        model = model_of(str(name))
        if model in models:
            raise Refused(keys, f"{model} has own prices under two names; keep one")
        models[model] = _in_order(periods, keys)
    likes = {model_of(name): model_of(_like(table, (name,))) for name, table in liked.items()}
    for model in likes.keys() & models.keys():
        raise Refused((model,), "has prices of its own too; keep one")
    return discounts, models, likes


def _liked(source: Any) -> dict[str, Any]:
    """The tables that price a model like another one, as `"claude-new-1" = { like = "claude-old-1" }`."""
    if not isinstance(source, Mapping):
        return {}
    return {
        str(name): table
        for name, table in source.items()
        if name not in _RATES_KEYS and isinstance(table, Mapping) and "like" in table
    }


def _like(table: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    _known_keys(table, {"like"}, keys)
    if not isinstance(table["like"], str) or not table["like"]:
        raise Refused((*keys, "like"), f"{table['like']!r} is not the id of a model")
    return table["like"]


def _tables(source: Mapping[str, Any], name: str, keys: tuple[str, ...] = ()) -> list[tuple[int | None, Any]]:
    """The tables under `name`: one, or a list of them with their places."""
    value = source.get(name, [])
    if isinstance(value, list):
        return list(enumerate(value))
    if name == "discounts":
        raise Refused((*keys, name), "must be a list of tables, as [[rates.discounts]]")
    return [(None, value)]


def _known_keys(table: Any, known: set[str], keys: tuple[str, ...]) -> None:
    if not isinstance(table, Mapping):
        raise Refused(keys, f"must be a table, not {table!r}")
    for name in table:
        if name not in known:
            raise Refused((*keys, str(name)), f"is not known; known are {', '.join(sorted(known))}")


def _discount(table: Any, keys: tuple[str, ...]) -> OwnPeriod:
    _known_keys(table, _DISCOUNT_KEYS, keys)
    if "discount" not in table:
        raise Refused(keys, "has no `discount`")
    return OwnPeriod(**_days(table, keys), discount=_share(table["discount"], (*keys, "discount")))


def _model_period(table: Any, keys: tuple[str, ...]) -> OwnPeriod:
    _known_keys(table, _MODEL_KEYS, keys)
    priced = [name for name in (*CLASSES, "batch", "fast") if name in table]
    if "discount" in table:
        if priced:
            raise Refused((*keys, "discount"), f"cannot stand beside `{priced[0]}`: discount the list, or price")
        return _discount(table, keys)
    prices = {name: table[name] for name in CLASSES if name in table}
    batch, fast = (_prices(table[name], (*keys, name)) if name in table else None for name in ("batch", "fast"))
    return OwnPeriod(**_days(table, keys), prices=_prices(prices, keys), batch=batch, fast=fast)


def _prices(table: Any, keys: tuple[str, ...]) -> Mapping[str, str]:
    _known_keys(table, set(CLASSES), keys)
    missing = [name for name in CLASSES if name not in table]
    if missing:
        raise Refused(keys, f"has no `{missing[0]}`; a price needs all of {', '.join(CLASSES)}")
    return {name: _price(table[name], (*keys, name)) for name in CLASSES}


def _price(value: Any, keys: tuple[str, ...]) -> str:
    price = _decimal(value, keys)
    if not 0 <= price <= _LARGEST_USD_PER_MILLION:
        raise Refused(keys, f"{value} is not a price in dollars for a million tokens; give 0 or more")
    return format(price.normalize(), "f")


def _share(value: Any, keys: tuple[str, ...]) -> Fraction:
    share = _decimal(value, keys)
    if not 0 <= share <= 1:
        raise Refused(keys, f"{value} is not a share of the price; give 0 to 1, as 0.15 for 15 % off")
    return Fraction(share)


def _decimal(value: Any, keys: tuple[str, ...]) -> Decimal:
    number = Decimal("NaN")
    if isinstance(value, int | float | str | Decimal) and not isinstance(value, bool):
        try:
            # By its text, so that the float 0.1 is a tenth.
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > 18 or len(number.as_tuple().digits) > 27:
        raise Refused(keys, f"{value!r} is not a number")
    return number


def _days(table: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    start, end = (_day(table.get(name), (*keys, name)) for name in _DAYS)
    if start is not None and end is not None and end <= start:
        raise Refused((*keys, "to"), f"{end} is not after `from`, {start}")
    return {"start": start or "", "end": end}


def _day(value: Any, keys: tuple[str, ...]) -> str | None:
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    try:
        return datetime.strptime(value, "%Y-%m-%d").date().isoformat()
    except (TypeError, ValueError):
        raise Refused(keys, f"{value!r} is not a day; give one as 2026-11-21, UTC") from None


def _in_order(periods: list[OwnPeriod], keys: tuple[str, ...]) -> tuple[OwnPeriod, ...]:
    ordered = sorted(periods, key=lambda period: period.start)
    for earlier, later in pairwise(ordered):
        if earlier.end is None or earlier.end > later.start:
            until = f"until {earlier.end}" if earlier.end else "without an end"
            raise Refused(
                keys,
                f"the prices from {later.start or 'the beginning'} overlap those from "
                f"{earlier.start or 'the beginning'} {until}",
            )
    return tuple(ordered)


def plain_rates(checked: Checked) -> dict[str, Any]:
    """The same in plain JSON types, which `checked_rates` takes back."""
    discounts, models, likes = checked
    plain: dict[str, Any] = {name: {"like": like} for name, like in likes.items()}
    if discounts:
        plain["discounts"] = [_plain_period(period) for period in discounts]
    if models:
        plain["models"] = {name: [_plain_period(period) for period in periods] for name, periods in models.items()}
    return plain


def _plain_period(period: OwnPeriod) -> dict[str, Any]:
    share = period.discount
    told = {
        "from": period.start or None,
        "to": period.end,
        "discount": None if share is None else format(Decimal(share.numerator) / share.denominator, "f"),
        **(period.prices or {}),
        "batch": period.batch,
        "fast": period.fast,
    }
    return {name: value for name, value in told.items() if value is not None}


def line_of(text: str, keys: tuple[str, ...]) -> int | None:
    """The line of the TOML file `text` that matches most of `keys`, counted from 1."""
    said = _said(text)
    if any(path[:1] == ("rates",) for _, path in said):
        said = [(number, path[1:]) for number, path in said if path[:1] == ("rates",)]
    best, line = -1, None
    for number, path in said:
        shared = min(len(path), len(keys))
        if shared > best and path[:shared] == keys[:shared]:
            best, line = shared, number
    return line


def _said(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """Each line of a TOML file that names a key, with the whole path of the key."""
    table: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    said = []
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.split("#")[0].strip()
        if bare.startswith("["):
            table = split_key(bare.strip("[]"))
            if bare.startswith("[["):
                place = counts[table] = counts.get(table, -1) + 1
                table = (*table, str(place))
            said.append((number, table))
        elif "=" in bare:
            said.append((number, (*table, *split_key(bare.split("=")[0]))))
    return said


def split_key(text: str) -> tuple[str, ...]:
    """The parts of a dotted TOML key, without their quotes."""
    parts = []
    place = 0
    while match := _KEY.match(text, place):
        parts.append(match[1].strip("\"'"))
        place = match.end()
        if match[2] != ".":
            break
    return tuple(parts)
