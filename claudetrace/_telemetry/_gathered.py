"""`Gathered`: what the rows of a batch add to instruments. An instrument is told once, not once a row."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import inf
from typing import TYPE_CHECKING, Any

from claudetrace._guard import pass_on

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from claudetrace._guard import Guard


class Gathered:
    """Has the verbs of instruments. Attributes are told apart by identity: rows that share some share the object."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._attributes: dict[int, Mapping[str, str]] = {}
        self._values: dict[tuple[Any, int], list[float]] = {}
        self._sums: dict[tuple[Any, int], float] = {}
        self._later: dict[tuple[Any, int], Callable[[], float]] = {}
        self._last: dict[tuple[Any, int], float] = {}

    def _key(self, instrument: Any, attributes: Mapping[str, str]) -> tuple[Any, int]:
        self._attributes[id(attributes)] = attributes
        return instrument, id(attributes)

    def record(self, histogram: Any, values: Sequence[float], attributes: Mapping[str, str]) -> None:
        """Each of `values` is to be recorded."""
        if values:
            self._values.setdefault(self._key(histogram, attributes), []).extend(values)

    def add(self, counter: Any, value: float, attributes: Mapping[str, str]) -> None:
        """`value` is to be added."""
        key = self._key(counter, attributes)
        self._sums[key] = self._sums.get(key, 0) + value

    def add_later(self, counter: Any, further: Callable[[], float], attributes: Mapping[str, str]) -> None:
        """What `further` says at the end is to be added."""
        self._later[self._key(counter, attributes)] = further

    def set(self, gauge: Any, value: float, attributes: Mapping[str, str]) -> None:
        """`value` is to be shown, unless a later one comes."""
        self._last[self._key(gauge, attributes)] = value

    def tell(self) -> None:
        """Tells the instruments. Never raises."""
        for (histogram, of), values in self._values.items():
            with self._guard("record the metrics of calls"):
                record_all(histogram, values, self._attributes[of])
        for (counter, of), value in self._sums.items():
            with self._guard("record the metrics of calls"):
                counter.add(value, self._attributes[of])
        for (counter, of), further in self._later.items():
            with self._guard("record the metrics of calls"):
                counter.add(further(), self._attributes[of])
        for (gauge, of), value in self._last.items():
            with self._guard("record the metrics of calls"):
                gauge.set(value, self._attributes[of])


def record_all(histogram: Any, values: Sequence[float], attributes: Mapping[str, str]) -> None:
    """Records `values`: the first as anybody would, and the others in one step where that one went. An instrument that
    is not the SDK's, or has other inner parts than are known here, gets them one by one."""
    first, rest = values[0], values[1:]
    histogram.record(first, attributes)
    if not rest:
        return
    ordered = sorted(rest)
    try:
        reached = _reached(histogram, attributes) if ordered[0] >= 0 and ordered[-1] < inf else []
    except Exception as error:  # noqa: BLE001 - the SDK's inner parts are others in this version
        pass_on(error)
        reached = []
    if not reached:
        for value in rest:
            histogram.record(value, attributes)
        return
    for aggregation in reached:
        _add(aggregation, ordered, sum(rest))


def _add(aggregation: Any, values: Sequence[float], total: float) -> None:
    """Adds what a call of its `aggregate` for each of `values` would, which are in order."""
    bounds, most, seen = aggregation._boundaries, len(values), 0  # noqa: SLF001 - as in `_reached`
    with aggregation._lock:  # noqa: SLF001
        if aggregation._value is None:  # noqa: SLF001 - collected since the first one
            aggregation._value = aggregation._get_empty_bucket_counts()  # noqa: SLF001
        # From one bucket that has values to the next.
        while seen < most:
            bucket = bisect_left(bounds, values[seen])
            until = bisect_right(values, bounds[bucket], seen) if bucket < len(bounds) else most
            aggregation._value[bucket] += until - seen  # noqa: SLF001
            seen = until
        aggregation._sum += total  # noqa: SLF001
        aggregation._min = min(aggregation._min, values[0])  # noqa: SLF001
        aggregation._max = max(aggregation._max, values[-1])  # noqa: SLF001


def _reached(histogram: Any, attributes: Mapping[str, str]) -> list[Any]:
    """What adds up the values of `histogram` with these attributes, one for each view of each reader; none where one of
    them is not known for sure. Raises where the SDK's inner parts are others."""
    found: list[Any] = []
    for storage in list(histogram._measurement_consumer._reader_storages.values()):  # noqa: SLF001 - no public way
        for match in storage._get_or_init_view_instrument_match(histogram):  # noqa: SLF001
            names = match._view._attribute_keys  # noqa: SLF001
            kept = {name: value for name, value in attributes.items() if names is None or name in names}
            known = list(match._attributes_aggregation.values())  # noqa: SLF001
            here = [each for each in known if each._attributes == kept]  # noqa: SLF001
            # Some readers replace them whenever they collect.
            if len(here) != 1 or getattr(match, "_reset_on_collect", False) or not _is_known(here[0]):
                return []
            found += here
    return found


_PARTS = ("_boundaries", "_lock", "_value", "_sum", "_min", "_max", "_record_min_max", "_get_empty_bucket_counts")


def _is_known(aggregation: Any) -> bool:
    """Whether it is a histogram with buckets that keeps its extremes, built as `_add` takes it to be."""
    return all(hasattr(aggregation, part) for part in _PARTS) and aggregation._record_min_max is True  # noqa: SLF001
