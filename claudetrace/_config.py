"""The settings of `instrument()`: keyword, else environment, else `claudetrace.toml`, else default."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from claudetrace import _hosts, _parse
from claudetrace._errors import ClaudetraceError
from claudetrace._files import FILE_MODE, set_file_mode
from claudetrace._places import ledger_path
from claudetrace._text import without_password

if TYPE_CHECKING:
    from claudetrace._alerts._channel import Channel
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._hosts import Host
    from claudetrace._parse import Agents

log = logging.getLogger("claudetrace")

CONFIG_NAME = "claudetrace.toml"
FOUND_VARIABLE = "_CLAUDETRACE_CONFIG_FOUND"
"""Set by `claudetrace run` to the settings file in the working directory, because its program may change directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one `instrument()`, checked."""

    db: Path | None
    """The ledger; `None` for none."""

    tags: Mapping[str, str] = field(default_factory=dict)
    hash_tags: tuple[str, ...] = ()
    hash_key: str | None = field(default=None, repr=False)
    spans: str = "auto"
    attributes: str = "all"
    metrics: bool = True
    metric_tags: tuple[str, ...] = ()
    otlp: bool | str = False
    records: str | None = None
    baggage: tuple[str, ...] = ()
    budgets: tuple[Budget, ...] | Literal["store"] = ()
    """`"store"`: the budgets that an administrator set in the database."""
    alert_to: tuple[Channel, ...] = ()
    budget_store: Path | ServerUrl | None = None
    """Where budgets are kept; `None` if there are no budgets."""
    sinks: tuple[Any, ...] = ()
    rates: Any = None
    rates_file: Path | None = field(default=None, compare=False)
    """The `claudetrace.toml` with the table `rates`, so that an error can name the line."""
    retention_days: float | None = None
    max_db_mb: float | None = None
    foundry_data_zone: str | None = None
    file_mode: int = FILE_MODE
    dashboard_url: str | None = None
    """The URL of the dashboard's first page, for links in alerts."""
    sources: tuple[str, ...] | None = None
    """The packages whose calls are recorded; `None` for all that are installed."""
    hosts: Mapping[str, Host] = field(default_factory=dict)
    """The table `[hosts]`, by `host` or `host:port`."""
    agents: Agents | None = None
    """The table `[agents]`."""

    def differences(self, other: Settings) -> list[str]:
        """The settings in which `other` differs, each as `name=this, not that`. A secret's value is not shown."""
        return [
            f"{each.name}={_shown(getattr(self, each.name))}, not {_shown(getattr(other, each.name))}"
            if each.repr
            else f"another {each.name}"
            for each in fields(self)
            if each.compare and getattr(self, each.name) != getattr(other, each.name)
        ]


def resolve(given: Mapping[str, Any]) -> Settings:
    """The settings of an `instrument()` with these keywords. Raises `ClaudetraceError`."""
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
            # Tags from all three are merged; for the same tag, the first of them wins.
            values[name] = {k: v for tags in reversed(parsed) for k, v in tags.items()} if name == "tags" else parsed[0]
    values["db"] = ledger_path(values.get("db"))
    values["budget_store"] = _budget_store(values)
    platforms = file.get("platforms", {})
    if "foundry_data_zone" in platforms:
        zone = _parse.one_of("us")("foundry_data_zone", platforms["foundry_data_zone"])
        values["foundry_data_zone"] = zone
    if "hosts" in file:
        values["hosts"] = _hosts.hosts(f"[hosts] in {CONFIG_NAME}", file["hosts"])
    if "agents" in file:
        values["agents"] = _parse.agents(f"[agents] in {CONFIG_NAME}", file["agents"])
    if given.get("rates") is None and isinstance(file.get("rates"), Mapping):
        values["rates_file"] = config_file(given.get("config"))[0]
    retention = values.pop("retention", None)
    return Settings(**values, retention_days=retention)


def _budget_store(values: Mapping[str, Any]) -> Path | ServerUrl | None:
    """Where budgets are kept: as set, else beside the ledger. Raises `ClaudetraceError` if there is neither."""
    if not values.get("budgets"):
        return None
    db, named = values["db"], values.get("budget_store")
    if values["budgets"] == "store" and (named is None or isinstance(named, Path)):
        raise ClaudetraceError(
            'budgets="store" reads the budgets from a database: also pass budget_store="postgresql://…"'
        )
    if named is not None:
        return named.absolute() if isinstance(named, Path) else named
    if db is None:
        raise ClaudetraceError(
            "budgets without a ledger need a file of their own: with db=False, also pass budget_store="
        )
    return Path(db).with_name(f"{Path(db).name}.budgets")


def config_file(path: object) -> tuple[Path | None, bool]:
    """The settings file, and whether it was named: `path`, else `CLAUDETRACE_CONFIG`, else the `claudetrace.toml` of
    the working directory, if there is one."""
    named = path or os.environ.get("CLAUDETRACE_CONFIG")
    if named is not None:
        return _parse.path("config", named), True
    found = Path(os.environ.get(FOUND_VARIABLE) or CONFIG_NAME)
    return (found if found.is_file() else None), False


def use_file_mode() -> None:
    """Gives new files of this process the `file_mode` of the settings file that `CLAUDETRACE_CONFIG` names."""
    if os.environ.get("CLAUDETRACE_CONFIG"):
        with suppress(ClaudetraceError):
            said = read_config(None).get("file_mode")
            if said is not None:
                set_file_mode(_parse.file_mode("file_mode", said))


def read_config(path: object) -> Mapping[str, Any]:
    """The content of the settings file: of `path`, else as the environment or the working directory has it.

    A file that nobody named came with the folder. Whoever created the folder must not decide where telemetry goes,
    what a call costs or what is deleted, so only harmless settings of it are used. One warning lists the others.
    """
    file, is_named = config_file(path)
    if file is None:
        return {}
    import tomllib

    try:
        with file.open("rb") as opened:
            content = tomllib.load(opened)
    except (OSError, ValueError) as error:
        raise ClaudetraceError(f"config={str(file)!r} cannot be read: {error}") from error
    known = {*_SETTINGS, "platforms", "hosts", "agents", "reconcile"}
    if unknown := set(content) - known:
        raise ClaudetraceError(
            f"{file} has unknown settings: {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}"
        )
    platforms = content.get("platforms", {})
    if not isinstance(platforms, Mapping) or set(platforms) - {"foundry_data_zone"}:
        told = 'only foundry_data_zone = "us" is allowed in it'
        _parse.refuse(f"[platforms] in {CONFIG_NAME}", platforms, told)
    return content if is_named else _harmless(content, file.absolute())


def _harmless(content: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    folder = file.parent
    taken = {name: value for name, value in content.items() if name in _HARMLESS and _HARMLESS[name](value, folder)}
    if left := sorted(content.keys() - taken):
        _warn_of_unnamed(file, ", ".join(left))
    # Relative to its folder, also after the program has changed directory.
    return {name: _placed(value, folder) if name in _PLACES else value for name, value in taken.items()}


@cache
def _warn_of_unnamed(file: Path, keys: str) -> None:
    log.warning(
        "claudetrace ignores %s in %s, which was only found in the working directory: set CLAUDETRACE_CONFIG to its "
        "path if you trust it",
        keys,
        file,
    )


def _is_inside(path: object, folder: Path) -> bool:
    """Whether `path`, and each file beside it whose name begins the same, is inside `folder` once links are followed.
    True for what is not a path: that is refused later."""
    if not isinstance(path, str) or "\0" in path:
        return path is not False
    if _parse.is_elsewhere(path):
        return False
    placed, root = Path(_placed(path, folder)), os.path.realpath(folder)
    if not Path(os.path.realpath(placed)).is_relative_to(root):
        return False
    with suppress(OSError):  # no folder, so nothing is beside it
        beside = [each for each in placed.parent.iterdir() if each.name.startswith(placed.name)]
        return all(Path(os.path.realpath(each)).is_relative_to(root) for each in beside)
    return True


def _placed(path: Any, folder: Path) -> Any:
    # Unlike `Path.expanduser`, this never raises if there is no home directory.
    return str(folder / os.path.expanduser(path)) if isinstance(path, str) else path  # noqa: PTH111


def _is_by_environment(channels: object, _folder: Path) -> bool:
    """Whether `alert_to` names only the log and environment variables."""
    given = channels if isinstance(channels, list) else [channels]
    return all(isinstance(each, str) and (each == "log" or each.startswith("env:")) for each in given)


def _shown(value: object) -> str:
    return without_password(repr(str(value) if isinstance(value, Path) else value))


_PLACES = ("db", "budget_store")
_HARMLESS: Mapping[str, Callable[[object, Path], bool]] = {
    **dict.fromkeys(("tags", "hash_tags", "spans", "attributes", "metrics", "budgets"), lambda _value, _folder: True),
    "alert_to": _is_by_environment,
    "otlp": lambda value, _folder: isinstance(value, bool),
    "records": lambda value, _folder: value == "otlp",
    **dict.fromkeys(_PLACES, _is_inside),
}
"""The settings that a file which nobody named may have. The environment decides where `otlp` and `records` send."""
_SETTINGS: Mapping[str, tuple[str | None, Callable[[str, Any], Any]]] = {
    "db": ("CLAUDETRACE_DB", _parse.db),
    "tags": ("CLAUDETRACE_TAGS", _parse.tags),
    "hash_tags": (None, _parse.names),
    "hash_key": ("CLAUDETRACE_HASH_KEY", _parse.text),
    "spans": ("CLAUDETRACE_SPANS", _parse.one_of("auto", "own", "off")),
    "attributes": (None, _parse.one_of("all", "standard")),
    "metrics": (None, _parse.switch),
    "metric_tags": (None, _parse.metric_tags),
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
    "file_mode": (None, _parse.file_mode),
    "dashboard_url": (None, _parse.web_url),
    "sources": (None, _parse.sources),
}
"""Each setting, with its environment variable and the function that checks it."""
