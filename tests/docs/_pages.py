"""The pages, and what is in their fences."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))}
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE
)


class Fence(NamedTuple):
    language: str
    text: str
    line: int


def fences(page: str, *languages: str) -> list[Fence]:
    """The fenced blocks of `page` in these languages, in their order."""
    found = [
        Fence(
            each["language"],
            textwrap.dedent(each["text"]),
            PAGES[page].count("\n", 0, each.start()) + 1,
        )
        for each in FENCE.finditer(PAGES[page])
    ]
    return [fence for fence in found if fence.language in languages]


def tables(page: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the first table under `heading` of `page`, without its head."""
    chapter = PAGES[page].partition(f"\n{heading}\n")[2]
    table = re.search(r"^\|.*?(?=^[^|]|\Z)", chapter, re.DOTALL | re.MULTILINE)
    assert table is not None, f"{page} has no table under {heading}"
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in table[0].splitlines()[2:]]


def names(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)
