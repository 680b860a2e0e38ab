"""The generated blocks of docs/scale.md, computed from docs/scale.json."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import Any

import msgspec

from benchmarks import sizing, soak
from benchmarks.figures import quantile
from benchmarks.growth_measurement import Growth
from benchmarks.linear_fit import worst_residual
from benchmarks.simulation import computed
from benchmarks.sizing import FULL, Costs, Form, Load, Needs, needs

RATES = (1e4, 1e6, 15e6)
MODELS = (10, 100)
FORMS: tuple[Form, ...] = ("json", "arrow")
NAMES = {"json": "JSON", "arrow": "Arrow"}


def blocks(record: dict[str, Any]) -> dict[str, str]:
    """Every block by name."""
    growth = msgspec.convert(record["growth"], Growth)
    return {
        "growth": _growth(growth, record["growth"]["about"]),
        "needs": _needs(growth),
        "breaks": _breaks(growth),
        "remedies": _remedies(growth),
        "simulation": _simulation(record["simulation"], growth),
        "soak": _soak(record["soak"]),
    }


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    marks = {"l": "---", "r": "--:"}
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(marks[each] for each in align)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float, digits: int = 3) -> str:
    """Format a number with thousands separators and three significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{float(f'{value:.{digits}g}'):g}"


def _measured(about: dict[str, str]) -> str:
    return (
        f"Measured {about['measured']}, commit {about['commit']}, {about['cpu']}, {about['memory']}, "
        f"{about['system']}, load {about['load before the start']} before the start."
    )


# ------------------------------------------------------------------------------------------------------ growth


def _growth(growth: Growth, about: dict[str, str]) -> str:
    rows: list[tuple[str, ...]] = []
    for curve in growth.curves:
        line = curve.line
        off = f"{100 * worst_residual(line, curve.costs):.0f} %"
        worst = max(range(len(curve.factors)), key=lambda i, line=line: abs(line.residuals[i]))  # type: ignore[misc]
        rows.append(
            (
                curve.stage,
                f"{curve.cost}, {curve.unit}",
                curve.factor,
                f"{number(curve.factors[0])}–{number(curve.factors[-1])}",
                number(line.fixed),
                number(line.slope),
                f"{line.r2:.3f}",
                f"{off} at {number(curve.factors[worst])}",
                curve.shape,
                curve.constants,
            )
        )
    head = ("Stage", "Cost", "Factor", "Range", "a", "b", "R²", "Largest residual", "Growth", "Constant")
    bent = [curve for curve in growth.curves if curve.shape == "not linear"]
    lines = [_measured(about), "", _table(head, rows, "lllrrrrrll"), ""]
    if bent:
        lines.append("Costs that a line does not fit:")
        lines.append("")
        for curve in bent:
            points = ", ".join(f"{number(y)} at {number(x)}" for x, y in zip(curve.factors, curve.costs, strict=True))
            lines.append(
                f"- {curve.stage}, {curve.cost} ({curve.unit}) by {curve.factor}: {points}; {curve.describe_fit()}."
            )
    else:
        lines.append("No residual exceeds a tenth of the maximum cost.")
    units = [(f"`{name}`", number(value)) for name, value in growth.units.items()]
    lines += [
        "",
        "Unit costs; the unit is at the end of the name:",
        "",
        _table(("Name", "Value"), units, "lr"),
    ]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------ needs


def _needs(growth: Growth) -> str:
    loads = [Load(events_per_s=rate, models=models, form=form) for rate in RATES for form in FORMS for models in MODELS]
    head = ["Events/s", "Format", "Models", "Sketchers", "Recorders", "Monitors", "Partitions: predictions", "partials"]
    head += ["ClickHouse nodes", "Kafka in, MB/s", "Kafka out", "Replication", "Into ClickHouse", "Raw rows, GB a day"]
    head += ["Panes and verdicts, GB a day", "Kafka's log, GB a day"]
    rows: list[tuple[str, ...]] = []
    for load in loads:
        result = needs(growth, load)
        monitors = number(result.monitors) + ("" if result.holds else ", not enough")
        processes = [number(result.sketchers), number(result.recorders), monitors]
        numbers: list[float] = [
            result.source_partitions,
            result.partials_partitions,
            result.engines,
            result.kafka_in_mb_s,
        ]
        numbers += [result.kafka_out_mb_s, result.replication_mb_s, result.clickhouse_in_mb_s]
        numbers += [result.raw_gb_day, result.panes_gb_day, result.kafka_gb_day]
        rows.append(
            (
                number(load.events_per_s),
                NAMES[load.form],
                str(load.models),
                *processes,
                *(number(n) for n in numbers),
            )
        )
    message = (
        f"Models of {growth.units['fields']:.0f} fields without slices; `raw: all`; a flush every 15 s; a planned "
        f"utilization of {100 * FULL:.0f} % for processes and ClickHouse nodes; a node is an engine with "
        f"{sizing.ENGINE_CORES:.0f} cores, as the local one; Kafka's replication factor is {sizing.REPLICAS}."
    )
    return f"{message}\n\n{_table(head, rows, 'rlr' + 'r' * 13)}"


def _stages(growth: Growth, load: Load) -> dict[str, float]:
    """Cores by stage."""
    result = needs(growth, load)
    costs = Costs(growth)
    return {
        "sketchers": result.sketchers * result.sketcher_share,
        "recorders": result.recorders * costs.recorder_share(load, result.recorders),
        "ClickHouse": result.engine_cores,
        "monitors": result.monitor_cores,
    }


def _breaks(growth: Growth) -> str:
    rows: list[tuple[str, ...]] = []
    for form in FORMS:
        current = sizing.capacities(growth, Load(events_per_s=1.0, models=MODELS[0], form=form))
        for stage, rate in sorted(current.items(), key=lambda pair: pair[1]):
            rows.append((NAMES[form], stage, number(rate)))
    first = {form: rows[i * 3][1] for i, form in enumerate(FORMS)}
    lines = [
        f"With growing load, the first bottleneck is the {first['json']} with JSON and the {first['arrow']} with Arrow "
        f"({MODELS[0]} models). One process or node reaches its planned utilization at:",
        "",
        _table(("Format", "Process or node", "Events/s"), rows, "llr"),
        "",
        "Cores by stage, and the share of the monitors' cores for progress records, the only cost that grows with "
        "sketchers × partitions × models:",
        "",
    ]
    rows = []
    for rate in RATES:
        for form in FORMS:
            for models in MODELS:
                load = Load(events_per_s=rate, models=models, form=form)
                stages = _stages(growth, load)
                result = needs(growth, load)
                most = max(stages, key=lambda stage: stages[stage])
                progress = f"{100 * result.progress_cores / max(result.monitor_cores, 1e-9):.0f} %"
                cores = [number(each) for each in stages.values()]
                rows.append((number(rate), NAMES[form], str(models), *cores, progress, most))
    head = ("Events/s", "Format", "Models", "Sketchers", "Recorders", "ClickHouse", "Monitors", "Progress", "Largest")
    bound = sizing.most_sketchers(growth, Load(events_per_s=1.0).flush_s)
    note = (
        f"Every sketcher writes a progress record to every partition of `partials` at every flush. With a flush every "
        f"15 s, the records of {number(bound)} sketchers fill the monitor of a partition. More partitions or monitors "
        "do not change that limit; fewer sketchers or longer flush intervals do."
    )
    return "\n".join([*lines, _table(head, rows, "rlrrrrrrl"), "", note])


def _remedies(growth: Growth) -> str:
    base = Load(events_per_s=RATES[1], models=MODELS[0])
    cases: list[tuple[str, Load]] = [
        ("JSON, all raw rows, flushes of 15 s", base),
        ("`raw: share` of 0.1", _with(base, raw_share=0.1)),
        ("Arrow batches", _with(base, form="arrow")),
        ("Arrow batches and `raw: share` of 0.1", _with(base, form="arrow", raw_share=0.1)),
        (f"{MODELS[1]} models", _with(base, models=MODELS[1])),
    ]
    rows: list[tuple[str, ...]] = []
    for name, load in cases:
        result: Needs = needs(growth, load)
        stages = _stages(growth, load)
        network = result.kafka_in_mb_s + result.kafka_out_mb_s + result.clickhouse_in_mb_s
        numbers = (sum(stages.values()), result.sketchers, result.recorders, result.monitors, result.engines)
        rows.append((name, *(number(each) for each in (*numbers, result.raw_gb_day, network))))
    head = ("At 10⁶ events/s", "Cores in all", "Sketchers", "Recorders", "Monitors", "ClickHouse nodes")
    return _table((*head, "Raw rows, GB a day", "Network, MB/s"), rows, "lrrrrrrr")


def _with(load: Load, **changed: Any) -> Load:
    return replace(load, **changed)


# ------------------------------------------------------------------------------------------------------ soak


def _soak(data: dict[str, Any]) -> str:
    soaked = msgspec.convert(data, soak.SoakResult)
    n = soaked.panes[-1]
    verdict = soak.judge(soaked)
    lines = [_measured(data["about"]), ""]
    message = f"{n:,} panes with {soaked.events:,} events in {soaked.took_s:.0f} s"
    if n < soak.PANES:
        message += f"; {soak.PANES:,} were planned, and would take {soaked.took_s / n * soak.PANES:.0f} s"
    ms_of_pane = {name: [1e3 * each / soak.PER_CHUNK for each in subset] for name, subset in soaked.cpu_s.items()}
    lines.append(f"**{message}.** {_describe_goals(verdict)}")
    lines.append("")
    rows: list[tuple[str, ...]] = []
    for name, values in soaked.rss_mib.items():
        memory, files = soak.trend(soaked.panes, values), soak.trend(soaked.panes, soaked.files[name])
        rows.append(
            (
                name,
                f"{memory.mean:.0f} MiB",
                f"{memory.per_day:+.1f} ({memory.low:+.1f} to {memory.high:+.1f}) MiB",
                f"{files.mean:.0f}",
                f"{files.per_day:+.1f} ({files.low:+.1f} to {files.high:+.1f})",
                *(
                    " → ".join(f"{median(subset):.0f}" for subset in soak.thirds(values[name]))
                    for values in (soaked.threads, ms_of_pane)
                ),
            )
        )
    head = ["Process", "Memory", f"More after {soak.PANES:,} further panes", "Open files", "More open files"]
    head += ["Threads, first → last third", "CPU per pane, ms, first → last third"]
    lines += [_table(head, rows, "lrrrrrr"), ""]
    early, late = soak.thirds(soaked.latency_s)
    busy_early, busy_late = soak.thirds(soaked.load)
    rows = [
        (name, f"{median(subset):.2f} s", f"{quantile(subset, 0.99):.2f} s", f"{fmean(busy):.1f}")
        for name, subset, busy in (
            ("first third after the warm-up", early, busy_early),
            ("last third", late, busy_late),
        )
    ]
    titles = ("From the last event of four panes to their verdicts", "Median", "p99", "Load of the machine")
    lines += [_table(titles, rows, "lrrr"), ""]
    stored = sorted(soaked.stored_bytes.items(), key=lambda pair: -pair[1])
    rows = [
        (f"`{table}`", f"{soaked.stored_rows[table]:,}", number(size / 2**20))
        for table, size in stored
        if size >= 2**14
    ]
    lines.append("Size of the warehouse's tables at the end, after merging:")
    lines += ["", _table(("Table", "Rows", "MiB"), rows, "lrr")]
    return "\n".join(lines)


def _describe_goals(verdict: dict[str, bool]) -> str:
    """Describe which goals are met, separately for Barograph's processors and for the servers."""
    sentences = []
    for owner, result in (
        ("Sketcher, recorder, monitor, latency and counts", {k: v for k, v in verdict.items() if not _of_server(k)}),
        ("Engine and broker", {k: v for k, v in verdict.items() if _of_server(k)}),
    ):
        missed = [goal for goal, met in result.items() if not met]
        which = f"all but {'; '.join(missed)}" if missed else "all of them"
        sentences.append(f"{owner}: {len(result) - len(missed)} of {len(result)} goals are met, **{which}**.")
    return " ".join(sentences)


def _of_server(goal: str) -> bool:
    return goal.startswith(("engine", "broker"))


# ------------------------------------------------------------------------------------------------------ simulation


def _simulation(data: dict[str, Any], growth: Growth) -> str:
    setting = data["setting"]
    rows: list[tuple[str, ...]] = []
    errors = []
    for each in data["results"]:
        share = computed(growth, setting, each["events_per_s"])[each["kind"]]
        errors.append((share / each["measured"] - 1, each["kind"], each["events_per_s"]))
        several = each["processes"] > 1
        rows.append(
            (
                f"{each['processes']} × {each['kind']}" if several else each["kind"],
                number(each["events_per_s"]),
                f"{100 * each['measured']:.1f} %",
                f"{100 * each['low']:.1f} to {100 * each['high']:.1f} %" if several else "",
                f"{100 * share:.1f} %",
                f"{100 * errors[-1][0]:+.0f} %",
            )
        )
    worst, kind, rate = max(errors, key=lambda each: abs(each[0]))
    lines = [
        _measured(data["about"]),
        "",
        f"{setting['sketchers']} sketchers share {setting['sources']} partitions of `predictions`, "
        f"{setting['monitors']} monitors share {setting['partials']} of `partials`, one recorder reads all partitions; "
        f"{setting['models']} models, JSON, default settings. Values are shares of a core over a minute, the mean of "
        "the processes of a kind:",
        "",
        _table(("Process", "Events/s", "Measured", "Range of processes", "Computed", "Error"), rows, "lrrrrr"),
        "",
        f"The largest error is {100 * abs(worst):.0f} % (the {kind} at {number(rate)} events/s).",
    ]
    return "\n".join(lines)
