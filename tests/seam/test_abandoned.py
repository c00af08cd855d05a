"""An attempt that had been sent and was given up may be billed: whatever comes after it, its call says so."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo._server import PlayServer

from .kinds._kit import ASK
from .kinds._plays import failure, json_answer
from .kinds._rows import MESSAGE

http: Any = __import__("httpx2" if "httpx2" in anthropic.DefaultHttpxClient.__mro__[1].__module__ else "httpx")

ABANDONED = ("retried_after_timeout",)
GIVEN_UP = {
    **dict.fromkeys(("ReadTimeout", "WriteTimeout", "ReadError", "WriteError", "RemoteProtocolError"), ABANDONED),
    **dict.fromkeys(("ConnectTimeout", "PoolTimeout", "ConnectError", "ProxyError", "UnsupportedProtocol"), ()),
}


class Late(http.SyncByteStream):
    """A body of the application's own that does not come."""

    def __iter__(self) -> Any:
        raise http.ReadTimeout("of something else")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry comes at once."""
    monkeypatch.setattr(anthropic._base_client, "INITIAL_RETRY_DELAY", 0.001)


def create(url: str, *, is_async: bool, **options: Any) -> None:
    """A call that may fail."""

    async def awaited() -> None:
        async with anthropic.AsyncAnthropic(api_key="key", base_url=url, **options) as client:
            await client.messages.create(**ASK)

    try:
        if is_async:
            asyncio.run(awaited())
        else:
            with anthropic.Anthropic(api_key="key", base_url=url, **options) as client:
                client.messages.create(**ASK)
    except anthropic.APIError:
        return


@pytest.mark.parametrize("given_up", GIVEN_UP)
def test_only_what_was_sent_may_be_billed_too(given_up: str, meter: Any) -> None:
    """An attempt is flagged if it had been sent when it ended without an answer."""
    attempts: list[Any] = []

    def answer(request: Any) -> Any:
        attempts.append(request)
        if len(attempts) == 1:
            raise getattr(http, given_up)("gone", request=request)
        return http.Response(200, json=MESSAGE)

    with http.Client(transport=http.MockTransport(answer)) as transport:
        anthropic.Anthropic(api_key="key", max_retries=1, http_client=transport).messages.create(**ASK)

    (call,) = meter.calls()
    assert (call.outcome, call.retries, call.cost_flags) == ("ok", 1, GIVEN_UP[given_up])


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("lost", [{"delay_s": 3}, {"hang_up": True}, {"cut_after": 9}], ids=["late", "hung up", "cut"])
@pytest.mark.parametrize("refusal", [(429, "rate_limit_error"), (400, "invalid_request_error")])
def test_a_refusal_does_not_forget_the_attempt_before(
    refusal: tuple[int, str], lost: dict[str, Any], is_async: bool, meter: Any
) -> None:
    """A call that is refused at last costs nothing that is known, and is a lower bound for what was given up before."""
    with PlayServer(json_answer(**lost), failure(*refusal)) as server:
        create(server.url, is_async=is_async, max_retries=1, timeout=0.3)

    (call,) = meter.calls()
    told = (call.outcome, call.error_type, call.http_status, call.cost_usd, call.cost_flags)
    assert told == ("error", refusal[1], refusal[0], 0, ABANDONED)
    with claudetrace.Ledger(meter.db) as ledger:
        (spent,) = ledger.spend(by="operation")
    assert (spent.calls, spent.unpriced_calls, spent.lower_bound_calls) == (1, 0, 1)


def test_refusals_alone_are_exact(meter: Any) -> None:
    """Refusals cost nothing and leave no doubt, also where the application handles a time-out of its own meanwhile."""
    with PlayServer(failure(429, "rate_limit_error", times=2)) as server:
        try:
            http.Response(500, request=http.Request("GET", server.url), stream=Late()).read()
        except http.ReadTimeout:
            create(server.url, is_async=False, max_retries=1)

    (call,) = meter.calls()
    assert (call.cost_usd, call.cost_flags) == (0, ())


def test_the_report_marks_what_an_abandoned_attempt_leaves_open(meter: Any) -> None:
    """A sum with such a call is marked as a lower bound, and the reason stands below."""
    with PlayServer(json_answer(hang_up=True), json_answer()) as server:
        create(server.url, is_async=False, max_retries=1)
    assert len(meter.calls()) == 1

    command = [sys.executable, "-m", "claudetrace", "report", "--db", str(meter.db)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    assert told.count("≥") == 3
    assert "1 call was cut short or retried after an abandoned attempt" in told
