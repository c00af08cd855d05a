"""The search box: each id, session, user and value of a tag is found where plain SQL has it, and leads to its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from ._made import HOSTILE, asked, plain_row, write
from .conftest import Site

AT_NS = 1_790_000_000 * 10**9


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls with every kind of id, some shared by several."""
    rows: list[dict[str, Any]] = [
        {
            **plain_row(AT_NS + number * 10**10),
            "request_id": f"req_{number:04d}",
            "message_id": f"msg_{number:04d}",
            "trace_id": f"{number // 2:032x}",
            "span_id": f"{number + 4096:016x}",
            "session_id": f"chat-{number // 4}",
            "user_id": f"user-{number // 8}@example.com",
            "customer": f"cust-{number // 10}",
            "prompt": "support@v12",
            "tags": f'{{"team": "blue-{number % 2}", "both": "cust-1"}}',
        }
        for number in range(40)
    ]
    return write(tmp_path_factory.mktemp("mixed") / "ledger.db", rows)


@pytest.mark.parametrize("column", ["id", "message_id"])
async def test_an_id_of_one_call_leads_to_it(mixed: Path, column: str) -> None:
    """Every id of a call or a message leads straight to the page of that call."""
    site = Site(mixed)
    for value, id_ in asked(mixed, f"SELECT {column}, id FROM calls ORDER BY id LIMIT 40"):
        answer = await site.get("/find", id=f" {value} ")

        assert answer.status_code == 302
        assert answer.headers["location"].partition("?")[0] == f"/-/claudetrace/call/{id_}"


@pytest.mark.parametrize("column", ["request_id", "span_id"])
async def test_an_id_without_an_index_is_found_by_reading(mixed: Path, column: str) -> None:
    """The id of a request and of a span is found in the calls, by a panel that says that it reads them."""
    site = Site(mixed)
    for value, id_ in asked(mixed, f"SELECT {column}, id FROM calls ORDER BY id LIMIT 3"):
        page = (await site.get("/find", id=value)).text
        panel = (await site.get("/panel/scanned", id=value.upper() if column == "span_id" else value)).text

        assert "have no index" in page
        assert f"/call/{id_}" in panel
    assert "No call has this as the id" in (await site.get("/panel/scanned", id="req_nobody")).text


async def test_a_trace_lists_its_calls(mixed: Path) -> None:
    """A trace of two calls lists both, in their order, however its hex digits are written."""
    ((trace,),) = asked(mixed, "SELECT MAX(trace_id) FROM calls")
    ids = [id_ for (id_,) in asked(mixed, "SELECT id FROM calls WHERE trace_id = :t ORDER BY started_at", t=trace)]
    page = (await Site(mixed).get("/find", id=trace.upper())).text
    found = [part.partition("?")[0] for part in page.split("/-/claudetrace/call/")[1:]]

    assert len(ids) == 2
    assert found == ids


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("chat-3", "/session?range=30d&session=chat-3"),
        ("user-2@example.com", "/calls?range=90d&user=user-2@example.com"),
        ("cust-2", "/calls?range=90d&tag=customer:cust-2"),
        ("team:blue-1", "/calls?range=90d&tag=team:blue-1"),
        ("support@v12", "/calls?range=90d&tag=prompt:support@v12"),
    ],
)
async def test_a_name_leads_to_its_page(mixed: Path, text: str, where: str) -> None:
    """A session leads to its timeline; a user and a value of a tag lead to their calls."""
    answer = await Site(mixed).get("/find", id=text)

    assert answer.status_code == 302
    assert unquote(answer.headers["location"]) == f"/-/claudetrace{where}"


async def test_a_value_of_two_tags_is_a_choice(mixed: Path) -> None:
    """What two tags have is listed with both; what nothing has is said so."""
    site = Site(mixed)
    page = unquote((await site.get("/find", id="cust-1")).text)
    none = (await site.get("/find", id="cust-99")).text

    assert "tag=customer:cust-1" in page
    assert "tag=both:cust-1" in page
    assert "has this very name" in none


async def test_suggestions_are_what_begins_alike(mixed: Path) -> None:
    """Users, sessions and values of tags that begin with the text are suggested, each once, and nothing else."""
    site = Site(mixed)
    users = {user for (user,) in asked(mixed, "SELECT DISTINCT user_id FROM calls")}
    found = {
        text: (await site.get("/suggest", text=text)).json() for text in ("user-", "chat-", "blue", "cust-1", "zz")
    }

    assert [(hit["kind"], hit["value"]) for hit in found["user-"]] == [("user", user) for user in sorted(users)]
    assert [hit["value"] for hit in found["chat-"]] == [f"chat-{number}" for number in range(6)]
    assert [(hit["kind"], hit["value"]) for hit in found["blue"]] == [("team", "blue-0"), ("team", "blue-1")]
    assert [(hit["kind"], hit["value"]) for hit in found["cust-1"]] == [("both", "cust-1"), ("customer", "cust-1")]
    assert found["zz"] == []


async def test_hostile_text_is_text(site: Site) -> None:
    """Whatever is searched for is shown as text; a hostile session is found by its whole name."""
    for text in HOSTILE.values():
        answer = await site.get("/find", id=text)
        assert answer.status_code in (200, 302)
        assert "<script>window" not in answer.text
        assert "<img" not in answer.text
    assert (await site.get("/find", id=HOSTILE["session_id"])).headers["location"].startswith("/-/claudetrace/session?")


async def test_who_may_not_see_calls_finds_none(mixed: Path) -> None:
    """Without the right to see the calls there is no suggestion, and the page says why."""
    metadata = {"databases": {"ledger": {"tables": {"calls": {"allow": {"id": "boss"}}}}}}
    site = Site(mixed, metadata=metadata)

    assert (await site.get("/suggest", text="user-")).json() == []
    assert "may not see the table calls" in (await site.get("/find", id="chat-3")).text
