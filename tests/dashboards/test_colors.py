"""Colours: told apart without red or green cones, kept by each model, and never the same for two things of a chart."""

from __future__ import annotations

import math
import re
import time
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from claudetrace_dashboards._colors import model_color, told_apart
from claudetrace_dashboards.pages._reliability import ERROR_COLORS, STOP_COLORS

from ._made import plain_row, write
from .conftest import Site

Lab = tuple[float, float, float]
CSS = Path(__file__).parents[2] / "dashboards" / "claudetrace_dashboards" / "static" / "app.css"
LEAST = 15.0
# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
SIGHTS = {
    "all cones": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
}
# Rows of the matrix from linear sRGB to XYZ, each over the white point D65.
WHITE = (0.95047, 1.0, 1.08883)
XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
RELEASED = {
    "opus": ("claude-3-opus-20240229", "claude-opus-4-20250514", "claude-opus-4-1-20250805", "claude-opus-4-5-20251101",
             "claude-opus-4-6", "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-opus-5-5"),
    "sonnet": ("claude-3-5-sonnet-20241022", "claude-3-7-sonnet-20250219", "claude-sonnet-4-20250514",
               "claude-sonnet-4-5-20250929", "claude-sonnet-4-6", "claude-sonnet-5", "claude-sonnet-5-5"),
    "haiku": ("claude-3-haiku-20240307", "claude-3-5-haiku-20241022", "claude-haiku-4-5-20251001", "claude-haiku-5-5"),
    "fable": ("claude-fable-5", "claude-fable-5-1", "claude-fable-5-2"),
}  # fmt: skip


def palette(scheme: str) -> dict[str, str]:
    """The colours of the style sheet's classes in that scheme, by the name of the variable."""
    light, _, dark = CSS.read_text().partition("@media (prefers-color-scheme: dark)")
    return dict(re.findall(r"--(c\d+|rest|bad|plain): (#[0-9a-f]{6})", light if scheme == "light" else dark))


def seen(color: str, sight: str) -> Lab:
    """The colour as that sight has it, in CIE Lab."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    rgb = [min(1.0, max(0.0, sum(map(lambda a, b: a * b, row, linear)))) for row in SIGHTS[sight]]
    f = [
        t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116
        for t in (sum(map(lambda a, b: a * b, row, rgb)) / white for row, white in zip(XYZ, WHITE, strict=True))
    ]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def delta_e(one: Lab, other: Lab) -> float:
    """CIEDE2000, as Sharma, Wu and Dalal (2005) write it."""
    mean = (math.hypot(*one[1:]) + math.hypot(*other[1:])) / 2
    g = 1.5 - 0.5 * math.sqrt(mean**7 / (mean**7 + 25**7))
    (l1, a1, b1), (l2, a2, b2) = ((light, a * g, b) for light, a, b in (one, other))
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = math.degrees(math.atan2(b1, a1)) % 360, math.degrees(math.atan2(b2, a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    dl, dc, dh = l2 - l1, c2 - c1, 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    hue = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    t = 1 + sum(
        factor * math.cos(math.radians(times * hue + offset))
        for factor, times, offset in ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63))
    )
    sl = 1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2)
    sc, sh = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    rt = (
        -2
        * math.sqrt(chroma**7 / (chroma**7 + 25**7))
        * math.sin(math.radians(60 * math.exp(-(((hue - 275) / 25) ** 2))))
    )
    return math.sqrt((dl / sl) ** 2 + (dc / sc) ** 2 + (dh / sh) ** 2 + rt * dc / sc * dh / sh)


def test_the_difference_is_ciede2000() -> None:
    """The measure gives the values that its authors published for three of their pairs."""
    pairs = (
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    )
    assert [round(delta_e(one, other), 4) for one, other, _ in pairs] == [told for *_, told in pairs]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_any_two_colors_are_told_apart(scheme: str, sight: str) -> None:
    """Any two colours that a stack can have side by side differ by 15 and more, in either scheme, for each sight."""
    colors = palette(scheme)
    models = {name: color for name, color in colors.items() if name not in ("bad", "plain")}
    stacks = [models]
    for table in (STOP_COLORS, ERROR_COLORS):
        names = [f"c{each}" if isinstance(each, int) else each for each in table.values()]
        assert len(set(names)) == len(table)
        stacks.append({name: colors[name] for name in [*names, "rest"]})

    assert len(models) == 13
    for stack in stacks:
        near = {
            f"{one} {other}": round(difference, 1)
            for one, other in combinations(stack, 2)
            if (difference := delta_e(seen(stack[one], sight), seen(stack[other], sight))) < LEAST
        }
        assert near == {}


def test_a_model_keeps_its_color() -> None:
    """A model's colour follows from its name, however it is written; versions that follow each other differ, and a
    family has three shades that no other has."""
    shades = {family: [model_color(name) for name in names] for family, names in RELEASED.items()}

    assert len({model_color(f"{region}claude-sonnet-4-5{rest}") for region in ("", "us.anthropic.", "anthropic/")
                for rest in ("", "-20250929", "-20250929-v1:0", "@20250929")}) == 1  # fmt: skip
    assert model_color("claude-3-5-sonnet-20241022") == model_color("claude-3-5-sonnet-20240620")
    for numbers in shades.values():
        assert all(one != other for one, other in pairwise(numbers))
    assert all(len(set(numbers)) == 3 for numbers in shades.values())
    assert len(set().union(*shades.values())) == 12


def test_no_two_have_the_same_look() -> None:
    """Of all models and of forty unknown ones no two look alike, and who comes later changes nothing for most."""
    names = [*sum(RELEASED.values(), ()), *(f"gateway-model-{number}" for number in range(20))]
    looks = told_apart(names)

    assert len(set(looks.values())) == len(names)
    assert all(looks[name] >= 12 for name in names if name.startswith("gateway"))
    alone = {name: model_color(name) for name in names}
    assert all(looks[name] % 12 == alone[name] % 12 for name in sum(RELEASED.values(), ()))


async def test_a_chart_shows_each_model_in_its_own_look(tmp_path: Path) -> None:
    """Models of one colour are striped in the chart and in its legend, so that each key is there once."""
    names = ("claude-sonnet-5-5", "claude-3-5-sonnet-20241022", "claude-sonnet-4-5", "claude-opus-5-5", "mine")
    at = int(time.time()) * 10**9 - 10**13
    rows = [
        {**plain_row(at + number), "model": name, "cost_picousd": 10**9, "cost_parts": "[]", "cost_flags": "[]"}
        for number, name in enumerate(names)
    ]
    html = (await Site(write(tmp_path / "ledger.db", rows)).get("/panel/cost_by_time")).text
    legend = html[html.index('class="legend"') : html.index("</ul>")]
    keys = [tuple(re.findall(r'class="(s\d+)"|url\(#(h\d)\)', item)) for item in legend.split("<li>")[1:]]

    assert len(keys) == len(set(keys)) == len(names)
