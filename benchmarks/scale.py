"""docs/scale.md: measured growth, a soak test, capacity estimates, and a simulation that checks them.

    python -m benchmarks.scale growth       cost by each factor, six to eight minutes
    python -m benchmarks.scale soak         a day of panes through all processors, up to eight minutes
    python -m benchmarks.scale simulate     many partitions and processes, measured and computed, four minutes
    python -m benchmarks.scale all          all three, one after the other
    python -m benchmarks.scale write        rewrite page and charts from docs/scale.json
    python -m benchmarks.scale check        fail if the page differs from docs/scale.json

Measurements are written to docs/scale.json, from which page and charts are generated. `python -m benchmarks --only
growth`, `soak` and `scale` do the same within a run of several sections.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figures
from benchmarks.growth_measurement import Growth
from benchmarks.machine import describe_machine
from benchmarks.scale_page import blocks
from benchmarks.stack import Testbed
from local.kafka import FAST_OPTIONS
from local.stack import LocalStack

DOCS = Path(__file__).resolve().parents[1] / "docs"
RECORD, PAGE, CHARTS = DOCS / "scale.json", DOCS / "scale.md", DOCS / "charts"
_BLOCK = re.compile(r"(<!-- from scale\.json: (\w+) -->\n).*?(<!-- to here -->)", re.DOTALL)
NOT_MEASURED = "Not measured yet."


def measure(testbed: Testbed, figures: Figures, section: str) -> None:
    """Measure one section, store it in docs/scale.json, and write the page.

    Args:
        testbed: the running broker and engine.
        figures: receive the results, and describe the machine.
        section: `growth`, `soak`, or `scale`, which is the simulation.

    Raises:
        LookupError: the simulation is requested, but growth was never measured.
    """
    record = read_record()
    if section == "growth":
        from benchmarks.growth import measure_growth

        record["growth"] = {"about": figures.about, **measure_growth(testbed).as_json()}
    elif section == "soak":
        from benchmarks.soak import measure_soak

        record["soak"] = {"about": figures.about, **measure_soak(testbed, figures).as_json()}
    else:
        from benchmarks.simulation import measure_simulation

        if "growth" not in record:
            raise LookupError(f"{RECORD} has no growth measurements; run `python -m benchmarks.scale growth` first")
        growth = Growth.from_json(record["growth"])
        result = measure_simulation(testbed, growth, figures).as_json()
        record["simulation"] = {"about": figures.about, **result}
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    publish(record)


def read_record() -> dict[str, Any]:
    """The measurements by section; empty if there are none."""
    if not RECORD.exists():
        return {}
    result: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return result


def rewrite(text: str, record: dict[str, Any]) -> str:
    """Replace the generated blocks of the page.

    Raises:
        ValueError: the page has no mark for a block.
    """
    generated = blocks(record)
    marked = {match[2] for match in _BLOCK.finditer(text)}
    if missing := set(generated) - marked:
        raise ValueError(f"{PAGE.name} has no mark for {sorted(missing)}")
    return _BLOCK.sub(lambda match: f"{match[1]}{generated.get(match[2], NOT_MEASURED)}\n{match[3]}", text)


def publish(record: dict[str, Any]) -> None:
    """Write page and charts.

    Raises:
        ImportError: the dependency group `bench` is not installed.
    """
    from benchmarks.scale_charts import draw_growth, draw_soak

    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")
    for old in (*CHARTS.glob("growth-*.svg"), *CHARTS.glob("soak-*.svg")):
        old.unlink()
    if "growth" in record:
        draw_growth(Growth.from_json(record["growth"]), CHARTS)
    if "soak" in record:
        draw_soak(record["soak"], CHARTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write or check."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("growth", "soak", "simulate", "all", "write", "check"))
    what = parser.parse_args(arguments).what
    if what == "write":
        publish(read_record())
        return 0
    if what == "check":
        text = PAGE.read_text(encoding="utf-8")
        if rewrite(text, read_record()) == text:
            return 0
        print(f"{PAGE} differs from {RECORD.name}; run `python -m benchmarks.scale write`", file=sys.stderr)
        return 1
    sections = {"all": ("growth", "soak", "scale"), "simulate": ("scale",)}.get(what, (what,))
    for section in sections:
        figures = Figures(describe_machine())
        figures.about["command"] = f"python -m benchmarks.scale {what}"
        with tempfile.TemporaryDirectory(prefix="barograph-bench-") as name:
            folder = Path(name)
            with LocalStack(folder / "stack", kafka_port=0, clickhouse_port=0, jvm_options=FAST_OPTIONS) as stack:
                measure(Testbed(stack, folder), figures, section)
    return 0


if __name__ == "__main__":
    sys.exit(main())
