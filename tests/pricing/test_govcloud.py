"""AWS GovCloud's prices, as AWS publishes them for a million tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

import claudetrace

PUBLISHED: dict[str, tuple[str, str, str | None]] = {
    "claude-3-haiku-20240307": ("0.30", "1.50", None),
    "claude-3-7-sonnet-20250219": ("3.60", "18.00", None),
    "claude-sonnet-4-5-20250929": ("3.60", "18.00", None),
    "claude-haiku-4-5-20251001": ("1.20", "6.00", None),
    "claude-opus-5-5": ("4.80", "24.00", None),
    "claude-fable-5-1": ("12", "60", "0.30"),
}
"""Input, output and, where it is told, cache reads."""
SPELLINGS = (
    "us-gov.anthropic.{}-v1:0",
    "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:inference-profile/us-gov.anthropic.{}-v1:0",
    "arn:aws-us-gov:bedrock:us-gov-east-1::foundation-model/anthropic.{}-v1:0",
    "arn:aws:bedrock:us-gov-east-1::foundation-model/anthropic.{}-v1:0",
)


def price(model: str, usage: dict[str, Any], **how: Any) -> tuple[Decimal | None, tuple[str, ...]]:
    day = datetime(2026, 11, 20, tzinfo=UTC) if "-5-" in model else datetime(2025, 12, 20, tzinfo=UTC)
    message = {"model": model, "usage": usage, "content": [{"type": "text"}], "stop_reason": "end_turn"}
    cost = claudetrace.price(message, at=day, **how)
    return cost.usd, cost.flags


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("model", PUBLISHED)
def test_govcloud_has_the_prices_that_aws_publishes(model: str, spelling: str) -> None:
    """A profile of GovCloud and an ARN of its partition or its regions cost what AWS lists, for old models too."""
    input_usd, output_usd, read_usd = PUBLISHED[model]
    usage = {"input_tokens": 1_000_000, "output_tokens": 1_000_000, "cache_read_input_tokens": 0}
    expected = Decimal(input_usd) + Decimal(output_usd)
    if read_usd is not None:
        usage["cache_read_input_tokens"] = 1_000_000
        expected += Decimal(read_usd)

    assert price(spelling.format(model), usage) == (expected, ())


def test_a_plain_id_is_in_govcloud_where_the_caller_says_so() -> None:
    """`endpoint_scope="us-gov"` makes any id GovCloud's, in a batch as well; searches cost the same everywhere."""
    usage = {"input_tokens": 1_000_000, "output_tokens": 0, "server_tool_use": {"web_search_requests": 1}}
    how: dict[str, Any] = {"platform": "bedrock", "endpoint_scope": "us-gov"}

    assert price("anthropic.claude-opus-5-5", usage, **how) == (Decimal("4.81"), ())
    assert price("global.anthropic.claude-opus-5-5", usage, **how) == (Decimal("4.81"), ())
    assert price("claude-opus-5-5", usage, batch=True, **how) == (Decimal("2.41"), ())


@pytest.mark.parametrize("platform", ["vertex", "google_cloud", "foundry", "aws"])
def test_a_cloud_without_govcloud_prices_says_so(platform: str) -> None:
    """Nobody publishes what another platform would cost there: the base rate, flagged."""
    usage = {"input_tokens": 1_000_000, "output_tokens": 0}

    assert price("claude-opus-5-5", usage, platform=platform, endpoint_scope="us-gov") == (
        Decimal(4),
        ("endpoint_scope_unknown",),
    )
