"""Settings: keyword > environment > `claudetrace.toml` > default, checked once, with the way out in each error."""

from __future__ import annotations

import atexit
import logging
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import unquote

from claudetrace._errors import ClaudetraceError
from claudetrace._tags import clean_tags, tag_text

log = logging.getLogger("claudetrace")

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
    baggage: tuple[str, ...] = ()
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
    platforms = file.get("platforms", {})
    if not isinstance(platforms, Mapping) or set(platforms) - {"foundry_data_zone"}:
        refuse(
            f"[platforms] in {CONFIG_NAME}",
            platforms,
            'it may hold foundry_data_zone = "us" and nothing else',
        )
    if "foundry_data_zone" in platforms:
        zone = _one_of("us")("foundry_data_zone", platforms["foundry_data_zone"])
        values["foundry_data_zone"] = zone
    if given.get("rates") is None and isinstance(file.get("rates"), Mapping):
        values["rates_file"] = config_file(given.get("config"))
    retention = values.pop("retention", None)
    return Settings(**values, retention_days=retention)


def config_file(path: object) -> Path | None:
    """The `claudetrace.toml`: `path`, else `CLAUDETRACE_CONFIG`, else the one in the working directory, if any."""
    named = path or os.environ.get("CLAUDETRACE_CONFIG")
    if named is not None:
        return _path("config", named)
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
    return repr(str(value) if isinstance(value, Path) else value)


def ledger_path(named: Path | Literal[False] | None) -> Path | None:
    """Where the ledger is: as `named`, or `default_db()`; `None` where there is to be none.

    Absolute, so that a process that changes its folder keeps its ledger.
    """
    if named is False:
        return None
    return (default_db() if named is None else named).absolute()


def default_db() -> Path:
    """The ledger where nothing names one: the user's data folder, or a temporary folder where that cannot be.

    Under pytest it is a temporary folder of this process: tests are not spend.
    """
    if variable := os.environ.get("CLAUDETRACE_DB"):
        return Path(variable).expanduser()
    if "PYTEST_VERSION" in os.environ:
        return _temporary_folder("claudetrace-pytest-", os.getpid()) / "ledger.db"
    import platformdirs

    folder = Path(platformdirs.user_data_dir("claudetrace", appauthor=False))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if writable:
        return folder / "ledger.db"
    fallback = _private_folder(Path(tempfile.gettempdir()) / f"claudetrace-{_user()}")
    log.warning("claudetrace cannot write to %s: the ledger is %s, which may not last", folder, fallback / "ledger.db")
    return fallback / "ledger.db"


def _private_folder(folder: Path) -> Path:
    """`folder`, the same for all processes of this user, so that what they record comes together.

    In a folder that everybody may write to, somebody else may have been there first: then it is another, of our own.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return _temporary_folder("claudetrace-", os.getpid())
    getuid: Callable[[], int] | None = getattr(os, "getuid", None)
    if stat.S_ISDIR(found.st_mode) and (getuid is None or found.st_uid == getuid()):
        return folder
    return _temporary_folder("claudetrace-", os.getpid())


@cache
def _temporary_folder(prefix: str, pid: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=prefix))

    def remove() -> None:
        if os.getpid() == pid:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _user() -> str:
    getuid: Callable[[], int] | None = getattr(os, "getuid", None)
    return str(getuid()) if getuid else os.environ.get("USERNAME", "user")


def enabled() -> bool:
    """Whether the kill switch, `CLAUDETRACE_ENABLED=false`, is off. Raises `ClaudetraceError` for another word."""
    word = os.environ.get("CLAUDETRACE_ENABLED", "").strip().lower()
    if word not in _SWITCH_WORDS:
        # Not taken for on: somebody wanted something, and it was not what they would get.
        refuse("CLAUDETRACE_ENABLED", word, "it is true or false")
    return _SWITCH_WORDS[word]


_SWITCH_WORDS = {
    **dict.fromkeys(("", "true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def resource() -> dict[str, str]:
    """The columns that name this process: as OpenTelemetry's variables say, else by the program and the host."""
    import socket
    import sys

    named: dict[str, str] = {}
    for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        name, equals, value = pair.partition("=")
        if equals:
            named[name.strip()] = unquote(value.strip())
    program = Path(sys.argv[0] or "python").name if sys.argv else "python"
    environment = named.get("deployment.environment.name") or named.get("deployment.environment")
    columns = {
        "service": os.environ.get("OTEL_SERVICE_NAME") or named.get("service.name") or program,
        "instance": named.get("service.instance.id") or socket.gethostname(),
    }
    columns |= {"environment": environment} if environment else {}
    return {name: tag_text(value) for name, value in columns.items()}


def refuse(name: str, value: object, way_out: str) -> NoReturn:
    """Raises the error of a setting that cannot be."""
    raise ClaudetraceError(f"{name}={value!r} cannot be used: {way_out}")


def _path(name: str, value: object) -> Path:
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        refuse(name, value, "give a path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        refuse(name, value, str(error))


def _db(name: str, value: object) -> Path | Literal[False]:
    if value is False:
        return False
    if isinstance(value, str) and (value == ":memory:" or "://" in value or value.startswith("file:")):
        refuse(name, value, "give the path of a file, or db=False for no ledger")
    return _path(name, value)


def _tags(name: str, value: object) -> dict[str, str]:
    if isinstance(value, str):
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        if not all(key.strip() and equals for key, equals, _ in pairs):
            refuse(name, value, "write it as k=v,k=v")
        return clean_tags({key.strip(): text.strip() for key, _, text in pairs})
    if not isinstance(value, Mapping):
        refuse(name, value, 'give a mapping, as {"team": "search"}')
    return clean_tags(value)


def _names(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        refuse(name, value, 'give names in a tuple, as ("user",)')
    if not all(isinstance(each, str) for each in value):
        refuse(name, value, "each name is a string")
    return tuple(value)


def _one_of(*words: str) -> Callable[[str, object], str]:
    def parse(name: str, value: object) -> str:
        if not isinstance(value, str) or value not in words:
            refuse(name, value, f"it is one of {', '.join(words)}")
        return str(value)

    return parse


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        refuse(name, value, "it is True or False")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        refuse(name, value, "give a text")
    return value


def _sinks(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or not all(
        callable(getattr(sink, verb, None)) for sink in value for verb in ("write", "close")
    ):
        refuse(name, value, "give objects with write(calls) and close() in a tuple")
    return tuple(value)


def _megabytes(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        refuse(name, value, "give a number of megabytes above 0")
    return float(value)


def _rates(name: str, value: object) -> object:
    if not isinstance(value, (str, os.PathLike, Mapping)) or not value:
        refuse(name, value, "give the path of a file of rates, or a mapping")
    return value


def _later(name: str, value: object) -> NoReturn:
    refuse(name, value, "this version does not have it yet: leave it out")


MAX_DAYS = 36_525
_DAYS = {"d": 1.0, "w": 7.0, "h": 1 / 24, "m": 1 / 1440}


def days(name: str, value: object) -> float:
    """How many days a duration such as `90d`, `2w` or `12h` is. Raises `ClaudetraceError`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([dwhm])\s*", value) if isinstance(value, str) else None
    length = float(match[1]) * _DAYS[match[2]] if match else 0.0
    if not 0 < length <= MAX_DAYS:
        refuse(name, value, "write a duration as 90d, 2w or 12h, of at most 100 years")
    return length


_SETTINGS: Mapping[str, tuple[str | None, Callable[[str, Any], Any]]] = {
    "db": ("CLAUDETRACE_DB", _db),
    "tags": ("CLAUDETRACE_TAGS", _tags),
    "hash_tags": (None, _names),
    "hash_key": ("CLAUDETRACE_HASH_KEY", _text),
    "spans": ("CLAUDETRACE_SPANS", _one_of("auto", "own", "off")),
    "attributes": (None, _one_of("all", "standard")),
    "metrics": (None, _switch),
    "baggage": (None, _names),
    "sinks": (None, _sinks),
    "rates": (None, _rates),
    "retention": (None, days),
    "max_db_mb": (None, _megabytes),
    "otlp": (None, _later),
    "records": (None, _later),
    "budgets": (None, _later),
    "alert_to": (None, _later),
    "budget_store": (None, _later),
}
"""Each setting with its environment variable and what checks it."""
