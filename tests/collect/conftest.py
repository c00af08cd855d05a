"""A `claudetrace collect` that ends with its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .collecting import Collecting


@pytest.fixture
def central(tmp_path: Path) -> Path:
    return tmp_path / "central" / "central.db"


@pytest.fixture
def collecting(central: Path) -> Iterator[Callable[..., Collecting]]:
    """Starts one with these options and variables."""
    started: list[Collecting] = []

    def start(*options: str, **how: Any) -> Collecting:
        started.append(Collecting(central, *options, **how))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()
