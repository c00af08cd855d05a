"""The price of a case by genai-prices: usage by its own extraction, at the time of the request."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from genai_prices import calc_price, extract_usage

PACKAGE = "genai-prices"
PROVIDERS = {"vertex": "google", "bedrock": "aws"}


def price(case: dict[str, Any]) -> Decimal:
    """Dollars. It raises for a model that it does not know."""
    at = datetime.fromisoformat(case["at"]).replace(tzinfo=UTC)
    message = case["message"]
    # The extraction looks the model up too, and would not find one of Bedrock among Anthropic's.
    usage = extract_usage({**message, "model": "claude-sonnet-4-5"}, provider_id="anthropic").usage
    bedrock = ".anthropic." in message["model"]
    provider = "aws" if bedrock else PROVIDERS.get(case.get("keywords", {}).get("platform"), "anthropic")
    tier = message["usage"].get("service_tier")
    context = {"service_tier": tier} if tier else None
    found = calc_price(usage, message["model"], provider_id=provider, genai_request_timestamp=at, price_context=context)
    return found.total_price
