"""What is current in OpenTelemetry. This module loads OpenTelemetry, so the first call loads it."""

from __future__ import annotations

from operator import is_
from types import MethodType
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import NoOpTracer, ProxyTracer, SpanKind, Status, StatusCode, get_current_span

from claudetrace._guard import pass_on

__all__ = ["NoOpTracer", "ProxyTracer", "get_current_span"]

ERROR = Status(StatusCode.ERROR)
_SUPPRESSED = context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001 - what every instrumentation asks


def tracer_provider() -> Any:
    """The provider that is set globally, or what stands in for one."""
    return trace.get_tracer_provider()


def suppression() -> bool:
    """Whether some tool wants no spans here."""
    return bool(context.get_current().get(_SUPPRESSED))


def is_suppressed() -> bool:
    """Whether spans are unwanted here. A tool that made a span of this very call and suppresses others, like Logfire,
    does not mean ours: only ours has the cost."""
    if not suppression():
        return False
    span: Any = get_current_span()
    return not (span.is_recording() and getattr(span, "kind", None) is SpanKind.CLIENT)


def start_span(tracer: Any, name: str, attributes: dict[str, Any], start_ns: int) -> Any:
    """A new span of a call, a child of what is current."""
    # Some providers, as Logfire's, make no span while spans are suppressed.
    lifted = _lift() if suppression() else None
    try:
        # OpenTelemetry would ask for the present context wherever it looks for the parent, and check each value.
        now, unseen = context.get_current(), _starts_unseen(tracer)
        told = None if unseen else attributes
        span = tracer.start_span(name, context=now, kind=SpanKind.CLIENT, attributes=told, start_time=start_ns)
    finally:
        if lifted is not None:
            context.detach(lifted)
    if unseen:
        set_attributes(span, attributes)
    return span


_BLIND = {
    "opentelemetry.sdk.trace": ("Tracer", "SynchronousMultiSpanProcessor"),
    "opentelemetry.sdk.trace.export": ("BatchSpanProcessor", "SimpleSpanProcessor"),
    "opentelemetry.sdk.trace.sampling": ("StaticSampler", "TraceIdRatioBased", "ParentBased"),
    "claudetrace._telemetry._own_providers": ("SpanExport",),
}
"""Classes whose objects look at no attribute of a span that starts."""
_seen: tuple[tuple[Any, ...], bool] = ((None,), False)
"""A tracer with what it works by, and whether none of them looks at the attributes of a span that starts."""


def _starts_unseen(tracer: Any) -> bool:
    """Whether nobody looks at the attributes of a span while it starts."""
    global _seen
    try:
        processors = tracer.span_processor._span_processors  # noqa: SLF001 - no public way
        parts = (tracer, type(tracer).start_span, tracer.sampler, processors)
        if not all(map(is_, parts, (seen := _seen)[0])):
            seen = _seen = parts, all(map(_is_blind, (tracer, tracer.span_processor, *processors)))
    except Exception as error:  # noqa: BLE001 - a tracer that is not the SDK's, or has other inner parts
        pass_on(error)
        return False
    return seen[1] and _known is not None


def _is_blind(part: Any) -> bool:
    kind = type(part)
    work = next(getattr(part, name) for name in ("start_span", "on_start", "should_sample") if hasattr(part, name))
    # What another tool has put in its place may look.
    blind = type(work) is MethodType and work.__func__.__globals__["__name__"] in _BLIND
    samplers = [each for each in vars(part).values() if hasattr(each, "should_sample")]
    return blind and kind.__name__ in _BLIND.get(kind.__module__, ()) and all(map(_is_blind, samplers))


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


_known: Any = None
"""The SDK's own `set_attributes`, once it was seen to put attributes where `_put` does."""
_store: Any = None
"""The type of what it put them into."""


def set_attributes(span: Any, attributes: dict[str, Any]) -> None:
    """Sets `attributes`, whose values are clean, on a span that records. The SDK's would check each value, which takes
    as long as all else that we do for a span: so the first go the public way, and others where those went."""
    setter = span.set_attributes
    # What wraps it, or stands for the store, of another tool, is called.
    known = type(setter) is MethodType and setter.__func__ is _known and type(span._attributes) is _store  # noqa: SLF001
    if not known or not _put(span, attributes):
        setter(attributes)
        if not known:
            _learn(span, setter, attributes)


def _put(span: Any, attributes: dict[str, Any]) -> bool:
    """Whether `attributes` were set: the span has not ended, has room for them, and does not cut their values."""
    bounded = span._attributes  # noqa: SLF001 - `_learn` has found it
    kept = bounded._dict  # noqa: SLF001
    with span._lock, bounded._lock:  # noqa: SLF001
        room = bounded.maxlen is None or len(kept) + len(attributes) <= bounded.maxlen
        if not room or bounded.max_value_len is not None or span._end_time is not None:  # noqa: SLF001
            return False
        if not kept.keys().isdisjoint(attributes):
            for name in attributes:
                # What is set again is the last to be dropped.
                kept.pop(name, None)
        kept.update(attributes)
    return True


def _learn(span: Any, setter: Any, attributes: dict[str, Any]) -> None:
    global _known, _store
    function = setter.__func__ if type(setter) is MethodType else None
    if getattr(function, "__globals__", {}).get("__name__") != "opentelemetry.sdk.trace":
        return
    try:
        store, kept = type(span._attributes), span._attributes._dict  # noqa: SLF001 - no public way
        theirs = store.__module__ == "opentelemetry.attributes" and type(kept) is dict
        if theirs and kept.items() >= attributes.items() and _put(span, attributes):
            _known, _store = function, store
    except Exception as error:  # noqa: BLE001 - the SDK's inner parts are others in this version
        pass_on(error)
