"""One function for each setting: returns its checked value, or raises an error that says what to pass instead."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from urllib.parse import urlsplit

from claudetrace._errors import ClaudetraceError
from claudetrace._sources import SOURCES
from claudetrace._tags import clean_tags
from claudetrace._text import without_password

if TYPE_CHECKING:
    from claudetrace._alerts._channel import Channel
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._postgres._url import ServerUrl

log = logging.getLogger("claudetrace")
MAX_DAYS = 36_525
_DAYS = {"d": 1.0, "w": 7.0, "h": 1 / 24, "m": 1 / 1440}
BILLINGS = ("api", "credit", "subscription", "unknown")
"""The words of the column `billing`. What a subscription pays is left out of spend."""
RESERVE_USD = Decimal(1)


def refuse(name: str, value: object, way_out: str) -> NoReturn:
    """Raises the error for a setting that cannot be used."""
    raise ClaudetraceError(f"{name}={value!r} cannot be used: {way_out}")


def _if(is_right: Callable[[Any], bool], way_out: str) -> Callable[[str, object], Any]:
    """The function for a setting whose value is right as it is, or refused."""

    def parse(name: str, value: object) -> Any:
        return value if is_right(value) else refuse(name, value, way_out)

    return parse


switch = _if(lambda value: isinstance(value, bool), "give True or False")
text = _if(lambda value: isinstance(value, str) and value != "", "give a string that is not empty")
rates = _if(
    lambda value: isinstance(value, (str, os.PathLike, Mapping)) and bool(value),
    "give the path of a TOML file, or a mapping",
)


def path(name: str, value: object) -> Path:
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        refuse(name, value, "give a path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        refuse(name, value, str(error))


def db(name: str, value: object) -> Path | Literal[False] | None:
    if value is False:
        return False
    if isinstance(value, str) and (value == ":memory:" or "://" in value or value.startswith("file:")):
        refuse(name, value, "give the path of a file, or db=False for no ledger")
    if re.match(r"~(/|$)", str(value)) and os.path.expanduser(str(value)) == str(value):  # noqa: PTH111 - never raises
        log.warning("claudetrace uses the default ledger: %s=%r needs a home directory, and there is none", name, value)
        return None
    return path(name, value)


def tags(name: str, value: object) -> dict[str, str]:
    if isinstance(value, str):
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        if not all(key.strip() and equals for key, equals, _ in pairs):
            refuse(name, value, "write it as k=v,k=v")
        return clean_tags({key.strip(): text.strip() for key, _, text in pairs})
    if not isinstance(value, Mapping):
        refuse(name, value, 'give a mapping, such as {"team": "search"}')
    return clean_tags(value)


def names(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        refuse(name, value, 'give a tuple of names, such as ("user",)')
    if not all(isinstance(each, str) for each in value):
        refuse(name, value, "each name must be a string")
    return tuple(value)


def sources(name: str, value: object) -> tuple[str, ...]:
    """The names of packages whose calls are recorded."""
    named = names(name, value)
    if unknown := set(named) - set(SOURCES):
        refuse(name, sorted(unknown), f"give any of {', '.join(SOURCES)}")
    return tuple(sorted(set(named)))


def metric_tags(name: str, value: object) -> tuple[str, ...]:
    told = names(name, value)
    if unfit := {"user", "session"} & {*told}:
        refuse(name, value, f"{min(unfit)} has too many values for metrics: use claudetrace report --by {min(unfit)}")
    return told


def one_of(*words: str) -> Callable[[str, object], Any]:
    return _if(lambda value: isinstance(value, str) and value in words, f"give one of {', '.join(words)}")


def sinks(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or not all(
        callable(getattr(sink, verb, None)) for sink in value for verb in ("write", "close")
    ):
        refuse(name, value, "give a tuple of objects with the methods write(calls) and close()")
    return tuple(value)


def megabytes(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        refuse(name, value, "give a number of megabytes greater than 0")
    return float(value)


def otlp(name: str, value: object) -> bool | str:
    if isinstance(value, bool):
        return value
    try:
        where = urlsplit(value) if isinstance(value, str) else None
        if where is not None and where.scheme in ("http", "https") and where.hostname and not where.query:
            return str(value)
    except ValueError:
        where = None
    shown = without_password(value) if isinstance(value, str) else value
    refuse(name, shown, 'give True, or a collector\'s URL without a query, such as "http://localhost:4318"')


def budgets(_name: str, value: object) -> tuple[Budget, ...] | Literal["store"]:
    from claudetrace._budgets._budget import budgets_from

    return "store" if value == "store" else budgets_from(value)


def alert_to(name: str, value: object) -> tuple[Channel, ...]:
    from claudetrace._alerts._channels import channels

    return channels(name, value)


def budget_store(name: str, value: object) -> Path | ServerUrl:
    if isinstance(value, str) and is_elsewhere(value):
        from claudetrace._budgets._postgres._url import ServerUrl

        return ServerUrl(value)
    return path(name, value)


def is_elsewhere(value: str) -> bool:
    """Whether a store is named by a URL, or by `env:NAME`, and not by a path."""
    return "://" in value or value.startswith("env:")


web_url = _if(
    lambda value: isinstance(value, str) and value.startswith(("https://", "http://")),
    "give the URL of the dashboard's first page, such as https://host.example/-/claudetrace",
)
# The owner can always read and write; nothing is executable.
file_mode = _if(
    lambda value: type(value) is int and value & 0o600 == 0o600 and not value & ~0o666,
    "give 0o600, or for a group 0o660 or 0o640",
)


def days(name: str, value: object) -> float:
    """A duration such as `90d`, `2w`, `12h` or `30m`, in days. Raises `ClaudetraceError`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([dwhm])\s*", value) if isinstance(value, str) else None
    length = float(match[1]) * _DAYS[match[2]] if match else 0.0
    if not 0 < length <= MAX_DAYS:
        refuse(name, value, "write a duration such as 90d, 2w or 12h, of at most 100 years")
    return length


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """What the settings say of agents."""

    billing: str = "unknown"
    """Who pays for the transcripts that are imported."""
    reserve_usd: Decimal = RESERVE_USD
    """What a query that says nothing of it sets aside in budgets that block."""


def agents(name: str, value: Any) -> Agents:
    """The checked table. Raises `ClaudetraceError`, naming what is impossible and the way out."""
    if not isinstance(value, Mapping) or value.keys() - {"billing", "reserve_usd"}:
        raise ClaudetraceError(f'{name}={value!r:.200} cannot be used: it may hold billing = "…" and reserve_usd = 1.0')
    said: dict[str, Any] = dict(value)
    if said.get("billing", "api") not in BILLINGS:
        raise ClaudetraceError(f"{name}, billing={said['billing']!r} is not one of {', '.join(BILLINGS)}")
    if "reserve_usd" in said:
        usd = said["reserve_usd"]
        if isinstance(usd, bool) or not isinstance(usd, (int, float, Decimal)) or not 0 < usd < 10**6:
            raise ClaudetraceError(f"{name}, reserve_usd={usd!r} cannot be used: give dollars above 0")
        said["reserve_usd"] = Decimal(str(usd))
    return Agents(**said)
