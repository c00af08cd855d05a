"""What checks one setting each: gives its value, or refuses it with the way out."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from urllib.parse import urlsplit

from claudetrace._errors import ClaudetraceError
from claudetrace._sources import SOURCES
from claudetrace._tags import clean_tags
from claudetrace._text import without_password

if TYPE_CHECKING:
    from claudetrace._alerts._channels import Channel
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._postgres._url import ServerUrl


log = logging.getLogger("claudetrace")


def refuse(name: str, value: object, way_out: str) -> NoReturn:
    """Raises the error of a setting that cannot be."""
    raise ClaudetraceError(f"{name}={value!r} cannot be used: {way_out}")


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
        log.warning("claudetrace knows no home for %s=%r: the default takes its place", name, value)
        return None
    return path(name, value)


def tags(name: str, value: object) -> dict[str, str]:
    if isinstance(value, str):
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        if not all(key.strip() and equals for key, equals, _ in pairs):
            refuse(name, value, "write it as k=v,k=v")
        return clean_tags({key.strip(): text.strip() for key, _, text in pairs})
    if not isinstance(value, Mapping):
        refuse(name, value, 'give a mapping, as {"team": "search"}')
    return clean_tags(value)


def names(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        refuse(name, value, 'give names in a tuple, as ("user",)')
    if not all(isinstance(each, str) for each in value):
        refuse(name, value, "each name is a string")
    return tuple(value)


def sources(name: str, value: object) -> tuple[str, ...]:
    """Names of sources, checked."""
    named = names(name, value)
    if unknown := set(named) - set(SOURCES):
        refuse(name, sorted(unknown), f"the sources are {', '.join(SOURCES)}")
    return tuple(sorted(set(named)))


def metric_tags(name: str, value: object) -> tuple[str, ...]:
    told = names(name, value)
    if unfit := {"user", "session"} & {*told}:
        refuse(name, value, f"{min(unfit)} has too many values for time series: the ledger's report has them")
    return told


def one_of(*words: str) -> Callable[[str, object], str]:
    def parse(name: str, value: object) -> str:
        if not isinstance(value, str) or value not in words:
            refuse(name, value, f"it is one of {', '.join(words)}")
        return str(value)

    return parse


def switch(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        refuse(name, value, "it is True or False")
    return value


def text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        refuse(name, value, "give a text")
    return value


def sinks(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or not all(
        callable(getattr(sink, verb, None)) for sink in value for verb in ("write", "close")
    ):
        refuse(name, value, "give objects with write(calls) and close() in a tuple")
    return tuple(value)


def megabytes(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        refuse(name, value, "give a number of megabytes above 0")
    return float(value)


def rates(name: str, value: object) -> object:
    if not isinstance(value, (str, os.PathLike, Mapping)) or not value:
        refuse(name, value, "give the path of a file of rates, or a mapping")
    return value


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
    refuse(name, shown, 'give True, or the URL of a collector, as "http://localhost:4318", without "?"')


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
    """Whether a store's name is no path: a URL, or `env:NAME` of one."""
    return "://" in value or value.startswith("env:")


def web_url(name: str, value: object) -> str:
    """A page of the web."""
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        refuse(name, value, "give the URL of the dashboard's first page, as https://host.example/-/claudetrace")
    return value


def file_mode(name: str, value: object) -> int:
    # The owner reads and writes; nobody runs what we store.
    if type(value) is not int or value & 0o600 != 0o600 or value & ~0o666:
        refuse(name, value, "give 0o600, for a group 0o660 or 0o640")
    return int(value)


MAX_DAYS = 36_525
_DAYS = {"d": 1.0, "w": 7.0, "h": 1 / 24, "m": 1 / 1440}


def days(name: str, value: object) -> float:
    """How many days a duration such as `90d`, `2w` or `12h` is. Raises `ClaudetraceError`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([dwhm])\s*", value) if isinstance(value, str) else None
    length = float(match[1]) * _DAYS[match[2]] if match else 0.0
    if not 0 < length <= MAX_DAYS:
        refuse(name, value, "write a duration as 90d, 2w or 12h, of at most 100 years")
    return length
