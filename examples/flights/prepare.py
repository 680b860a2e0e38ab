"""Write the demo's files: `python -m barograph_server.examples.flights.prepare --out DIR`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from barograph_server.examples.flights.data import DemoDataMissingError
from barograph_server.examples.flights.replay import prepare


def main(
    out: Annotated[Path, typer.Option(help="The folder for the Parquet files.")],
    now: Annotated[
        datetime | None,
        typer.Option(help="The time in UTC after which there are no events; by default the present."),
    ] = None,
) -> None:
    """Train both models and write their training tables, the predictions and the labels as Parquet files."""
    try:
        files = prepare(out, datetime.now(UTC) if now is None else now.replace(tzinfo=UTC))
    except DemoDataMissingError as error:
        typer.echo(error, err=True)
        sys.exit(1)
    tables = files.tables
    for path, table in files.contents:
        typer.echo(f"{path}: {table.num_rows:,} rows")
    typer.echo(f"Predictions and labels are moved forward by {tables.shift_weeks} weeks.")
    for name, quality in (
        ("June and July, in sample", tables.in_sample),
        ("June and July, out of fold", tables.out_of_fold),
        ("August to December", tables.held_out),
    ):
        typer.echo(
            f"{name}: AUC {quality.auc:.3f}, Brier {quality.brier:.3f}, mean score {quality.mean_score:.3f}, "
            f"late {quality.late_share:.3f} of {quality.n:,}"
        )


if __name__ == "__main__":
    typer.run(main)
