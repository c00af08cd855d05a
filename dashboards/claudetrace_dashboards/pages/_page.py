"""`Page`: its name, its title and its panels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claudetrace_dashboards._panel import Panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of panels. `name` is its place in the URL; the first page has none."""

    name: str
    title: str
    about: str
    panels: tuple[Panel, ...]
    linked: bool = True
    """Whether the other pages link to it."""
    ranged: bool = True
    """Whether it is about a range of time."""
