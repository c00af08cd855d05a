"""Which colour a thing has: a model's follows from its name alone, whatever else is on the page.

The style sheet has `COLORS` colours, any two of which readers without red or green cones tell apart. A family of models
is three shades of one hue, a version one of them. A number beyond them is the same colour with stripes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

COLORS = 12
STRIPES = 4
"""How many looks a colour has: plain, and striped in three ways."""
FAMILIES = {
    "opus": (9, 1, 8), "sonnet": (7, 0, 2), "haiku": (10, 3, 6), "fable": (4, 11, 5), "mythos": (11, 5, 4),
}  # fmt: skip
"""The colours of each family, the darkest first; Mythos and Fable are kin."""
NAMED = re.compile(
    r"(?:(\d{1,2})(?:[-.](\d{1,2}))?-)?\b(opus|sonnet|haiku|fable|mythos)(?:-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d))?"
)


def model_color(name: str) -> int:
    """The colour of the model. One of no known family is striped, so that it never looks like one of theirs."""
    if (found := NAMED.search(name)) is None:
        return named_color(name)
    before, before_minor, family, after, after_minor = found.groups()
    major, minor = int(before or after or 0), int((before_minor if before else after_minor) or 0)
    # Versions that follow each other get different shades.
    return FAMILIES[family][(1 + 2 * major + minor + minor // 8) % 3]


def named_color(name: str) -> int:
    """The colour of what no table has one for."""
    return COLORS + crc32(name.encode()) % COLORS


def told_apart(names: Iterable[str], color: Callable[[str], int] = model_color) -> dict[str, int]:
    """The colour of each name; where two have the same, the later one by the alphabet is striped."""
    found: dict[str, int] = {}
    for name in sorted(set(names)):
        at = color(name)
        for _ in range(STRIPES * COLORS):
            if at not in found.values():
                break
            # Once round all stripes of the colour, then the next colour.
            at = (at + COLORS) % (STRIPES * COLORS) + (at + COLORS >= STRIPES * COLORS)
        found[name] = at
    return found


def css(color: int | str) -> str:
    """The classes of a colour, or of a meaning by its name; what has no name is striped grey."""
    if isinstance(color, str):
        return "s-rest h1" if color == "none" else f"s-{color}"
    stripes = color // COLORS % STRIPES
    return f"s{color % COLORS}" + (f" h{stripes}" if stripes else "")
