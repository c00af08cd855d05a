"""One meter at a time: started, found again, refused, replaced and taken out."""

from __future__ import annotations

import functools
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import _base_client

import claudetrace
from claudetrace._demo._server import PlayServer

from ._api import ASK, numbers, say

PLACES = [
    (_base_client.SyncAPIClient, "request"),
    (_base_client.AsyncAPIClient, "request"),
    (_base_client.SyncAPIClient, "_process_response"),
    (_base_client.AsyncAPIClient, "_process_response"),
    (_base_client.BaseClient, "_build_request"),
]


def methods() -> list[Any]:
    return [vars(owner)[name] for owner, name in PLACES]


def test_a_bare_instrument_returns_the_running_one(db: Path) -> None:
    """Twice bare, or twice the same, is one meter."""
    first = claudetrace.instrument(db=db, tags={"team": "a"})

    assert claudetrace.instrument() is first
    assert claudetrace.instrument(db=str(db), tags={"team": "a"}) is first


def test_other_settings_are_refused_naming_both(db: Path, tmp_path: Path) -> None:
    """What runs and what is wanted are both in the error, with both ways out, and what runs goes on."""
    first = claudetrace.instrument(db=db, spans="own")
    with pytest.raises(claudetrace.ClaudetraceError) as caught:
        claudetrace.instrument(db=tmp_path / "other.db", spans="off")

    message = str(caught.value)
    assert [part in message for part in (str(db), str(tmp_path / "other.db"), "spans='own', not 'off'")] == [True] * 3
    assert message.endswith("call claudetrace.uninstrument() first, or pass force=True")
    assert (claudetrace.instrument(), first.active) == (first, True)


def test_force_replaces_what_runs(client: anthropic.Anthropic, db: Path, tmp_path: Path) -> None:
    """With `force=True` calls go to the new ledger alone, and what the old one had is written."""
    first = claudetrace.instrument(db=db)
    say(client, 1)
    second = claudetrace.instrument(db=tmp_path / "second.db", force=True)
    say(client, 2)
    second.uninstrument()

    assert (numbers(db), numbers(tmp_path / "second.db"), first.active) == (["1"], ["2"], False)


def test_a_replacement_misses_no_call(client: anthropic.Anthropic, server: PlayServer, db: Path) -> None:
    """A call that is made while one meter replaces another is seen by one of them."""
    over = threading.Event()
    claudetrace.instrument(db=db)
    before = len(server.requests)

    def call() -> None:
        while not over.is_set():
            say(client)

    with ThreadPoolExecutor(2) as pool:
        calling = [pool.submit(call) for _ in range(2)]
        for number in range(5):
            claudetrace.instrument(db=db, tags={"number": number}, force=True)
            time.sleep(0.05)
        over.set()
        for each in calling:
            each.result()
    made = len(server.requests) - before
    until = time.monotonic() + 10
    # A call that outlasts its meter's writer waits in the journal for the next look at what was left there.
    while (seen := len(claudetrace.Ledger(db).calls(limit=None))) < made and time.monotonic() < until:
        claudetrace.flush()
        time.sleep(0.1)

    assert seen == made


def test_a_replaced_meter_cannot_stop_its_successor(client: anthropic.Anthropic, db: Path, tmp_path: Path) -> None:
    """Uninstrumenting the old one, or leaving its block, does nothing to the new one."""
    with claudetrace.instrument(db=tmp_path / "old.db") as old:
        claudetrace.instrument(db=db, force=True)
    old.uninstrument()
    say(client, 1)
    claudetrace.uninstrument()

    assert numbers(db) == ["1"]


def test_a_context_manager_ends_with_its_block(client: anthropic.Anthropic, db: Path) -> None:
    """Calls of the block are in the ledger when it is left, by an exception too, and no later ones."""

    def work() -> None:
        with claudetrace.instrument(db=db):
            say(client, 1)
            raise RuntimeError("the user's own")

    with pytest.raises(RuntimeError, match="the user's own"):
        work()
    say(client, 2)

    assert numbers(db) == ["1"]


def test_it_says_where_it_records(db: Path) -> None:
    """Its text names the ledger, that there is none, or that it is off."""
    with claudetrace.instrument(db=db) as meter:
        assert repr(meter) == f"<Instrumentation to {db}>"
    assert repr(meter) == "<Instrumentation off>"
    with claudetrace.instrument(db=False) as meter:
        assert repr(meter) == "<Instrumentation without a ledger>"


def test_uninstrument_gives_the_sdk_its_own_methods_back(db: Path) -> None:
    """Each method is the very object that it was before, and nothing of ours stays with the collector."""
    before, callbacks = methods(), len(gc.callbacks)
    for _ in range(3):
        with claudetrace.instrument(db=db):
            assert all(ours is not theirs for ours, theirs in zip(methods(), before, strict=True))

    assert [ours is theirs for ours, theirs in zip(methods(), before, strict=True)] == [True] * len(PLACES)
    assert len(gc.callbacks) == callbacks


@pytest.mark.parametrize("wraps", [functools.wraps, lambda _: lambda function: function], ids=["told", "silent"])
def test_a_foreign_wrapper_on_top_keeps_working(
    wraps: Callable[..., Any], client: anthropic.Anthropic, db: Path
) -> None:
    """Another tool's wrapper around ours sees every call, and ours each once, through an end and a new start."""
    seen: list[str] = []
    owner = _base_client.SyncAPIClient
    bare = vars(owner)["request"]
    claudetrace.instrument(db=db)
    ours = vars(owner)["request"]

    @wraps(ours)
    def foreign(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append("foreign")
        return ours.__get__(self, owner)(*args, **kwargs)

    owner.request = foreign  # type: ignore[method-assign]
    try:
        say(client, 1)
        claudetrace.uninstrument()
        say(client, 2)
        claudetrace.instrument(db=db)
        say(client, 3)
        with pytest.raises(anthropic.APIConnectionError):
            say(client.with_options(base_url="http://127.0.0.1:1", max_retries=0), 4)
        claudetrace.uninstrument()
        assert vars(owner)["request"] is foreign
    finally:
        owner.request = bare  # type: ignore[method-assign]

    assert (numbers(db), seen) == (["1", "3", "4"], ["foreign"] * 4)


def test_a_stream_that_is_read_after_uninstrument_reaches_the_caller_whole(
    client: anthropic.Anthropic, db: Path
) -> None:
    """A stream that was open when the meter ended is read to its end, and its row is not lost."""
    with claudetrace.instrument(db=db):
        stream = client.messages.create(**ASK, stream=True)
        kinds = [next(stream).type]
    kinds += [event.type for event in stream]

    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    with claudetrace.instrument(db=db) as running:
        running.flush()
    assert numbers(db) == [None]


def test_without_a_ledger_totals_and_tags_still_work(
    client: anthropic.Anthropic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`db=False` writes no file anywhere; scopes count all the same."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with claudetrace.instrument(db=False) as running, claudetrace.tag(user="u") as scope:
        say(client)
        flushed = running.flush()

    assert (flushed, scope.calls, scope.cost_usd > 0) == (True, 1, True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_health_says_how_recording_goes(client: anthropic.Anthropic, db: Path) -> None:
    """What was recorded is written after a flush; nothing is pending, lost or failed."""
    with claudetrace.instrument(db=db) as running:
        for number in range(3):
            say(client, number)
        assert running.flush(timeout_s=30)
        health = running.health

    assert (health.recorded, health.written, health.pending, health.lost) == (3, 3, 0, 0)
    assert (health.last_error, health.failures) == (None, {})


ON_WINDOWS = """
import sys
sys.modules["fcntl"] = None
import claudetrace
try:
    claudetrace.instrument()
except claudetrace.ClaudetraceError as error:
    print(error)
"""


def test_where_nothing_can_be_recorded_the_way_out_is_said() -> None:
    """A system without file locks, as Windows is, gets a sentence, and not the name of a module."""
    ran = subprocess.run([sys.executable, "-c", ON_WINDOWS], capture_output=True, text=True, check=True)

    assert "Linux and macOS" in ran.stdout
    assert "CLAUDETRACE_ENABLED=false" in ran.stdout
