"""Settings that the pages show: files are read as they stand, and variables are those of OpenTelemetry."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml

import claudetrace

from ._pages import PAGES, Fence, fences

FILES = [(page, fence) for page in PAGES for fence in fences(page, "toml")]
OTHERS = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "OTEL_SEMCONV_STABILITY_OPT_IN"}
"""Variables of OpenTelemetry's instrumentation package, which not every environment has."""


@pytest.mark.parametrize("shown", FILES, ids=[f"{page}:{fence.line}" for page, fence in FILES])
def test_a_settings_file_is_taken(shown: tuple[str, Fence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`instrument()` takes the file, and warns of nothing."""
    monkeypatch.setenv("SLACK_URL", "http://127.0.0.1:9/alerts")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "claudetrace.toml").write_text(shown[1].text)

    with claudetrace.instrument(db=tmp_path / "ledger.db", config=tmp_path / "claudetrace.toml", force=True) as running:
        assert running.health.last_error is None


def test_yaml_is_read() -> None:
    """Each block of YAML is a mapping."""
    assert all(isinstance(yaml.safe_load(fence.text), dict) for page in PAGES for fence in fences(page, "yaml"))


def test_variables_of_opentelemetry() -> None:
    """Each variable that a page names is one that OpenTelemetry's SDK, its exporters or its conventions read."""
    known = {
        name
        for module in ("opentelemetry.sdk.environment_variables", "opentelemetry.environment_variables")
        for name in vars(importlib.import_module(module))
        if name.startswith("OTEL_")
    }
    told = {name for page in PAGES.values() for name in re.findall(r"\bOTEL_[A-Z_]*[A-Z](?![A-Z_*])", page)}

    assert told - known - OTHERS == set()
