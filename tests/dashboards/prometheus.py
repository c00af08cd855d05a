"""What a metric is called once it is in Prometheus, and what a PromQL expression reads: enough for our own queries.

The names follow the rules that Prometheus' own OTLP receiver and the collector's exporters share by default
(`UnderscoreEscapingWithSuffixes`): letters, digits and colons stay, all else parts words, and words are joined by `_`;
then the unit in words, unless it is in braces; `total` after a counter; `ratio` after a gauge with the unit 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes", "1": "", "%": "percent"}
FROM_RESOURCE = frozenset({"job", "instance"})
"""Labels that every series has: `service.name` and `service.instance.id` of the resource."""

FUNCTIONS = frozenset(
    {
        *("sum", "min", "max", "avg", "count", "group", "vector", "label_replace", "histogram_quantile"),
        *("increase", "rate", "deriv", "min_over_time", "max_over_time", "offset", "and", "or", "unless", "bool"),
    }
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^{}]*\})?")
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Selector:
    """One series that a query reads: its name and the labels that it is matched by."""

    metric: str
    labels: frozenset[str]


def series(metric: Any) -> dict[str, frozenset[str]]:
    """The series that a metric, as `tests/telemetry/receiver.py` decodes it, becomes: each name with its labels."""
    words = [word for word in re.split(r"[^a-zA-Z0-9:]+", metric.name) if word]
    unit = "" if set("{}") & set(metric.unit) else UNITS[metric.unit]
    if unit and unit not in words:
        words.append(unit)
    if metric.kind == "sum" and metric.monotonic:
        words = [word for word in words if word != "total"] + ["total"]
    if metric.kind == "gauge" and metric.unit == "1":
        words = [word for word in words if word != "ratio"] + ["ratio"]
    name = "_".join(words)
    labels = FROM_RESOURCE | {label(key) for point in metric.points for key in point.attributes}
    if metric.kind == "histogram":
        return {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
    return {name: labels}


def label(attribute: str) -> str:
    """What an attribute is called as a label."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", attribute)


def selectors(expression: str) -> list[Selector]:
    """The series that an expression reads. Raises `ValueError` for what it cannot make out."""
    if (opened := _unbalanced(expression)) is not None:
        raise ValueError(f"{opened!r} has no partner in {expression}")
    plain = _GROUPING.sub(" ", _without_functions_strings(expression))
    found = []
    for name, braces in _SELECTOR.findall(re.sub(r"\[[^\]]*\]|\boffset\s+\w+", " ", plain)):
        if name in FUNCTIONS and not braces:
            continue
        found.append(Selector(name, frozenset(_matched(braces))))
    return found


def grouped(expression: str) -> set[str]:
    """The labels that an expression groups or joins by."""
    lists = _GROUPING.findall(_STRING.sub('""', expression))
    return {name.strip() for names in lists for name in names.split(",") if name.strip()}


def _without_functions_strings(expression: str) -> str:
    """The expression without strings outside braces, and without numbers, which end in letters too (`1e3`)."""
    outside = re.sub(r"\{[^{}]*\}|" + _STRING.pattern, lambda it: it[0] if it[0][0] == "{" else " ", expression)
    return re.sub(r"(?<![\w.])\d[\w.]*(?![^{]*\})", " ", outside)


def _matched(braces: str) -> list[str]:
    inside, names = braces.strip("{}"), []
    while inside.strip():
        matcher = _MATCHER.match(inside)
        if matcher is None:
            raise ValueError(f"{inside!r} is no label matcher")
        if matcher[2] in ("=~", "!~"):
            re.compile(matcher[3])
        names.append(matcher[1])
        inside = inside[matcher.end() :]
    return names


def _unbalanced(expression: str) -> str | None:
    partners, opened = {")": "(", "]": "[", "}": "{"}, []
    for character in _STRING.sub('""', expression):
        if character in partners.values():
            opened.append(character)
        elif character in partners and (not opened or opened.pop() != partners[character]):
            return character
    return opened[-1] if opened else None
