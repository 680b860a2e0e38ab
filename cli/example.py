"""`--example` of the commands on tables: runs them on the sample tables of the package."""

import typer

from barograph_server.cli.options import Opt
from barograph_server.sample import PRODUCTION, TRAIN
from barograph_server.terminal import Terminal

COLUMNS = "--id id --time at --score score --label late"
EXAMPLES = {
    "compare": (f"{TRAIN} {PRODUCTION} {COLUMNS} --html report.html", "TRAIN PROD"),
    "infer": (f"{TRAIN} --model flight-delay --version 1 {COLUMNS}", "TRAIN --model NAME --version 1"),
}
"""The arguments of each command for the sample tables, and the first ones for other tables."""


def example_of(command: str) -> Opt:
    """Return the flag that runs a command on the sample tables, prints both command lines, and ends."""

    def run() -> None:
        from barograph_server.cli.main import app

        arguments, own = EXAMPLES[command]
        terminal = Terminal()
        terminal.line(f"$ barograph {command} {arguments}\n")
        app([command, *arguments.split()], standalone_mode=False)
        terminal.line(f"\nYour tables: barograph {command} {own} --time COLUMN --score COLUMN --label COLUMN")
        raise typer.Exit

    return Opt("Run on sample tables, flights of New York, and print the command for yours.", instead=run)
