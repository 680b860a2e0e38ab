"""The command line of `barograph report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, ModelOption


def report_command(
    model: ModelOption,
    week: Annotated[
        str | None,
        typer.Option(
            metavar="WEEK", help="ISO week, such as 2026-W47. Default: the last whole week.", show_default=False
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="FILE.html or FILE.md, or - for Markdown on standard output. Default: MODEL.WEEK.html.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write one week of a model as one page: its health, the four signals, incidents, changes and drills.

    For people who do not open Grafana: an HTML file without scripts and without references to other files, or Markdown.
    It says whether the week was healthy and what limits the answer, and whether people acted on incidents, compares the
    week with the one before, and has the SQL of its figures. Weeks are Monday to Sunday in the time zone of the
    contract. An existing file is replaced. --json prints the figures, and writes a file only with --output.

    Examples:
        barograph report --model flight-delay
        barograph report --model flight-delay --week 2026-W47 --output week.html
        barograph report --model flight-delay --output - | mail -s "flight-delay" team@example.com
    """
    import dataclasses
    from datetime import UTC, datetime

    from barograph_server.contracts import read_contract
    from barograph_server.errors import CommandError
    from barograph_server.reports.debts import debt_lines
    from barograph_server.reports.html import render_html
    from barograph_server.reports.markdown import render_markdown
    from barograph_server.reports.read import read_report
    from barograph_server.reports.weekly_report import parse_week
    from barograph_server.settings import load_settings
    from barograph_server.terminal import Terminal
    from barograph_server.warehouse.client import connect

    path = None if output in (None, "-") else Path(str(output))
    if path is not None and path.suffix not in (".html", ".md"):
        raise CommandError(f"--output {output}: the name of the file must end in .html or .md, or be - for Markdown.")
    if as_json and output == "-":
        raise CommandError("--json and --output - both write to standard output: leave out one of them.")
    settings = load_settings(config, needs=("clickhouse",))
    now = datetime.now(UTC)
    with connect(settings.warehouse) as client:
        contract = read_contract(client, model)
        chosen = parse_week(week, contract.timezone, now)
        report = read_report(client, contract, settings.alerts, chosen, now)
        debts = debt_lines(settings, client, contract, min(chosen.end, now))
        report = dataclasses.replace(report, debts=debts)
    if as_json:
        Terminal().json(dataclasses.asdict(report))
    if output == "-":
        print(render_markdown(report), end="")
    elif path is not None or not as_json:
        path = path or Path(f"{model}.{report.week.name}.html".replace("/", "-"))
        text = render_markdown(report) if path.suffix == ".md" else render_html(report)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(
                f"{path} cannot be written ({error.strerror}): name a path that you may write to."
            ) from None
        if not as_json:
            Terminal().line(f"Wrote {path}: {report.sentence}")
