"""The user's own rates: discounts on the price list, and prices of their own, each from a day on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._errors import ClaudetraceError
from claudetrace._pricing._ids import read_id, unknown_name
from claudetrace._pricing._own_check import Refused, checked_rates, line_of
from claudetrace._pricing._rates import RateSet, book, class_rates, in_force

if TYPE_CHECKING:
    from claudetrace._pricing._own_check import Period


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnRates:
    """Own rates that have been checked."""

    text: str
    """The same as one line of JSON, which rows keep so that they can be priced again."""
    discounts: list[Period]
    models: Mapping[str, list[Period]]
    ids: Mapping[str, str]
    """Each model that is missing from the price list, by itself."""
    likes: Mapping[str, str]
    """Models that are priced like another until the list has them."""

    def rated_as(self, model: str) -> str:
        """The model whose rates `model` has."""
        return model if model in book().models else self.likes.get(model, model)

    def discount_on(self, day: str) -> Fraction | None:
        """The part of every list price that is taken off on `day`."""
        period = in_force(self.discounts, day)
        return None if period is None else Fraction(period["discount"])

    def applied(
        self, model: str, listed: RateSet | None, day: str, *, fast: bool, batch: bool
    ) -> tuple[RateSet | None, bool]:
        """The rates that replace `listed`, and whether they are own rates. A model's own go before other ones."""
        period = in_force(self.models.get(model, ()), day)
        if period is not None and "discount" not in period:
            return _own_set(period, fast=fast, batch=batch), True
        if listed is None:
            return None, False
        discount = self.discount_on(day) if period is None else Fraction(period["discount"])
        if discount is None:
            return listed, False
        return listed.times(1 - discount), True


def load_own_rates(source: Mapping[str, Any] | str | Path, *, file: Path | None = None) -> OwnRates:
    """The own rates in a mapping, or in a TOML file: its table `rates`, else the whole file.

    `file` is where a mapping was read from, so that an error can name the line.
    Raises `ClaudetraceError` that says what is impossible and where.
    """
    if not isinstance(source, Mapping):
        file = Path(source)
        source = _read_toml(file)
        source = source.get("rates", source)
    try:
        own = _own_rates(source)
        _refuse_unknown(own)
    except Refused as refusal:
        raise ClaudetraceError(f"{_place(refusal, file)}: {refusal.reason}") from None
    return own


def _refuse_unknown(own: OwnRates) -> None:
    """Raises `Refused` where a model is priced like one without rates. Called only when the process starts: a row may
    have own rates that were made with another list."""
    for model, like in own.likes.items():
        if like not in book().models and like not in own.models:
            raise Refused((model, "like"), unknown_name(like))


def _own_rates(source: Any) -> OwnRates:
    listed = book().ids
    discounts, models, likes = checked_rates(source, lambda text: read_id(text, listed).model or text)
    told = {
        **{name: {"like": like} for name, like in likes.items()},
        **({"discounts": discounts} if discounts else {}),
        **({"models": models} if models else {}),
    }
    return OwnRates(
        text=orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode(),
        discounts=discounts,
        models=models,
        ids={model: model for model in (*models, *likes) if model not in book().models},
        likes=likes,
    )


@lru_cache(maxsize=64)
def own_rates_of(text: str | None) -> OwnRates | None:
    """The own rates in a row's terms, or `None` where there are none that can be read."""
    if text is None:
        return None
    try:
        return _own_rates(orjson.loads(text))
    except (ValueError, Refused):
        return None


def _own_set(period: Mapping[str, Any], *, fast: bool, batch: bool) -> RateSet | None:
    if fast:
        return None if batch or "fast" not in period else RateSet(rates=class_rates(period["fast"]))
    if batch and "batch" not in period:
        return RateSet(rates=class_rates(period)).times(book().batch_factor)
    return RateSet(rates=class_rates(period["batch"] if batch else period))


def _read_toml(file: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ClaudetraceError(f"the rates in {file} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ClaudetraceError(f"the rates in {file} are not TOML: {error}") from error


def _place(refusal: Refused, file: Path | None) -> str:
    name = ".".join(("rates", *refusal.keys))
    if file is None:
        return name
    try:
        line = line_of(file.read_text(encoding="utf-8"), refusal.keys)
    except (OSError, ValueError):
        line = None
    return f"{file}, {name}" if line is None else f"{file}, line {line}, {name}"
