"""The command line of `barograph report`."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from barograph_server.cli.options import Connection, Model, Opt, Output
from barograph_server.contracts import read_contract
from barograph_server.errors import CommandError
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import connect


def report_command(
    shown: Output,
    connection: Connection,
    model: Model,
    week: Annotated[str | None, Opt("ISO week, such as 2026-W47. Default: the last whole week.", "WEEK")] = None,
    output: Annotated[
        str | None, Opt("FILE.html or FILE.md, or - for Markdown on standard output. Default: MODEL.WEEK.html.", "FILE")
    ] = None,
) -> None:
    """Write one week of a model as one page: its health, the four signals, incidents, changes and drills.

    The page has no scripts and no references to other files. Weeks are Monday to Sunday in the time zone of the
    contract. An existing file is replaced. --format json prints the figures, and writes a file only with --output.

    Examples:
        barograph report --model flight-delay
        barograph report --model flight-delay --week 2026-W47 --output week.html
        barograph report --model flight-delay --output - | mail -s "flight-delay" team@example.com
    """
    from barograph_server.reports.html import render_html
    from barograph_server.reports.markdown import render_markdown
    from barograph_server.reports.read import read_report
    from barograph_server.reports.sections import debt_lines
    from barograph_server.reports.weekly_report import parse_week

    path = None if output in (None, "-") else Path(str(output))
    if path is not None and path.suffix not in (".html", ".md"):
        raise CommandError(f"--output {output}: the name of the file must end in .html or .md, or be - for Markdown.")
    if shown.is_json and output == "-":
        raise CommandError("--format json and --output - both write to standard output: leave out one of them.")
    settings = connection.settings("clickhouse")
    now = datetime.now(UTC)
    with connect(settings.warehouse) as client:
        contract = read_contract(client, model)
        chosen = parse_week(week, contract.timezone, now)
        report = read_report(client, contract, settings.alerts, chosen, now)
        debts = debt_lines(settings, client, contract, min(chosen.end, now))
        report = dataclasses.replace(report, debts=debts)
    if shown.is_json:
        Terminal().json(report)
    if output == "-":
        print(render_markdown(report), end="")
    elif path is not None or not shown.is_json:
        path = path or Path(f"{model}.{report.week.name}.html".replace("/", "-"))
        text = render_markdown(report) if path.suffix == ".md" else render_html(report)
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(
                f"{path} cannot be written ({error.strerror}): name a path that you may write to."
            ) from None
        if not shown.is_json:
            Terminal().line(f"Wrote {path}: {report.sentence}")
