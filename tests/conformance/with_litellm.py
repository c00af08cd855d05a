"""The price of a case by litellm: usage by its own translation, then its cost calculators."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # it reads the environment
from litellm.cost_calculator import batch_cost_calculator
from litellm.llms.anthropic.chat.transformation import AnthropicConfig

PACKAGE = "litellm"
PROVIDERS = {"vertex": "vertex_ai"}
LOCATIONS = {"regional": "us-east5", "global": "global"}
litellm.suppress_debug_info = True


def price(case: dict[str, Any]) -> Decimal:
    """Dollars. Its floats are taken by their shortest text. It raises for a model that it does not know."""
    message, keywords = case["message"], case.get("keywords", {})
    usage = AnthropicConfig().calculate_usage(message["usage"], None, completion_response=message)
    model = message["model"]
    bedrock = ".anthropic." in model
    provider = "bedrock" if bedrock else PROVIDERS.get(keywords.get("platform"), "anthropic")
    if keywords.get("batch"):
        return Decimal(repr(sum(batch_cost_calculator(usage, model, custom_llm_provider=provider))))
    answer = litellm.ModelResponse(model=model, usage=usage)
    cost = litellm.completion_cost(
        completion_response=answer,
        model=model,
        custom_llm_provider=provider,
        vertex_location=LOCATIONS.get(keywords.get("endpoint_scope", "")),
    )
    return Decimal(repr(cost))
