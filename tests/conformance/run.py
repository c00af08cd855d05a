"""Public reports of wrong Claude costs, put to pricing functions: `make conformance`.

A pricing function takes a case and returns dollars, exact, or `None` if it knows no price; `with_*.py` here have those
of claudetrace, genai-prices and litellm, each run in an environment of its own in `.conformance/`. Another one:

    python tests/conformance/run.py --pricer my_package.pricing:price

A case has `message` (the API's JSON), `at` (the day), and `keywords` (what the message does not say).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Context
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = ROOT / ".conformance"
DOCUMENT = ROOT / "docs" / "conformance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
OTHERS = {"with_genai_prices.py": "genai-prices", "with_litellm.py": "litellm"}
NO_PRICE = "no price"

Results = Mapping[str, Any]
"""The name and version of what priced, and by case its picodollars, `None`, or the text of an error."""


def cases() -> list[dict[str, Any]]:
    """The cases, each with the `message` that the API would have given."""
    found: list[dict[str, Any]] = json.loads((HERE / "cases.json").read_text())["cases"]
    for case in found:
        content = [] if case.get("content_empty") else [{"type": "text", "text": ""}]
        told = {name: case[name] for name in ("model", "stop_reason", "usage")}
        case["message"] = {"id": "msg_1", "type": "message", "role": "assistant", "content": content, **told}
    return found


def priced(function: Callable[[dict[str, Any]], Any], name: str, release: str) -> Results:
    """What a pricing function says of each case, its exceptions of any kind among it."""
    costs: dict[str, Any] = {}
    for case in cases():
        try:
            usd = function(case)
        except Exception as error:
            costs[case["id"]] = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            costs[case["id"]] = None if usd is None else str(EXACT.scaleb(EXACT.create_decimal(usd), 12).normalize())
    return {"name": name, "version": release, "costs": costs}


def is_right(case: Mapping[str, Any], cost: str | None) -> bool:
    """Whether a cost is the right one, to the picodollar. Where none can be known, an error is right as well."""
    expected = case["expected_picousd"]
    number = re.fullmatch(r"-?\d+(\.\d+)?(E\+\d+)?", cost or "")
    if expected is None or number is None:
        return expected is None and number is None
    # A binary float cannot hold most amounts: half a picodollar is not held against it.
    return int(EXACT.create_decimal(cost).to_integral_value(rounding=ROUND_HALF_EVEN)) == expected


def own_environment(script: str, package: str) -> Results:
    """The results of a script, in an environment with its newest package."""
    folder = KEPT / package
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-U", package]
    subprocess.run(pip, check=True)
    ran = subprocess.run(
        [python, __file__, "--script", HERE / script], check=True, capture_output=True, text=True, timeout=600
    )
    results: Results = json.loads(ran.stdout.splitlines()[-1])
    return results


def of_script(path: Path) -> Results:
    """The results of one of the scripts, in this environment."""
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return priced(module.price, module.PACKAGE, version(module.PACKAGE))


def of_name(name: str) -> Results:
    """The results of `module:function`."""
    module, _, function = name.partition(":")
    return priced(getattr(importlib.import_module(module), function), name, "")


def table(all_results: list[Results]) -> str:
    """A line for each case, and how many each got right."""
    names = [f"{each['name']} {each['version']}".strip() for each in all_results]
    lines = [f"| report | right, USD | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for case in cases():
        expected = case["expected_picousd"]
        right = NO_PRICE if expected is None else dollars(str(expected))
        told = [shown(case, each["costs"][case["id"]]) for each in all_results]
        links = " ".join(f"[{number}]({url})" for number, url in enumerate(case["reports"], 1))
        lines.append(f"| {case['about']} `{case['id']}` {links} | {right} | {' | '.join(told)} |")
    for list_, what in (("today", "right, at prices of today"), ("then", "right, at prices of their day")):
        of = [case for case in cases() if case["price_list"] == list_]
        counts = [sum(is_right(case, each["costs"][case["id"]]) for case in of) for each in all_results]
        lines.append(f"| **{what}** | **{len(of)}** | {' | '.join(f'**{count}**' for count in counts)} |")
    return "\n".join(lines)


def shown(case: Mapping[str, Any], cost: str | None) -> str:
    if is_right(case, cost):
        return "right"
    return NO_PRICE if cost is None or not re.fullmatch(r"[-\d.E+]+", cost) else dollars(cost)


def dollars(picousd: str) -> str:
    return f"{EXACT.scaleb(EXACT.create_decimal(picousd), -12).quantize(EXACT.create_decimal('1E-9')).normalize():f}"


def main() -> int:
    """1 if claudetrace, or the pricing function that was named, is wrong about a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pricer", help="a pricing function of this environment, as module:function")
    parser.add_argument("--script", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}")
    given = parser.parse_args()
    if given.script:
        print(json.dumps(of_script(given.script)))
        return 0
    if given.pricer:
        sys.path.insert(0, "")
        first, results = of_name(given.pricer), []
    else:
        first = of_script(HERE / "with_claudetrace.py")
        results = [own_environment(script, package) for script, package in OTHERS.items()]
    print(table([first, *results]))
    if given.write:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        measured = f"{BEGIN}\n\n{table([first, *results])}\n\n"
        DOCUMENT.write_text(before + measured + END + rest.partition(END)[2])
    return int(not all(is_right(case, first["costs"][case["id"]]) for case in cases()))


if __name__ == "__main__":
    sys.exit(main())
