"""A loopback API that always answers, for processes of any number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from claudetrace._demo._server import PlayServer

from ._running import answering


@pytest.fixture(scope="session")
def server() -> Iterator[PlayServer]:
    with answering() as playing:
        yield playing
