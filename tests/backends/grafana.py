"""The dashboard read by Grafana's own library, and its queries answered by a real Prometheus.

Runs in an environment of its own with `grafana-foundation-sdk`; see `run.py`, which also names the folder with
`prometheus` and `promtool`. The series are those of the demo's calls, spread over two hours.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402
from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: E402
from grafana_foundation_sdk.models.dashboard import Dashboard  # noqa: E402
from telemetry.receiver import Metric, Point, Receiver  # noqa: E402

import claudetrace  # noqa: E402
from claudetrace._demo import _play  # noqa: E402
from dashboards import prometheus  # noqa: E402 - the tests' own modules come from the path set above

DASHBOARD = ROOT / "dashboards" / "grafana" / "claudetrace.json"
OF_RECORDS = DASHBOARD.with_name("clickhouse.json")
"""Its queries are run by `clickhouse.py`."""
UNKNOWN_TO_THE_LIBRARY = {"definition", "builtIn"}
"""Fields that Grafana writes itself, and that its library leaves out."""
SAMPLES, EVERY_S = 121, 60
STARTS_WITHIN_S = 60
QUIET = {"Records lost"}
"""Panels of what a day without trouble has none of."""


def main() -> int:
    """1 if the library drops a part of the dashboard, or a panel of it stays empty."""
    raw = json.loads(DASHBOARD.read_text())
    register_default_plugins()
    records = json.loads(OF_RECORDS.read_text())
    lost = [
        each
        for board in (raw, records)
        for each in dropped(board, json.loads(JSONEncoder().encode(Dashboard.from_json(board))))
    ]
    for each in lost:
        print(f"Grafana's library does not know {each}")
    empty, asked = [], 0
    with TemporaryDirectory() as folder, serving(Path(sys.argv[1]), Path(folder), emitted(Path(folder))) as url:
        for title, query in queries(raw):
            asked += 1
            if not answer(url, query) and title not in QUIET:
                empty.append(title)
                print(f"nothing for {title!r}: {query}")
    panels = len(raw["panels"] + records["panels"])
    print(f"{panels} panels, {len(lost)} fields unknown, {asked} queries, {len(empty)} without an answer")
    return int(bool(lost or empty or not asked))


def dropped(given: Any, kept: Any, at: str = "") -> Iterator[str]:
    """What of the dashboard is not in it any more once it was read and written by Grafana's library."""
    if isinstance(given, dict):
        for name, value in given.items():
            if name not in kept:
                if value not in (None, [], {}, "") and name not in UNKNOWN_TO_THE_LIBRARY:
                    yield f"{at}/{name}"
            else:
                yield from dropped(value, kept[name], f"{at}/{name}")
    elif isinstance(given, list):
        for number, (each, other) in enumerate(zip(given, kept, strict=True)):
            yield from dropped(each, other, f"{at}[{number}]")
    elif given != kept:
        yield f"{at}: {given!r} became {kept!r}"


def emitted(folder: Path) -> list[Metric]:
    # The demo's calls come under no budget of their own.
    budget = claudetrace.Budget("demo", usd=100)
    with (
        Receiver() as receiver,
        claudetrace.instrument(db=folder / "ledger.db", otlp=receiver.url, budgets=[budget], force=True),
    ):
        _play.play()
        assert claudetrace.flush(timeout_s=30)
    # The last export of each: earlier ones had the same series with less in them.
    return list({metric.name: metric for metric in receiver.metrics}.values())


def queries(raw: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in raw["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__range", "1h").replace("$__rate_interval", "5m")
            for variable in raw["templating"]["list"]:
                query = query.replace(f"${variable['name']}", ".*")
            yield panel["title"], query


def open_metrics(metrics: list[Metric], ends_at: int) -> Iterator[str]:
    """The samples as text: each counter grows evenly to what it is, each gauge stays as it is."""
    for metric in metrics:
        grows = metric.kind == "histogram" or metric.monotonic
        for point in metric.points:
            labels = {prometheus.label(name): value for name, value in point.attributes.items()}
            labels |= {"job": metric.resource["service.name"], "instance": metric.resource["service.instance.id"]}
            for name, more, value in values(metric, point):
                told = ",".join(f"{key}={json.dumps(text)}" for key, text in {**labels, **more}.items())
                for number in range(SAMPLES):
                    now = value * number / (SAMPLES - 1) if grows else value
                    yield f"{name}{{{told}}} {now} {ends_at - (SAMPLES - 1 - number) * EVERY_S}"
    yield "# EOF\n"


def values(metric: Metric, point: Point) -> Iterator[tuple[str, dict[str, str], float]]:
    """A point's samples: name, further labels, value."""
    names = sorted(prometheus.series(metric))
    if metric.kind != "histogram":
        yield names[0], {}, float(point.value or 0)
        return
    bucket, count, total = names
    yield count, {}, point.count
    yield total, {}, point.sum
    below = 0
    for bound, in_it in zip([*map(str, point.bounds), "+Inf"], point.counts, strict=True):
        below += in_it
        yield bucket, {"le": bound}, below


@contextmanager
def serving(programs: Path, folder: Path, metrics: list[Metric]) -> Iterator[str]:
    """A Prometheus on loopback that has these metrics."""
    samples, data, config = folder / "samples.txt", folder / "data", folder / "prometheus.yml"
    samples.write_text("\n".join(open_metrics(metrics, int(time.time()))))
    config.write_text("global: {}\n")
    load = [programs / "promtool", "tsdb", "create-blocks-from", "openmetrics", "-q", samples, data]
    loaded = subprocess.run(load, check=False, capture_output=True, text=True)
    if loaded.returncode:
        raise RuntimeError(loaded.stdout + loaded.stderr)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    options = [f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([programs / "prometheus", *options], stdout=log, stderr=log)
        try:
            until = time.monotonic() + STARTS_WITHIN_S
            while not ready(f"http://{address}/-/ready"):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError((folder / "log").read_text()[-2000:])
                time.sleep(0.1)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait()


def fetch(url: str) -> bytes:
    # A proxy of the environment would send loopback's requests out.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as response:
        return bytes(response.read())


def ready(url: str) -> bool:
    try:
        return bool(fetch(url))
    except OSError:
        return False


def answer(url: str, query: str) -> list[Any]:
    """The series of the answer that have a number."""
    found = json.loads(fetch(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"))
    assert found["status"] == "success", found
    return [each for each in found["data"]["result"] if each["value"][1] != "NaN"]


if __name__ == "__main__":
    sys.exit(main())
