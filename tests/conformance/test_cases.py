"""The cases of other tools' reports: claudetrace is right about each, and the cases are right themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import run
import with_claudetrace

CASES = run.cases()
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_claudetrace_is_right(case: dict[str, Any]) -> None:
    """The cost is the case's, to the picodollar, and unknown where nothing can be known."""
    usd = with_claudetrace.price(case)

    assert (None if usd is None else usd.scaleb(12)) == case["expected_picousd"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_derivation_gives_the_expected_cost(case: dict[str, Any]) -> None:
    """The expected amount is what its derivation comes to, in exact fractions."""
    if case["derivation"] is None:
        assert case["expected_picousd"] is None
        return
    exact = eval(NUMBER.sub(lambda number: f"Fraction('{number[0]}')", case["derivation"]), {"Fraction": Fraction})

    assert exact * 10**12 == case["expected_picousd"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_case_has_its_sources(case: dict[str, Any]) -> None:
    """Each case names public reports, and the document shows it with them."""
    document = run.DOCUMENT.read_text()

    assert case["reports"]
    assert f"`{case['id']}`" in document
    for url in case["reports"]:
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+", url)
        assert url in document


def test_any_pricing_function_can_be_tried(tmp_path: Path) -> None:
    """A function of another's is called with each case; one that is wrong ends with 1, and its costs are shown."""
    (tmp_path / "theirs.py").write_text("def price(case):\n    return case['message']['usage']['output_tokens'] * 1\n")
    command = [sys.executable, run.__file__, "--pricer", "theirs:price"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    assert ran.returncode == 1, ran.stderr
    assert "| theirs:price |" in ran.stdout
    assert "| 0.054399 | 550 |" in ran.stdout
