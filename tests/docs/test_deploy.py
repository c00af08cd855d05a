"""`examples/deploy`: its files hold together and keep their schemas, and its commands work as processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from _postgres import MISSING, Server, free_port, programs
from processes.test_lean import LEAN

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer

yaml = pytest.importorskip("yaml")
DEPLOY = Path(__file__).resolve().parents[2] / "examples" / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MANIFESTS: list[dict[str, Any]] = [
    document
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
PATIENCE_S = 60.0


def _of(kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in MANIFESTS if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def _pods() -> Iterator[dict[str, Any]]:
    for each in MANIFESTS:
        if each["kind"] in ("Deployment", "Job"):
            yield each["spec"]["template"]["spec"]


def test_compose_keeps_its_schema() -> None:
    """As the Compose specification has it."""
    compose_spec = pytest.importorskip("compose_spec", reason="make docs installs it")
    compose_spec.PyCompose.from_json(json.dumps(COMPOSE)).validate()


def test_manifests_keep_their_schemas() -> None:
    """As Kubernetes has them, and with no property that it does not know."""
    validate = pytest.importorskip("kubernetes_validate", reason="make docs installs it")
    for each in MANIFESTS:
        validate.validate(each, "1.34", strict=True)


def test_compose_holds_together() -> None:
    """Each volume is declared, each file that is mounted is there, each variable is in example.env."""
    volumes = [each.split(":")[0] for service in SERVICES.values() for each in service.get("volumes", ())]
    variables = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    told = set(re.findall(r"^(\w+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE))

    assert {each for each in volumes if not each.startswith(".")} == set(COMPOSE["volumes"])
    assert [each for each in volumes if each.startswith(".") and not (DEPLOY / each).exists()] == []
    assert variables == told
    assert {name for service in SERVICES.values() for name in service.get("depends_on", ())} <= set(SERVICES)
    rules = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["rule_files"]
    assert all(any(each.split(":")[1] == rule for each in SERVICES["prometheus"]["volumes"]) for rule in rules)


def test_the_image_gets_what_it_needs() -> None:
    """Each file that the Dockerfile copies is there, and with them all that the package is built from."""
    root = DEPLOY.parents[1]
    lines = re.findall(r"^COPY (.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    copied = {word for line in lines for word in line.split()[:-1]}
    project = tomllib.loads((root / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"}
    needed |= {each.split("/")[0] for each in (*wheel["packages"], *wheel["force-include"])}

    assert [each for each in copied if not (root / each).exists()] == []
    assert needed <= copied
    let_in = re.findall(r"^!(.*)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert [each for each in copied if not any(Path(each).is_relative_to(name) for name in let_in)] == []


def test_a_smaller_image_has_what_is_tested() -> None:
    """The packages that docs/fleet.md names are those with which the meter is tested alone."""
    page = (DEPLOY.parents[1] / "docs" / "fleet.md").read_text()
    told = page.partition("### Lean images")[2].partition("pip install ")[2].partition("\n")[0]

    assert sorted(told.split()) == sorted(LEAN)


def test_manifests_hold_together() -> None:
    """Selectors find their pods, mounts their volumes, probes their ports, and secrets their keys."""
    keys = set(_of("Secret", "claudetrace")["stringData"])
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in MANIFESTS if each["kind"] == "Deployment"]
    for each in MANIFESTS:
        if each["kind"] == "Service":
            assert each["spec"]["selector"] in labels
    for pod in _pods():
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            ports = {port["name"] for port in container.get("ports", ())}
            probes = [value["httpGet"]["port"] for name, value in container.items() if name.endswith("Probe")]
            assert set(probes) <= ports
            asked = [variable.get("valueFrom", {}).get("secretKeyRef") for variable in container["env"]]
            assert {each["key"] for each in asked if each} <= keys


def test_the_two_ways_are_one() -> None:
    """Compose and Kubernetes run the same commands."""
    central = _of("Deployment", "claudetrace-central")["spec"]["template"]["spec"]["containers"][0]["command"]
    limits = _of("Job", "claudetrace-limits")["spec"]["template"]["spec"]["containers"][0]["command"]
    desk = _of("Deployment", "desk")["spec"]["template"]["spec"]["containers"][0]["command"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()

    assert central[:8] == SERVICES["central"]["command"][:8]
    assert limits == SERVICES["limits"]["command"]
    assert desk == yaml.safe_load(re.findall(r"^CMD (.*)$", dockerfile, re.MULTILINE)[-1])


def test_its_commands_work_together(tmp_path: Path) -> None:
    """A customer who has spent the day's limit in one service is refused in the other, every row is in the central
    ledger, and its pages ask who somebody is."""
    pytest.importorskip("fastapi")
    pytest.importorskip("datasette_auth_passwords")
    if programs() is None:
        pytest.skip(MISSING)
    cheap = _wire.message("Hello.", _wire.usage(1_000, 50), model="claude-haiku-5-5")
    dear = _wire.message("Much.", _wire.usage(60_000_000, 50), model="claude-haiku-5-5")
    asks_much = lambda body: "much" in body["messages"][0]["content"]  # noqa: E731
    with ExitStack() as stack:
        server = Server()
        stack.callback(server.close)
        api = stack.enter_context(
            PlayServer(_answers.answer(dear, when=asks_much, times=None), _answers.answer(cheap, times=None))
        )
        running = _Running(stack, tmp_path)
        central, pages = _central(running)
        _set_limits(running, server)
        desk, search = (_service(running, name, api, server, central) for name in ("desk", "search"))
        for url in (desk, search, central):
            _until(lambda url=url: _get(f"{url}/healthz")[0] == 200)
        _until(lambda: _get(f"{pages}/-/claudetrace")[0] == 403)

        assert _get(f"{desk}/ask?customer=acme&question=Hello") == (200, "Hello.")
        assert _get(f"{search}/ask?customer=globex&question=Hello") == (200, "Hello.")
        assert _get(f"{desk}/ask?customer=acme&question=much") == (200, "Much.")
        refused = _until(lambda: (found := _get(f"{search}/ask?customer=acme&question=Hello"))[0] == 429 and found)
        assert '"budget":"customer"' in refused[1]
        assert _get(f"{search}/ask?customer=globex&question=Hello") == (200, "Hello.")

        _until(lambda: running.rows() >= 5)
        running.end("desk", "search")
        with claudetrace.Ledger(running.central) as ledger:
            rows = Counter((call.service, call.customer, call.outcome) for call in ledger.calls(limit=None))
        # What was spent in one service may reach the database while the other asks once more.
        assert rows.pop(("search", "acme", "ok"), 0) <= 1
        assert rows.pop(("search", "acme", "error")) == 1
        assert rows == {("desk", "acme", "ok"): 2, ("search", "globex", "ok"): 2}
        assert _get(f"{central}/readyz")[0] == 200


class _Running:
    """The processes of one try, and their environment."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder, self.central = folder, folder / "central.db"
        self._stack, self._processes = stack, dict[str, subprocess.Popen[bytes]]()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CLAUDE", "OTEL"))}
        self.environment = {**kept, "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "TOKEN": "t" * 24}

    def start(self, name: str, command: list[str], **environment: str) -> None:
        log = self._stack.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            command, cwd=DEPLOY, env={**self.environment, **environment}, stdout=log, stderr=subprocess.STDOUT
        )
        self._stack.callback(process.wait, 30)
        self._stack.callback(process.terminate)
        self._processes[name] = process

    def end(self, *names: str) -> None:
        for name in names:
            self._processes[name].terminate()
        for name in names:
            self._processes[name].wait(30)

    def rows(self) -> int:
        with suppress(claudetrace.ClaudetraceError), claudetrace.Ledger(self.central) as ledger:
            return len(ledger.calls(limit=None))
        return 0


def _set_limits(running: _Running, server: Server) -> None:
    """The command of `limits`, as it stands."""
    environment = {**running.environment, "ADMIN_URL": server.url(), "APP_PASSWORD": "app-password"}
    subprocess.run(SERVICES["limits"]["command"], cwd=DEPLOY, env=environment, check=True, capture_output=True)


def _central(running: _Running) -> tuple[str, str]:
    """Where the central ledger listens, and its pages."""
    taken = {"0.0.0.0:4318": f"0.0.0.0:{free_port()}", "0.0.0.0:8686": f"0.0.0.0:{free_port()}"}
    command = [taken.get(word, word) for word in SERVICES["central"]["command"]]
    command[command.index("--db") + 1] = str(running.central)
    told = SERVICES["central"]["environment"]
    tokens = told["CLAUDETRACE_COLLECT_TOKENS"].replace("${COLLECT_TOKEN:?}", running.environment["TOKEN"])
    running.start("central", command, CLAUDETRACE_COLLECT_TOKENS=tokens, BOSS_PASSWORD_HASH="pbkdf2_sha256$1$a$b")
    central, pages = (f"http://127.0.0.1:{address.rpartition(':')[2]}" for address in taken.values())
    return central, pages


def _service(running: _Running, name: str, api: PlayServer, server: Server, central: str) -> str:
    """Where the service will answer; its environment is that of the manifest."""
    told = _of("Deployment", "desk")["spec"]["template"]["spec"]["containers"][0]
    environment = {each["name"]: each["value"] for each in told["env"] if "value" in each}
    environment |= {
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": api.url,
        "DATABASE_URL": f"postgresql://app:app-password@127.0.0.1:{server.port}/postgres",
        "OTEL_SERVICE_NAME": name,
        "CLAUDETRACE_DB": str(running.folder / name / "ledger.db"),
    }
    for variable, value in environment.items():
        value = value.replace("$(DESK_TOKEN)", running.environment["TOKEN"]).replace("$(POD_NAME)", f"{name}-1")
        environment[variable] = value.replace("http://claudetrace-central:4318", central)
    port = str(free_port())
    command = [{"8000": port, "0.0.0.0": "127.0.0.1"}.get(word, word) for word in told["command"]]
    running.start(name, command, **environment)
    return f"http://127.0.0.1:{port}"


def _get(url: str) -> tuple[int, str]:
    """Its status and body; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def _until(what: Any) -> Any:
    until = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found
