"""docs/scale.md: measured growth, a soak test, capacity estimates, and a simulation that checks them.

`python -m benchmarks --only growth --only soak --only scale` measures, in twenty minutes. Measurements are written to
docs/scale.json, from which page and charts are generated.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import msgspec

from benchmarks.charts import Chart, Series, draw
from benchmarks.figures import Figures
from benchmarks.growth_measurement import Growth
from benchmarks.page import CHARTS, DOCS, replace_blocks
from benchmarks.scale_page import blocks
from benchmarks.stack import Testbed

RECORD, PAGE = DOCS / "scale.json", DOCS / "scale.md"
SOAK_POINTS = 240
"""Points of a line in a chart of the soak test."""


def measure(testbed: Testbed, figures: Figures, section: str) -> None:
    """Measure one section, store it in docs/scale.json, and write the page.

    Args:
        testbed: the running broker and engine.
        figures: receive the results, and describe the machine.
        section: `growth`, `soak`, or `scale`, which is the simulation.
    """
    record = read_record()
    if section == "growth":
        from benchmarks.growth import measure_growth

        record["growth"] = {"about": figures.about, **asdict(measure_growth(testbed))}
    elif section == "soak":
        from benchmarks.soak import measure_soak

        record["soak"] = {"about": figures.about, **asdict(measure_soak(testbed, figures))}
    else:
        from benchmarks.simulation import SETTING, measure_simulation

        results = measure_simulation(testbed, msgspec.convert(record["growth"], Growth), figures)
        record["simulation"] = {
            "about": figures.about,
            "setting": SETTING,
            "results": [asdict(result) for result in results],
        }
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    publish(record)


def read_record() -> dict[str, Any]:
    """The measurements by section."""
    result: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return result


def rewrite(text: str, record: dict[str, Any]) -> str:
    """Replace the generated blocks of the page."""
    return replace_blocks(text, RECORD.name, blocks(record))


def publish(record: dict[str, Any]) -> None:
    """Write page and charts.

    Raises:
        ImportError: the dependency group `bench` is not installed.
    """
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")
    soaked = record["soak"]
    for name, title, label, values in (
        ("soak-memory", "Resident memory over a day of panes", "MiB", soaked["rss_mib"]),
        ("soak-files", "Open files over a day of panes", "files", soaked["files"]),
        ("soak-latency", "From the last event of four panes to their verdicts", "s", {"latency": soaked["latency_s"]}),
    ):
        step = -(-len(soaked["panes"]) // SOAK_POINTS)
        series = [Series(of, soaked["panes"][::step], result[::step]) for of, result in values.items()]
        draw(Chart(title, "panes", label, tuple(series)), CHARTS / f"{name}.svg")
