"""Each test of settings starts without any: no meter, no variable of ours, an empty working directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer

HELLO = _wire.message("Hello.", _wire.usage(1_000, 50))


@pytest.fixture(scope="session")
def server() -> Iterator[PlayServer]:
    streamed = _answers.stream(HELLO, when=lambda body: bool(body.get("stream")), times=None)
    with PlayServer(streamed, _answers.answer(HELLO, times=None)) as playing:
        yield playing


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("CLAUDETRACE_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    claudetrace.uninstrument()
    yield
    claudetrace.uninstrument()
