"""The command line of `barograph infer`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from barograph.contract import Arms, Window, parse_duration

from barograph_server.cli.infer_report import print_report
from barograph_server.cli.options import ClassOption, LatencyOption, ScoreOption, ScoresOption, TimeOption
from barograph_server.profiling.infer.errors import InferError, OptionError
from barograph_server.profiling.infer.files import write_result
from barograph_server.profiling.infer.infer import DEFAULTS, InferOptions, Season, infer
from barograph_server.profiling.infer.profile import Roles
from barograph_server.terminal import SafeText, Terminal

BAD_INPUT = 2
"""Exit code for an invalid table or option; nothing was written."""


def infer_command(
    train: Annotated[
        Path, typer.Argument(metavar="TRAIN", help="Training table: Parquet, CSV or Arrow.", show_default=False)
    ],
    model: Annotated[str, typer.Option(help="Name of the model.", show_default=False)],
    version: Annotated[str, typer.Option(help="Version of the model trained on the table.", show_default=False)],
    id_: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="The ids of predictions, which are not a field.")
    ] = None,
    time: TimeOption = None,
    score: ScoreOption = None,
    class_: ClassOption = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="The ground truth.")] = None,
    latency: LatencyOption = None,
    scores: ScoresOption = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice", metavar="COLUMN", help='Slice by a column, or by several crossed ("a * b"); repeatable.'
        ),
    ] = None,
    critical: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A critical field, whose drift pages; repeatable.")
    ] = None,
    pane: Annotated[
        str | None, typer.Option(help="Pane length, such as 1m or 1h. By default chosen to fit the windows.")
    ] = None,
    windows: Annotated[
        list[str] | None,
        typer.Option(
            "--window",
            metavar="LENGTH:HOP",
            help="A window and its hop, such as 1d:1h; or the last events within a span, such as last=500:14d:6h; "
            "repeatable. By default chosen by the traffic in TRAIN (--time).",
        ),
    ] = None,
    timezone: Annotated[str, typer.Option(help="Time zone of the model's users.")] = DEFAULTS.timezone,
    arms: Annotated[
        list[str] | None,
        typer.Option("--arm", metavar="NAME=SHARE", help="An arm of an A/B test and its share; repeatable."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option(metavar="context.NAME", help="Unit of assignment to arms, such as context.user.")
    ] = None,
    season: Annotated[
        Season,
        typer.Option(help="Compare windows with all of the training data, or with the same hours of the week."),
    ] = DEFAULTS.season,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Output folder of both files.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files with different content.")] = False,
) -> None:
    """Infer a contract and a baseline from training data, and explain each decision.

    Writes DIR/MODEL.yaml and DIR/MODEL.VERSION.baseline.json. Exits with 2 if the table or an option is invalid.

    Examples:
        barograph infer train.parquet --model flight-delay --version 3 --time at --score p --label late
        barograph infer train.csv --model churn --version 1 --slice country --pane 1h --window 1d:1h
        barograph infer train.csv --model churn --version 1 --slice country --slice "country * plan"
        barograph infer train.csv --model churn --version 2 --arm a=0.9 --arm b=0.1 --unit context.user
        barograph infer train.csv --model shop --version 1 --time at --timezone Europe/Berlin --season hour_of_week
    """
    terminal, errors = Terminal(), Terminal(stderr=True)
    try:
        options = InferOptions(
            table=train,
            model=model,
            version=version,
            roles=Roles(
                id=id_,
                time=time,
                score=score,
                class_=class_,
                label=label,
                latency=latency,
                scores=scores,
                slices=tuple(slices or ()),
                critical=frozenset(critical or ()),
            ),
            pane_s=None if pane is None else _duration("--pane", pane),
            windows=tuple(map(parse_window, windows)) if windows else None,
            timezone=timezone,
            arms=parse_arms(arms or [], unit),
            season=season,
        )
        with errors.status("reading") as status:
            result = infer(options, lambda column: status.update(SafeText(f"reading {column}")))
        written = write_result(result, out, force=force)
    except InferError as error:
        errors.line(str(error), "red")
        raise typer.Exit(BAD_INPUT) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        errors.line(f"{error.filename or out}: {reason}", "red")
        raise typer.Exit(BAD_INPUT) from None
    print_report(terminal, result, written)


def parse_window(text: str) -> Window:
    """Parse a window such as `1d:1h`, or a window of the last events such as `last=500:14d:6h`.

    Raises:
        OptionError: the text is neither LENGTH:HOP nor last=EVENTS:LENGTH:HOP.
    """
    option = f"--window {text}"
    match = re.fullmatch(r"last=(\d{1,9}):(.*)", text)
    length, colon, hop = (match[2] if match else text).partition(":")
    if not colon or (match and not int(match[1])):
        raise OptionError(f"{option}: write the length and the hop, such as 1d:1h, or last=500:14d:6h")
    return Window(_duration(option, length), _duration(option, hop), int(match[1]) if match else 0)


def parse_arms(texts: list[str], unit: str | None) -> Arms | None:
    """Parse arms such as `a=0.9`; None if there are none. The contract checks their shares later.

    Raises:
        OptionError: a text is not NAME=SHARE, or there is a unit but no arm.
    """
    if not texts:
        if unit is not None:
            raise OptionError("--unit: there are no arms; add each with --arm NAME=SHARE")
        return None
    shares: dict[str, float] = {}
    for text in texts:
        name, _, share = text.rpartition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            name = ""
        if not name:
            raise OptionError(f"--arm {text}: write the arm and its share, such as a=0.5")
    return Arms(shares=shares, unit=unit or "")


def _duration(option: str, text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise OptionError(f"{option}: {error}") from None
