"""The meter behind `opentelemetry-instrument`, and where the program's code asks too."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli._programs import APP, CALL, RUN, Shell
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

OTEL = str(Path(sys.executable).with_name("opentelemetry-instrument"))
TAGS = {"CLAUDETRACE_TAGS": "team=search"}
# Without a distribution of OpenTelemetry's, `opentelemetry-instrument` sets no provider: the app does.
TRACED = f"""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
{APP}
"""
SAYS_MORE = "import claudetrace\nclaudetrace.instrument(tags={'team': 'code'})\n"


@pytest.fixture
def shell(server: PlayServer, tmp_path: Path) -> Shell:
    server.add(_answers.answer(times=None))
    shell = Shell(tmp_path, server.url)
    shell.write("app.py", APP)
    return shell


def test_opentelemetry_instrument_starts_the_meter(shell):
    """Without code, a call is one row with the environment's tags, and one span that has its cost."""
    shell.variables |= TAGS
    shell.write("app.py", TRACED)
    ran = shell.run(OTEL, sys.executable, "app.py")

    assert (ran.returncode, ran.stderr) == (0, "")
    (row,), span = shell.rows(), json.loads(ran.stdout)
    assert (row.tags, row.trace_id) == ({"team": "search"}, span["context"]["trace_id"].removeprefix("0x"))
    assert span["attributes"]["claudetrace.cost.usd"] == float(row.cost_usd)


@pytest.mark.parametrize("disabled", ["claudetrace", "django, claudetrace", "*"])
def test_it_can_be_disabled_as_any_instrumentation_can(shell, disabled):
    """Named in `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`, it records nothing."""
    shell.variables["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = disabled

    assert shell.run(OTEL, sys.executable, "app.py").returncode == 0
    assert shell.rows() == []


@pytest.mark.parametrize("front", [(OTEL, sys.executable), RUN, (OTEL, *RUN)], ids=["otel", "run", "both"])
def test_a_wrong_setting_does_not_stop_a_program(shell, front):
    """It runs to its end, and the setting and the way out are logged; nothing is recorded."""
    shell.write("app.py", f"import os; os.environ['CLAUDETRACE_SPANS'] = 'many'\n{APP}\nprint('done')")
    ran = shell.run(*front, "app.py")

    assert (ran.returncode, ran.stdout) == (0, "done\n")
    assert ran.stderr.count("give one of auto, own, off") == 1
    assert shell.rows() == []


@pytest.mark.parametrize("front", [(OTEL, sys.executable), RUN, (OTEL, *RUN)], ids=["otel", "run", "both"])
@pytest.mark.parametrize("first", [SAYS_MORE + CALL, CALL + SAYS_MORE], ids=["before the SDK", "after it"])
def test_what_code_says_replaces_what_nobody_asked_for(shell, front, first):
    """`instrument(tags=…)` in a program that was started with a meter is no second one; its calls are there once."""
    shell.variables |= TAGS
    shell.write("app.py", f"{first}\ncall()\nclaudetrace.instrument()\ncall()\n")
    ran = shell.run(*front, "app.py")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert [row.tags for row in shell.rows()] == [{"team": "code"}] * 2


def test_two_different_settings_in_code_are_still_refused(shell):
    """Only what nobody asked for makes way: a second `instrument()` with other settings raises."""
    shell.write("app.py", f"{CALL}{SAYS_MORE}claudetrace.instrument(tags={{'team': 'other'}})")
    ran = shell.run(*RUN, "app.py")

    assert (ran.returncode, "ClaudetraceError: already recording" in ran.stderr) == (1, True)


def test_run_behind_opentelemetry_instrument_records_once(shell):
    """Two that start the meter are one meter."""
    ran = shell.run(OTEL, *RUN, "app.py")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(shell.rows()) == 1


def test_the_instrumentor_ends_what_it_started(shell):
    """`uninstrument()` ends the meter, also one that waits for the SDK, and it can be started again."""
    shell.write(
        "app.py",
        f"""
from claudetrace._instrumentor import ClaudetraceInstrumentor

instrumentor = ClaudetraceInstrumentor()
assert list(instrumentor.instrumentation_dependencies()) == ["anthropic >= 0.73"]
instrumentor.instrument()
instrumentor.uninstrument()
{CALL}
call()
instrumentor.instrument()
call()
instrumentor.uninstrument()
call()
""",
    )
    ran = shell.run(sys.executable, "app.py")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(shell.rows()) == 1


@pytest.mark.parametrize("native", [False, True], ids=["own", "the SDK's"])
def test_suppressed_instrumentation_makes_no_span_of_ours(server, client, start, ledger, monkeypatch, native):
    """Inside `suppress_instrumentation()` no span of ours is made; the row is there all the same, and its cost."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    server.add(_answers.answer(times=None))
    start()
    asking = client.copy() if native else client.copy(open_telemetry=False)
    with suppress_instrumentation():
        asking.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])

    assert [row.cost_usd is None for row in ledger()] == [False]
    assert [span.instrumentation_scope.name for span in exporter.get_finished_spans()].count("claudetrace") == 0
    provider.shutdown()
