"""Options of commands: annotated fields of structs and parameters of functions become typer's options.

A command is a function. Its parameters of simple types are annotated with `Opt` or `Arg`; a parameter whose type is a
subclass of `Options` is expanded to the fields of that struct, which several commands may share.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import typer
from typer.core import TyperGroup

from barograph_server.errors import CommandError
from barograph_server.sample_tables import COLUMNS
from barograph_server.terminal import TableColumn, Terminal, rows_text, visible

if TYPE_CHECKING:
    from barograph_server.settings import Server, Settings
    from barograph_server.warehouse.client import Client

F = TypeVar("F", bound=Callable[..., None])

# --- the mechanism ----------------------------------------------------------------------------------------------------


class Opt(msgspec.Struct, frozen=True):
    """An option. Its name is that of the field, `from_` → `--from`; a `bool` is a flag."""

    help: str
    metavar: str | None = None
    name: str = ""
    """Another name, or two such as `--live/--fast`."""
    min: float | None = None
    max: float | None = None
    default: str | bool = True
    """The default that the help shows, if it is another than that of the field; False: none."""
    instead: Callable[[typer.Context], None] | None = None
    """What a flag does in place of the command, whose arguments may then be missing."""


class Arg(Opt, frozen=True):
    """An argument, without a name on the command line."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options that belong together; subclasses declare them as annotated fields."""

    def values(self) -> dict[str, Any]:
        """Return the values by the names of the fields."""
        return msgspec.structs.asdict(self)


class _Parameter(msgspec.Struct, frozen=True):
    """One option of a command, from a parameter of its function or a field of a struct."""

    name: str
    type: Any
    default: Any = inspect.Parameter.empty

    def for_typer(self) -> inspect.Parameter:
        """Return the parameter that typer reads; a tuple becomes a list, which may be missing."""
        kind, spec = get_args(self.type)
        decls = [spec.name or f"--{self.name.rstrip('_').replace('_', '-')}"]
        shown = {"help": spec.help, "metavar": spec.metavar, "min": spec.min, "max": spec.max}
        if isinstance(spec, Arg):
            info = typer.Argument(**shown, show_default=spec.default)
        else:
            act = spec.instead and _callback(spec.instead)
            info = typer.Option(*decls, **shown, show_default=spec.default, is_eager=act is not None, callback=act)
        default = self.default
        if get_origin(kind) is tuple:
            kind = list[get_args(kind)[0]]  # type: ignore[misc]
            if default == ():
                kind, default = kind | None, None
        kind = Annotated[kind, info]
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)

    def read(self, value: Any) -> Any:
        """Return the value of the field for what typer read."""
        return tuple(value or ()) if get_origin(get_args(self.type)[0]) is tuple else value


def _callback(instead: Callable[[typer.Context], None]) -> Callable[[typer.Context, bool], None]:
    def call(ctx: typer.Context, is_given: bool) -> None:
        if is_given:
            instead(ctx)
            raise typer.Exit

    return call


def _fields(struct: type[Options]) -> list[_Parameter]:
    types = get_type_hints(struct, include_extras=True)
    return [
        _Parameter(field.encode_name, types[field.name], inspect.Parameter.empty if field.required else field.default)
        for field in msgspec.structs.fields(struct)
    ]


def expand(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function that typer can read; the options of structs come after the other ones."""
    types = get_type_hints(function, include_extras=True)
    structs = {name: kind for name, kind in types.items() if isinstance(kind, type) and issubclass(kind, Options)}
    fields = {name: _fields(struct) for name, struct in structs.items()}
    own = [
        _Parameter(name, types[name], parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in structs
    ]

    def command(**values: Any) -> None:
        arguments = {each.name: each.read(values[each.name]) for each in own}
        for name, struct in structs.items():
            arguments[name] = struct(**{each.name: each.read(values[each.name]) for each in fields[name]})
        function(**arguments)

    parameters = [each.for_typer() for each in (*own, *(each for group in fields.values() for each in group))]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def help_text(function: Any) -> str:
    """Make a command's help of its docstring: reflow paragraphs, and keep the lines of the examples at its end."""
    prose, _, examples = (inspect.getdoc(function) or "").partition("Examples:\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in prose.split("\n\n")]
    return "\n\n".join(filter(None, [*paragraphs, f"\b\nExamples:\n{examples}" if examples else ""]))


class _DefaultGroup(TyperGroup):
    """Options without a subcommand are those of `show`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_option = args[:1] and args[0].startswith("-") and args[0] not in ctx.help_option_names
        return super().parse_args(ctx, ["show", *args] if is_option else args)


class CommandGroup(typer.Typer):
    """A command with subcommands; its help is its line in the list of commands."""

    def __init__(self, *, shows: bool = False) -> None:
        """Make the group.

        Args:
            shows: whether its subcommand `show` may be left out before options.
        """
        super().__init__(add_completion=False, no_args_is_help=True, cls=_DefaultGroup if shows else None)
        # Without it, a single subcommand would be the command itself.
        self.callback()(lambda: None)

    def add(self, name: str) -> Callable[[F], F]:
        """Add a function as the subcommand of this name."""

        def register(function: F) -> F:
            self.command(name, help=help_text(function))(expand(function))
            return function

        return register


# --- options that commands share --------------------------------------------------------------------------------------

Model = Annotated[str, Opt("Name of the model.", "NAME")]
OnlyModel = Annotated[str | None, Opt("Only this model.", "NAME")]
Candidate = Annotated[str | None, Opt("The candidate that you expect; another one is an error.", "VERSION")]
DryRun = Annotated[bool, Opt("Show what would be done, and do nothing.")]
Author = Annotated[str | None, Opt("Who makes the change; stored. Default: the user of this machine.", "NAME")]


def example_of(command: str, files: Sequence[Path], own: str, options: str = "") -> Opt:
    """Return the flag that runs a command on sample tables, and prints its command line and that for other tables.

    Args:
        own: what stands in place of the tables.
    """

    def run(ctx: typer.Context) -> None:
        arguments = [*map(str, files), *options.split(), *COLUMNS.split()]
        terminal = Terminal()
        terminal.line(f"$ barograph {command} {shlex.join(arguments)}\n")
        ctx.command.main(arguments, standalone_mode=False)
        terminal.line(f"\nYour tables: barograph {command} {own} --time COLUMN --score COLUMN --label COLUMN")

    return Opt("Run on sample tables, flights of New York, and print the command for yours.", instead=run)


class TrainingColumns(Options, frozen=True):
    """Columns of tables by their role in a model without a contract."""

    id: Annotated[str | None, Opt("The ids of predictions, which are not a field.", "COLUMN")] = None
    time: Annotated[str | None, Opt("Event times; required to learn φ.", "COLUMN")] = None
    score: Annotated[str | None, Opt("The model's score.", "COLUMN")] = None
    class_: Annotated[str | None, Opt("The predicted class.", "COLUMN")] = None
    label: Annotated[str | None, Opt("The ground truth; production data may lack it.", "COLUMN")] = None
    latency: Annotated[str | None, Opt("Latency of predictions, in milliseconds.", "COLUMN")] = None
    scores: Annotated[str | None, Opt("Prefix of the columns of class probabilities.", "PREFIX", default="scores.")] = (
        None
    )
    slices: Annotated[
        tuple[str, ...],
        Opt('Slice by a column, or by several crossed ("a * b"); repeatable.', "COLUMN", name="--slice"),
    ] = ()


def _column(what: str) -> Opt:
    return Opt(f"Column of {what}; by default that of the contract's `columns`.", "COLUMN")


class ContractColumns(Options, frozen=True):
    """Columns of a table that have other names than in the contract's `columns`."""

    id: Annotated[str | None, _column("prediction ids")] = None
    time: Annotated[str | None, _column("event times")] = None
    score: Annotated[str | None, _column("the score")] = None
    class_: Annotated[str | None, _column("the predicted class")] = None
    label: Annotated[str | None, _column("labels")] = None


class Connection(Options, frozen=True):
    """The settings, with the servers that a command connects to."""

    config: Annotated[
        Path | None, Opt("Settings file (TOML or YAML); by default barograph.toml in the current folder.", "FILE")
    ] = None

    def settings(self, *needs: Server) -> Settings:
        """Read the settings; the servers in `needs` must be configured, by default both."""
        from barograph_server.settings import BOTH, load_settings

        return load_settings(self.config, needs=needs or BOTH)

    @contextmanager
    def warehouse(self) -> Iterator[Client]:
        from barograph_server.warehouse.client import connect

        with connect(self.settings("clickhouse").warehouse) as client:
            yield client


class Output(Options, frozen=True):
    format: Annotated[Literal["table", "json"], Opt("Output format.")] = "table"

    @property
    def is_json(self) -> bool:
        """Whether programs read the output."""
        return self.format == "json"

    def show(
        self,
        result: Any,
        print_result: Callable[..., None],
        *arguments: Any,
        values: Callable[..., Any] = lambda result, *_: result,
    ) -> None:
        """Print a result for people, or as JSON.

        Args:
            print_result: prints it; takes the terminal, the result and the further arguments.
            values: returns what JSON has, if it is not the whole result; takes the result and the further arguments.
        """
        if self.is_json:
            Terminal().json(values(result, *arguments))
        else:
            print_result(Terminal(), result, *arguments)


class ListOutput(Options, frozen=True):
    format: Annotated[Literal["table", "json", "csv", "markdown"], Opt("Output format.")] = "table"

    def show(
        self,
        rows: Sequence[Any],
        columns: Sequence[TableColumn],
        *,
        style: Callable[[Any], str] | None = None,
        empty: str = "",
        result: Any = None,
    ) -> None:
        """Print rows.

        Args:
            style: the style of a row on the terminal.
            empty: printed there instead of a table without rows.
            result: printed as JSON instead of the columns.
        """
        if self.format == "table" and not rows and empty:
            Terminal().line(empty)
        elif self.format == "table":
            Terminal().rows(rows, columns, style)
        elif self.format == "json" and result is not None:
            Terminal().json(result)
        else:
            print(visible(rows_text(rows, columns, self.format)), end="")


def require_reason(text: str, subject: str) -> str:
    """Return the text of `--reason` on one line; it must not be empty."""
    if not text.strip():
        raise CommandError(f"--reason is empty: state the reason for later readers of {subject}.")
    return " ".join(text.split())
