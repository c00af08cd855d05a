"""`tag_results(by)` around the reading of a batch's results: each row is for whom its `custom_id` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer

from .conftest import all_tags

Start = Callable[..., claudetrace.Instrumentation]
Rows = Callable[[], list[claudetrace.Call]]

MESSAGE = _wire.message("Sorted.", _wire.usage(100, 10))
RESULTS = {
    "one": {"type": "succeeded", "message": {**MESSAGE, "id": "msg_one"}},
    "two": {"type": "succeeded", "message": {**MESSAGE, "id": "msg_two"}},
    "three": {"type": "expired"},
}
REQUEST: Any = {"model": _wire.MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "Hello?"}]}
BY: dict[str, Mapping[str, object]] = {
    "one": {"customer": "acme", "row": 1},
    "two": {"customer": "globex", "user": "u2", "feature": "theirs"},
}


@pytest.fixture
def server() -> Iterator[PlayServer]:
    with PlayServer(*_answers.batch("batch_1", RESULTS)) as playing:
        yield playing


def create(client: anthropic.Anthropic) -> None:
    with claudetrace.tag(customer="the batch's", feature="sorting", team="a"):
        client.messages.batches.create(requests=[{"custom_id": each, "params": REQUEST} for each in RESULTS])


def read(client: anthropic.Anthropic) -> list[str]:
    return [each.custom_id for each in client.messages.batches.results("batch_1")]


def of_results(rows: list[claudetrace.Call]) -> dict[str | None, dict[str, str]]:
    return {row.custom_id: all_tags(row) for row in rows if row.operation == "messages.batches.result"}


OVER_THE_BATCH = {
    "one": {"customer": "acme", "feature": "sorting", "team": "a", "row": "1"},
    "two": {"customer": "globex", "feature": "theirs", "team": "a", "user": "u2"},
    "three": {"customer": "the batch's", "feature": "sorting", "team": "a"},
}


@pytest.mark.parametrize("by", [BY, BY.get, lambda custom_id: BY.get(custom_id, {})])
def test_each_result_has_tags_of_its_own(by: Any, client: anthropic.Anthropic, start: Start, ledger: Rows) -> None:
    """An item's tags lie over those of the create; what `by` does not know keeps those."""
    start()
    create(client)
    with claudetrace.tag(customer="the reader's"), claudetrace.tag_results(by):
        assert read(client) == list(RESULTS)

    assert of_results(ledger()) == OVER_THE_BATCH


def test_another_host_tags_them_too(client: anthropic.Anthropic, start: Start, ledger: Rows) -> None:
    """Where the ledger does not know the batch, an item's tags lie over those at the reading."""
    start(tags={"team": "b"})
    with claudetrace.tag(customer="the reader's"), claudetrace.tag_results(BY):
        read(client)

    assert of_results(ledger()) == {
        "one": {"customer": "acme", "team": "b", "row": "1"},
        "two": {"customer": "globex", "team": "b", "user": "u2", "feature": "theirs"},
        "three": {"customer": "the reader's", "team": "b"},
    }


def test_the_first_reading_decides(client: anthropic.Anthropic, start: Start, ledger: Rows) -> None:
    """Results that are read again keep the tags that they have."""
    start()
    create(client)
    with claudetrace.tag_results(BY):
        read(client)
    with claudetrace.tag_results({each: {"customer": "late"} for each in RESULTS}):
        read(client)
    read(client)

    assert of_results(ledger()) == OVER_THE_BATCH


def test_it_holds_where_results_are_asked_for_or_read(
    client: anthropic.Anthropic, start: Start, ledger: Rows, tmp_path: Path
) -> None:
    """The block may be around the call alone, or around the loop alone."""
    start()
    create(client)
    with claudetrace.tag_results(BY):
        results = client.messages.batches.results("batch_1")
    assert len(list(results)) == 3
    first = of_results(ledger())
    claudetrace.instrument(db=tmp_path / "other.db", force=True)
    create(client)
    results = client.messages.batches.results("batch_1")
    with claudetrace.tag_results(BY):
        assert len(list(results)) == 3
    claudetrace.flush()

    assert first == of_results(claudetrace.Ledger(tmp_path / "other.db").calls()) == OVER_THE_BATCH


async def test_async_results_are_tagged(async_client: anthropic.AsyncAnthropic, start: Start, ledger: Rows) -> None:
    """The same for an async client, and the innermost of two blocks holds."""
    start()
    outer = claudetrace.tag_results({"one": {"customer": "outer"}, "two": {"customer": "outer"}})
    with outer, claudetrace.tag_results({"one": {"customer": "inner"}}):
        assert [each.custom_id async for each in await async_client.messages.batches.results("batch_1")]

    assert of_results(ledger()) == {"one": {"customer": "inner"}, "two": {}, "three": {}}


def test_hashed_tags_are_hashed(client: anthropic.Anthropic, start: Start, ledger: Rows, db: Path) -> None:
    """A tag of `hash_tags` is stored as a hash, the same as of a call, also where it is an item's own."""
    start(hash_tags=("user",))
    with claudetrace.tag(user="u2"):
        client.messages.batches.create(requests=[])
    with claudetrace.tag_results(BY):
        read(client)

    made, *results = ledger()
    claudetrace.uninstrument()
    assert made.user_id == next(row.user_id for row in results if row.custom_id == "two")
    assert made.user_id != "u2"
    assert [path for path in db.parent.rglob("*") if path.is_file() and b'"u2"' in path.read_bytes()] == []


def fails(_custom_id: str) -> dict[str, str]:
    raise LookupError("the database is away")


@pytest.mark.parametrize("by", [fails, lambda _: "acme", lambda _: 7, {each: ["customer"] for each in RESULTS}])
def test_a_callable_that_fails_harms_nobody(
    by: Any, client: anthropic.Anthropic, start: Start, ledger: Rows, caplog: Any
) -> None:
    """The reader has all results, their rows the batch's tags, and it is counted and told once."""
    meter = start()
    create(client)
    with claudetrace.tag_results(by):
        assert read(client) == list(RESULTS)

    assert {tags["customer"] for tags in of_results(ledger()).values()} == {"the batch's"}
    assert list(meter.health.failures.values()) == [3]
    assert len([each for each in caplog.records if "tag a batch's result" in each.message]) == 1


@pytest.mark.parametrize("by", [None, "acme", 7, ["one"]])
def test_what_cannot_tell_tags_is_refused(by: Any) -> None:
    """The error says what is taken, where the block is made."""
    with pytest.raises(claudetrace.ClaudetraceError, match="give a mapping from custom_id to tags, or a callable"):
        claudetrace.tag_results(by)
