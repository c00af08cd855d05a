"""The entry point `claudetrace` of `opentelemetry-instrument`.

Loaded by name alone: what it builds on, the package `opentelemetry-instrumentation`, is there where this is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # unchecked there

from claudetrace import _zero_code

if TYPE_CHECKING:
    from collections.abc import Collection


class ClaudetraceInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # which is Any, by the line above
    """Starts the meter with the settings of the environment and of `claudetrace.toml`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """What is instrumented: the SDK."""
        return ("anthropic >= 0.73",)

    def _instrument(self, **_kwargs: Any) -> None:
        _zero_code.start()

    def _uninstrument(self, **_kwargs: Any) -> None:
        _zero_code.stop()
