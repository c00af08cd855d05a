"""Numbers as a person reads them, with the exact one beside. Everything is escaped."""

from __future__ import annotations

from decimal import Decimal

from markupsafe import Markup, escape

PICOUSD = 10**12
UNKNOWN = "–"
SIZES = ((10**12, 10**12, "T"), (10**9, 10**9, "B"), (10**6, 10**6, "M"), (10**4, 10**3, "k"))
"""From which count on it is told in which unit."""


def exact_usd(picousd: int) -> str:
    """The amount in dollars to the last digit, as `12.0345`."""
    sign, whole, rest = "-" if picousd < 0 else "", *divmod(abs(picousd), PICOUSD)
    digits = f"{rest:012d}".rstrip("0")
    return f"{sign}{whole}.{digits.ljust(2, '0')}"


def usd_text(picousd: int | None, digits: int | None = None) -> str:
    """The amount rounded to what tells something; less than the least digit is `<$0.0001`."""
    if picousd is None:
        return UNKNOWN
    amount = abs(picousd)
    if digits is None:
        digits = 0 if amount >= 10_000 * PICOUSD else 2 if amount >= PICOUSD else 4
    value = Decimal(amount) / PICOUSD
    sign = "−" if picousd < 0 else ""
    if 0 < value < Decimal(1).scaleb(-digits) / 2:
        return f"{sign}<${Decimal(1).scaleb(-digits):f}"
    return f"{sign}${value:,.{digits}f}" if amount else "$0"


def usd(picousd: int | None, digits: int | None = None, *, at_least: bool = False) -> Markup:
    """The rounded amount, which bears the exact one."""
    if picousd is None:
        return Markup('<span class="unknown" title="not known">{}</span>').format(UNKNOWN)
    exact = exact_usd(picousd)
    prefix = "≥ " if at_least else ""
    return Markup('<data class="usd" value="{0}" title="{1}${0}">{1}{2}</data>').format(
        exact, prefix, usd_text(picousd, digits)
    )


def count_text(count: float | None) -> str:
    """`2,114`, `23.4k`, `2.11M`: three digits where there are many."""
    if count is None:
        return UNKNOWN
    for least, size, letter in SIZES:
        if abs(count) >= least:
            scaled = count / size
            return f"{scaled:.{max(0, 3 - len(str(int(abs(scaled)))))}f}{letter}"
    return f"{count:,.0f}"


def count(value: int | None, *, at_least: bool = False) -> Markup:
    """The short count, which bears the exact one."""
    if value is None:
        return Markup('<span class="unknown">{}</span>').format(UNKNOWN)
    prefix = "≥ " if at_least else ""
    return Markup('<data value="{0}" title="{1}{2:,}">{1}{3}</data>').format(value, prefix, value, count_text(value))


def ms_text(ms: float | None) -> str:
    """`340 ms`, `3.4 s`, `2 min 5 s`."""
    if ms is None:
        return UNKNOWN
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 100_000:
        return f"{ms / 1000:.{2 if ms < 10_000 else 1}f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes} min {seconds} s"


def duration(ms: float | None) -> Markup:
    """The duration, which bears its milliseconds."""
    if ms is None:
        return Markup('<span class="unknown">{}</span>').format(UNKNOWN)
    return Markup('<data value="{0}" title="{1} ms">{2}</data>').format(ms, f"{ms:,.1f}", ms_text(ms))


def share_text(part: float | None, whole: float | None = 1) -> str:
    """`part` of `whole` in per cent; unknown of nothing."""
    if part is None or not whole:
        return UNKNOWN
    percent = 100 * part / whole
    if 0 < abs(percent) < 0.1:
        return "<0.1 %"
    return f"{percent:.1f} %" if percent < 99.95 or percent > 99.999999 else ">99.9 %"


def change_text(now: float | None, before: float | None) -> str | None:
    """`+27.0 %`; `None` where there is nothing to compare with."""
    if not before or now is None:
        return None
    percent = 100 * (now - before) / abs(before)
    if abs(percent) < 0.05:
        return "±0 %"
    if percent >= 1000:
        return f"×{now / before:,.0f}"
    return f"{'+' if percent > 0 else '−'}{abs(percent):.1f} %"


def model_text(model: str | None) -> Markup:
    """The name of a model, or that there is none."""
    return escape(model) if model else Markup('<span class="unknown">no model</span>')


def words(name: str) -> str:
    """`rate_limit_error` as a person says it."""
    return name.replace("_", " ")
