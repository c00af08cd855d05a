"""A loopback API that always answers, and a meter with a ledger of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import claudetrace
from claudetrace._call import RESERVED_TAGS
from claudetrace._demo._server import PlayServer

from ._api import hello_exchanges

Tags = Callable[[], list[dict[str, str]]]


@pytest.fixture(scope="session")
def server() -> Iterator[PlayServer]:
    with PlayServer(*hello_exchanges()) as playing:
        yield playing


@pytest.fixture
def tags(ledger: Callable[[], list[claudetrace.Call]]) -> Tags:
    """All tags of each row, reserved and free, oldest first."""
    return lambda: [all_tags(call) for call in ledger()]


def all_tags(call: claudetrace.Call) -> dict[str, str]:
    reserved = {tag: getattr(call, column) for tag, column in RESERVED_TAGS.items()}
    return {**{tag: value for tag, value in reserved.items() if value is not None}, **call.tags}
