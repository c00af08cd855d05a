"""What is current in OpenTelemetry. This module loads OpenTelemetry, so the first call loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.trace import NoOpTracer, ProxyTracer, SpanKind, Status, StatusCode, get_current_span

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NoOpTracer", "ProxyTracer", "get_current_span"]

ERROR = Status(StatusCode.ERROR)


def tracer_provider() -> Any:
    """The provider that is set globally, or what stands in for one."""
    return trace.get_tracer_provider()


def suppression() -> bool:
    """Whether some tool wants no spans here."""
    return bool(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))  # noqa: SLF001 - what every instrumentation asks


def is_suppressed() -> bool:
    """Whether spans are unwanted here. A tool that made a span of this very call and suppresses others, like Logfire,
    does not mean ours: only ours has the cost."""
    if not suppression():
        return False
    span: Any = get_current_span()
    return not (span.is_recording() and getattr(span, "kind", None) is SpanKind.CLIENT)


def start_span(tracer: Any, name: str, attributes: Mapping[str, Any], start_ns: int) -> Any:
    """A new span of a call, a child of what is current."""
    # Some providers, as Logfire's, make no span while spans are suppressed.
    lifted = _lift() if suppression() else None
    try:
        return tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes, start_time=start_ns)
    finally:
        if lifted is not None:
            context.detach(lifted)


def _lift() -> Any:
    """Makes a context current in which nothing is suppressed. Returns the token that ends it."""
    present = context.get_current()
    kept = {name: value for name, value in present.items() if not name.startswith("suppress_instrumentation")}
    return context.attach(context.Context(kept))


def enter(span: Any) -> tuple[Any, Any]:
    """Makes `span` current. The token that ends this, and the context."""
    entered = trace.set_span_in_context(span)
    return context.attach(entered), entered


def leave(token: Any, inside: Any) -> None:
    """Ends what `enter` began; with a context `inside`, only if that is current."""
    if inside is None or context.get_current() is inside:
        context.detach(token)
