"""What arrives over OTLP, as plain objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scope:
    name: str
    version: str
    schema_url: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Span:
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_span_id: str
    attributes: dict[str, Any]
    status: str
    scope: Scope
    resource: dict[str, Any]
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Point:
    attributes: dict[str, Any]
    value: float | None
    """Of a sum or a gauge; `None` for a histogram, which has the others."""
    count: int = 0
    sum: float = 0
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    start_ns: int = 0
    time_ns: int = 0


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    description: str
    kind: str
    """`sum`, `gauge`, `histogram` or `exponential_histogram`."""
    points: list[Point]
    temporality: str
    monotonic: bool
    scope: Scope
    resource: dict[str, Any]


@dataclass(frozen=True)
class Log:
    event_name: str
    attributes: dict[str, Any]
    body: Any
    severity: int
    trace_id: str
    span_id: str
    time_ns: int
    scope: Scope
    resource: dict[str, Any]


def _value(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "array_value":
        return [_value(each) for each in value.array_value.values]
    if which == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, which)


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _scoped(resources: Iterable[Any], scopes: str, items: str) -> Iterator[tuple[Any, Scope, dict[str, Any]]]:
    for resource in resources:
        told = _attributes(resource.resource.attributes)
        for group in getattr(resource, scopes):
            of = group.scope
            scope = Scope(of.name, of.version, group.schema_url, _attributes(of.attributes))
            for item in getattr(group, items):
                yield item, scope, told


def _enum(message: Any, name: str, prefix: str) -> str:
    described = message.DESCRIPTOR.fields_by_name[name].enum_type
    return str(described.values_by_number[getattr(message, name)].name.removeprefix(prefix))


def spans(request: Any) -> Iterator[Span]:
    for span, scope, resource in _scoped(request.resource_spans, "scope_spans", "spans"):
        yield Span(
            span.name,
            _enum(span, "kind", "SPAN_KIND_"),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            _attributes(span.attributes),
            _enum(span.status, "code", "STATUS_CODE_"),
            scope,
            resource,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
        )


def _point(point: Any) -> Point:
    attributes = _attributes(point.attributes)
    times = {"start_ns": point.start_time_unix_nano, "time_ns": point.time_unix_nano}
    if hasattr(point, "as_double"):
        return Point(attributes, getattr(point, point.WhichOneof("value")), **times)
    bounds, counts = tuple(getattr(point, "explicit_bounds", ())), tuple(getattr(point, "bucket_counts", ()))
    return Point(attributes, None, point.count, point.sum, bounds, counts, **times)


def metrics(request: Any) -> Iterator[Metric]:
    for metric, scope, resource in _scoped(request.resource_metrics, "scope_metrics", "metrics"):
        kind = metric.WhichOneof("data")
        data = getattr(metric, kind)
        yield Metric(
            metric.name,
            metric.unit,
            metric.description,
            kind,
            [_point(each) for each in data.data_points],
            "" if kind == "gauge" else _enum(data, "aggregation_temporality", "AGGREGATION_TEMPORALITY_"),
            bool(getattr(data, "is_monotonic", False)),
            scope,
            resource,
        )


def logs(request: Any) -> Iterator[Log]:
    for log, scope, resource in _scoped(request.resource_logs, "scope_logs", "log_records"):
        attributes = _attributes(log.attributes)
        yield Log(
            log.event_name or attributes.get("event.name", ""),
            attributes,
            _value(log.body),
            log.severity_number,
            log.trace_id.hex(),
            log.span_id.hex(),
            log.time_unix_nano or log.observed_time_unix_nano,
            scope,
            resource,
        )
