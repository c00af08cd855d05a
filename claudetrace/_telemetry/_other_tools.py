"""Finds other tools that trace the same SDK in this process, and says how each is switched off."""

from __future__ import annotations

import logging
import sys
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("claudetrace")


class Other(NamedTuple):
    """A tool that makes spans of calls: its package, the module of its wrappers, and how it is switched off."""

    name: str
    package: str
    module: str
    way_out: str
    alone: bool = False
    """Whether the package does nothing but trace Claude calls."""


_OTEL_WAY_OUT = "uninstall it, or set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=anthropic and do not call its instrument()"

OTHERS = (
    Other(
        "OpenTelemetry's own instrumentation of anthropic",
        "opentelemetry-instrumentation-genai-anthropic",
        "opentelemetry.instrumentation.genai.anthropic",
        _OTEL_WAY_OUT,
        alone=True,
    ),
    Other(
        "OpenLLMetry",
        "opentelemetry-instrumentation-anthropic",
        "opentelemetry.instrumentation.anthropic",
        _OTEL_WAY_OUT,
        alone=True,
    ),
    Other(
        "OpenInference",
        "openinference-instrumentation-anthropic",
        "openinference.instrumentation.anthropic",
        _OTEL_WAY_OUT,
        alone=True,
    ),
    Other("Logfire", "logfire", "logfire", "leave out logfire.instrument_anthropic()"),
    Other("Langfuse", "langfuse", "langfuse", "leave out its callback handler"),
    Other("Sentry", "sentry-sdk", "sentry_sdk", "sentry_sdk.init(disabled_integrations=[AnthropicIntegration()])"),
    Other("Datadog", "ddtrace", "ddtrace", "set DD_TRACE_ANTHROPIC_ENABLED=false"),
    Other("New Relic", "newrelic", "newrelic", "set NEW_RELIC_AI_MONITORING_ENABLED=false"),
)
"""The known tools, in the order in which they are listed."""

_RESOURCES = (
    "anthropic.resources.messages.messages",
    "anthropic.resources.beta.messages.messages",
    "anthropic.resources.completions",
    "anthropic.lib.bedrock._beta_messages",
)
_WRAPPED = (
    *product(_RESOURCES, ("Messages", "AsyncMessages", "Completions", "AsyncCompletions"), ("create", "stream")),
    *product(["anthropic"], ["Anthropic", "AsyncAnthropic"], ["request"]),
)


def active(client: Any = None) -> list[Other]:
    """The known tools that make a span of each call of this process, or of calls of `client`.

    They are recognized by their wrappers around the SDK's methods: a tool that is only installed is not among them.
    Imports nothing.
    """
    standing = {module for function in _functions(client) for module in _modules(function)}
    return [
        other
        for other in OTHERS
        if any(f"{module}.".startswith(f"{other.module}.") for module in standing)
        and (other.module != "newrelic" or _new_relic_traces())
    ]


def _new_relic_traces() -> bool:
    """Whether New Relic traces calls: it always wraps the methods, and by default does nothing."""
    told = getattr(sys.modules.get("newrelic.core.config"), "global_settings", None)
    return told is None or bool(told().ai_monitoring.enabled)


def warn(client: Any = None) -> None:
    """Logs a warning for each active tool, with the way to switch it off."""
    for other in active(client):
        log.warning(
            "%s traces the Claude calls of this process too, so each has a span of it beside the one with the cost. "
            "To have one: %s. Or keep it, and make none here with spans='off' and ANTHROPIC_OPEN_TELEMETRY=false.",
            other.name,
            other.way_out,
        )


def _functions(client: Any) -> Iterator[Any]:
    for name, owner, verb in _WRAPPED:
        holder = getattr(sys.modules.get(name), owner, None)
        if holder is not None:
            yield vars(holder).get(verb)
    if client is not None:
        # Logfire may wrap one client, or one class of clients.
        yield vars(client).get("request")
        yield vars(type(client)).get("request")


def _modules(function: Any) -> Iterator[str]:
    """The modules of the wrappers around an SDK's method, outermost first."""
    for _ in range(20):
        if function is None:
            return
        wrapper = getattr(function, "_self_wrapper", None)
        # A wrapper may copy the `__module__` of what it wraps, but its globals are its own.
        names = (
            getattr(wrapper, "__module__", None),
            getattr(function, "__globals__", {}).get("__name__"),
        )
        yield from (name for name in names if isinstance(name, str))
        function = getattr(function, "__wrapped__", None)
