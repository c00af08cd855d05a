"""What the demo plays: the answers of a small help desk's calls, by what the desk does."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from claudetrace._demo import _answers as answers
from claudetrace._demo import _wire
from claudetrace._demo._wire import error, text, tool_use, usage

if TYPE_CHECKING:
    from claudetrace._demo._exchange import Exchange

SONNET = "claude-sonnet-5-5"
HAIKU = "claude-haiku-5-5"
OPUS = "claude-opus-5-5"
MANUAL_TOKENS = 18_240
BATCH = "msgbatch_demo_1"
_number = count(1)


def message(content: Any, counts: dict[str, Any], *, model: str) -> dict[str, Any]:
    """A message with an id of its own: two answers with one id look like a cache's replay."""
    return _wire.message(content, counts, model=model, message_id=f"msg_demo_desk_{next(_number)}")


def chat(model: str, input_tokens: int, output_tokens: int) -> Exchange:
    """A short answer at once."""
    words = "Your parcel left our warehouse this morning and should reach you on Thursday."
    return answers.answer(message(words, usage(input_tokens, output_tokens), model=model), delay_s=output_tokens / 4000)


def streamed_chat(model: str, input_tokens: int, output_tokens: int) -> Exchange:
    """A longer answer, word by word."""
    words = (
        "I have looked at your last three invoices. The second one was charged twice, so I have sent the money "
        "back to your card; it takes two to four working days to arrive."
    )
    whole = message(words, usage(input_tokens, output_tokens), model=model)
    return answers.stream(whole, pieces=24, delay_s=0.03, pause_s=0.004)


def manual(first: bool) -> Exchange:
    """An answer from the manual: the first call writes it to the cache, later ones read it."""
    words = "Hold the reset button for ten seconds until the light turns blue, then pair the device again."
    where = {"write_5m": MANUAL_TOKENS} if first else {"cache_read": MANUAL_TOKENS}
    return answers.answer(message(words, usage(64, 118, **where), model=SONNET), delay_s=0.05)


def tool_loop() -> list[Exchange]:
    """Three turns of an agent that looks an order up, sends the money back, and says so."""
    turns: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        (
            [text("Let me find the order."), tool_use("find_order", {"order": "A-1042"}, call_id="toolu_demo_1")],
            usage(1_310, 96, write_5m=2_048),
        ),
        (
            [tool_use("send_money_back", {"order": "A-1042", "usd": "24.90"}, call_id="toolu_demo_2")],
            usage(214, 88, cache_read=2_048, output_tokens_details={"thinking_tokens": 31}),
        ),
        ([text("Done: $24.90 is on its way back to you.")], usage(187, 42, cache_read=2_048)),
    ]
    return [answers.answer(message(blocks, counts, model=OPUS), delay_s=0.05) for blocks, counts in turns]


def night_batch() -> list[Exchange]:
    """A batch that sorts tickets overnight: four succeed, one fails."""
    sorted_tickets = {
        f"ticket-{number}": message(label, usage(input_tokens, 9), model=HAIKU)
        for number, (label, input_tokens) in enumerate(
            [("billing", 512), ("delivery", 640), ("billing", 471), ("praise", 588)], start=1
        )
    }
    failed = {"ticket-5": error("invalid_request_error", "messages: text content blocks must be non-empty")}
    return answers.batch(BATCH, {**sorted_tickets, **failed}, delay_s=0.02)


def busy_then_answered() -> list[Exchange]:
    """A limit that is hit, and the answer to the second try."""
    busy = answers.failure(
        429, "rate_limit_error", "This request would exceed your limit.", headers={"retry-after-ms": "40"}
    )
    return [busy, chat(SONNET, 402, 131)]


def refused() -> Exchange:
    """An error that no second try makes good."""
    return answers.failure(400, "invalid_request_error", "prompt is too long: 1200311 tokens > 1000000 maximum")
