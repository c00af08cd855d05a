"""Settings: keyword > environment > `claudetrace.toml` > default, checked once, with the way out in each error."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claudetrace import _parse
from claudetrace._errors import ClaudetraceError
from claudetrace._places import ledger_path
from claudetrace._text import without_password

if TYPE_CHECKING:
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._channels import Channel

CONFIG_NAME = "claudetrace.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that one `instrument()` was told, resolved."""

    db: Path | None
    """The ledger; `None` for none."""

    tags: Mapping[str, str] = field(default_factory=dict)
    hash_tags: tuple[str, ...] = ()
    hash_key: str | None = field(default=None, repr=False)
    spans: str = "auto"
    attributes: str = "all"
    metrics: bool = True
    otlp: bool | str = False
    records: str | None = None
    baggage: tuple[str, ...] = ()
    budgets: tuple[Budget, ...] = ()
    alert_to: tuple[Channel, ...] = ()
    budget_store: Path | None = None
    """Where budgets are kept; `None` where there are none."""
    sinks: tuple[Any, ...] = ()
    rates: Any = None
    rates_file: Path | None = field(default=None, compare=False)
    """The `claudetrace.toml` that has the table `rates`, so that a refusal can name the line."""
    retention_days: float | None = None
    max_db_mb: float | None = None
    foundry_data_zone: str | None = None

    def differences(self, other: Settings) -> list[str]:
        """Where `other` says something else, as `name=this, not that`; of a secret only that it does."""
        return [
            f"{each.name}={_shown(getattr(self, each.name))}, not {_shown(getattr(other, each.name))}"
            if each.repr
            else f"another {each.name}"
            for each in fields(self)
            if each.compare and getattr(self, each.name) != getattr(other, each.name)
        ]


def resolve(given: Mapping[str, Any]) -> Settings:
    """The settings of an `instrument()` that was `given` these keywords. Raises `ClaudetraceError`."""
    file = read_config(given.get("config"))
    values: dict[str, Any] = {}
    for name, (variable, parse) in _SETTINGS.items():
        said = (
            (name, given.get(name)),
            (str(variable), os.environ.get(variable) or None if variable else None),
            (f"{name} in {CONFIG_NAME}", file.get(name)),
        )
        parsed = [parse(where, raw) for where, raw in said if raw is not None]
        if parsed:
            # Tags of all three come together, each as the strongest says it.
            values[name] = {k: v for tags in reversed(parsed) for k, v in tags.items()} if name == "tags" else parsed[0]
    values["db"] = ledger_path(values.get("db"))
    values["budget_store"] = _budget_store(values)
    platforms = file.get("platforms", {})
    if not isinstance(platforms, Mapping) or set(platforms) - {"foundry_data_zone"}:
        _parse.refuse(
            f"[platforms] in {CONFIG_NAME}",
            platforms,
            'it may hold foundry_data_zone = "us" and nothing else',
        )
    if "foundry_data_zone" in platforms:
        zone = _parse.one_of("us")("foundry_data_zone", platforms["foundry_data_zone"])
        values["foundry_data_zone"] = zone
    if given.get("rates") is None and isinstance(file.get("rates"), Mapping):
        values["rates_file"] = config_file(given.get("config"))
    retention = values.pop("retention", None)
    return Settings(**values, retention_days=retention)


def _budget_store(values: Mapping[str, Any]) -> Path | None:
    """Where the budgets are kept: as said, else beside the ledger. Raises `ClaudetraceError` where that is nowhere."""
    if not values.get("budgets"):
        return None
    db, named = values["db"], values.get("budget_store")
    if named is not None:
        return Path(named).absolute()
    if db is None:
        raise ClaudetraceError("budgets without a ledger need a place of their own: pass budget_store= beside db=False")
    return Path(db).with_name(f"{Path(db).name}.budgets")


def config_file(path: object) -> Path | None:
    """The `claudetrace.toml`: `path`, else `CLAUDETRACE_CONFIG`, else the one in the working directory, if any."""
    named = path or os.environ.get("CLAUDETRACE_CONFIG")
    if named is not None:
        return _parse.path("config", named)
    return Path(CONFIG_NAME) if Path(CONFIG_NAME).is_file() else None


def read_config(path: object) -> Mapping[str, Any]:
    """What the `claudetrace.toml` says that `path`, the environment or the working directory leads to."""
    file = config_file(path)
    if file is None:
        return {}
    import tomllib

    try:
        with file.open("rb") as opened:
            content = tomllib.load(opened)
    except (OSError, ValueError) as error:
        raise ClaudetraceError(f"config={str(file)!r} cannot be read: {error}") from error
    known = {*_SETTINGS, "platforms"}
    if unknown := set(content) - known:
        raise ClaudetraceError(f"unknown in {file}: {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
    return content


def _shown(value: object) -> str:
    return without_password(repr(str(value) if isinstance(value, Path) else value))


def enabled() -> bool:
    """Whether the kill switch, `CLAUDETRACE_ENABLED=false`, is off. Raises `ClaudetraceError` for another word."""
    word = os.environ.get("CLAUDETRACE_ENABLED", "").strip().lower()
    if word not in _SWITCH_WORDS:
        # Not taken for on: somebody wanted something, and it was not what they would get.
        _parse.refuse("CLAUDETRACE_ENABLED", word, "it is true or false")
    return _SWITCH_WORDS[word]


_SWITCH_WORDS = {
    **dict.fromkeys(("", "true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


_SETTINGS: Mapping[str, tuple[str | None, Callable[[str, Any], Any]]] = {
    "db": ("CLAUDETRACE_DB", _parse.db),
    "tags": ("CLAUDETRACE_TAGS", _parse.tags),
    "hash_tags": (None, _parse.names),
    "hash_key": ("CLAUDETRACE_HASH_KEY", _parse.text),
    "spans": ("CLAUDETRACE_SPANS", _parse.one_of("auto", "own", "off")),
    "attributes": (None, _parse.one_of("all", "standard")),
    "metrics": (None, _parse.switch),
    "otlp": (None, _parse.otlp),
    "records": (None, _parse.one_of("otlp", "stdout")),
    "baggage": (None, _parse.names),
    "sinks": (None, _parse.sinks),
    "rates": (None, _parse.rates),
    "retention": (None, _parse.days),
    "max_db_mb": (None, _parse.megabytes),
    "budgets": (None, _parse.budgets),
    "alert_to": (None, _parse.alert_to),
    "budget_store": (None, _parse.budget_store),
}
"""Each setting with its environment variable and what checks it."""
