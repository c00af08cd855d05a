"""A loopback API that always answers, for processes of any number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer

SLOW = 7
HELLO = _wire.message("Hello.", _wire.usage(1_000, 50), model="claude-sonnet-5")


@pytest.fixture(scope="session")
def server() -> Iterator[PlayServer]:
    streamed = _answers.stream(HELLO, when=lambda body: bool(body.get("stream")), times=None)
    slow = _answers.stream(HELLO, when=lambda body: body["max_tokens"] == SLOW, delay_s=0.5, times=None)
    with PlayServer(slow, streamed, _answers.answer(HELLO, times=None)) as playing:
        yield playing
