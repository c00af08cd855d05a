"""`[reconcile]` of `claudetrace.toml`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from claudetrace import _parse
from claudetrace._config import CONFIG_NAME, read_config


@dataclass(frozen=True, slots=True, kw_only=True)
class BillSettings:
    """What `[reconcile]` says."""

    at_least: Fraction = Fraction("0.98")
    """Below this capture rate there is a finding, where a workspace or a key is named."""
    discount: Fraction | None = None
    """What is billed less than the list price."""
    workspace_ids: tuple[str, ...] = ()
    api_key_ids: tuple[str, ...] = ()


def bill_settings(config: object = None) -> BillSettings:
    """The settings of the file that `config`, the environment or the working directory leads to. Raises
    `ClaudetraceError`."""
    said = read_config(config).get("reconcile", {})
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
    return share if share < 1 else _parse.refuse(name, value, "something is billed, so that it is less than 1")


def _share(name: str, value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        _parse.refuse(name, value, "it is a share from 0 to 1, as 0.12")
    return Fraction(str(value))
