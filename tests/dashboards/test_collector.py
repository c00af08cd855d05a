"""The collector's configuration, held against the options that its components document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from claudetrace._call import CALL_FIELDS

ROOT = Path(__file__).parents[2]
CONFIG, OF_EXAMPLE = (
    yaml.safe_load((ROOT / path).read_text())
    for path in ("dashboards/collector/config.yaml", "examples/deploy/otelcol.yaml")
)
BOTH = pytest.mark.parametrize("config", [CONFIG, OF_EXAMPLE], ids=["config.yaml", "otelcol.yaml"])
QUEUE = {
    **dict.fromkeys(("enabled", "num_consumers", "queue_size", "sizer", "storage", "block_on_overflow")),
    "wait_for_result": None,
    "batch": dict.fromkeys(("min_size", "max_size", "flush_timeout", "sizer")),
}
RETRY = dict.fromkeys(("enabled", "initial_interval", "max_interval", "max_elapsed_time", "multiplier"))
SENDING = {"sending_queue": QUEUE, "retry_on_failure": RETRY, "timeout": None}
# The options by which a component may be set, as of 0.162 of the contrib distribution; `None` is a value.
# Sources: README, config.go and config.schema.yaml of each component, and of exporterhelper for the queues.
OPTIONS: dict[str, dict[str, Any]] = {
    "otlp": {"protocols": {"http": {"endpoint": None, "tls": None}, "grpc": {"endpoint": None, "tls": None}}},
    "file_storage": {
        **dict.fromkeys(("directory", "create_directory", "timeout", "fsync")),
        "compaction": dict.fromkeys(("on_start", "on_rebound", "directory", "cleanup_on_start")),
    },
    "memory_limiter": dict.fromkeys(("check_interval", "limit_mib", "spike_limit_mib")),
    "filter": {"error_mode": None, "logs": {"log_record": None}},
    "clickhouse": {
        **dict.fromkeys(("endpoint", "username", "password", "database", "ttl", "create_schema", "async_insert")),
        **dict.fromkeys(("logs_table_name", "traces_table_name", "compress")),
        **SENDING,
    },
    "awss3": {
        "s3uploader": {
            **dict.fromkeys(("region", "s3_bucket", "s3_prefix", "s3_partition_format", "s3_partition_timezone")),
            **dict.fromkeys(("compression", "unique_key_func_name")),
        },
        "marshaler": None,
        **SENDING,
    },
    "datadog": {
        "api": dict.fromkeys(("key", "site")),
        "metrics": {"sums": {"cumulative_monotonic_mode": None}},
        **SENDING,
    },
    "otlp_http": {"endpoint": None, "compression": None, "headers": None, **SENDING},
}
KINDS = ("receivers", "processors", "exporters", "extensions")


def unknown(given: Any, known: dict[str, Any] | None, at: str) -> Iterator[str]:
    if known is None or given is None:
        return
    for name, value in given.items():
        if name not in known:
            yield f"{at}.{name}"
        else:
            yield from unknown(value, known[name], f"{at}.{name}")


def of_kind(component: str) -> str:
    return component.split("/")[0]


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_every_option_is_documented(kind: str, config: dict[str, Any]) -> None:
    """No component is set by an option that its documentation does not have: the collector would not start."""
    for component, options in config.get(kind, {}).items():
        assert list(unknown(options, OPTIONS[of_kind(component)], component)) == []


@BOTH
def test_what_is_defined_is_used_and_what_is_used_is_defined(config: dict[str, Any]) -> None:
    """Pipelines name components that are there, and none is there for nothing."""
    pipelines = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines for name in pipeline.get(kind, ())} == set(config.get(kind, ()))
    assert set(config["service"]["extensions"]) == set(config["extensions"])


def test_memory_is_limited_first() -> None:
    """Each pipeline refuses data before it does anything with it."""
    assert {pipeline["processors"][0] for pipeline in CONFIG["service"]["pipelines"].values()} == {"memory_limiter"}


def test_a_record_is_on_the_disk_before_it_is_acknowledged() -> None:
    """No processor holds records back in memory, and each of their exporters queues them on the disk."""
    records = CONFIG["service"]["pipelines"]["logs/records"]

    assert {of_kind(name) for name in records["processors"]} == {"memory_limiter", "filter"}
    for name in records["exporters"]:
        exporter = CONFIG["exporters"][name]
        storage = CONFIG["extensions"][exporter["sending_queue"]["storage"]]
        assert storage["fsync"] is True
        assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"


def test_the_filter_keeps_records() -> None:
    """What is dropped lacks an attribute that every record has."""
    (condition,) = CONFIG["processors"]["filter/records"]["logs"]["log_record"]

    assert condition == 'attributes["claudetrace.id"] == nil'
    assert "id" in CALL_FIELDS
