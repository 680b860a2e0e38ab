"""The help of a command as Markdown, for its page in docs/commands."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from barograph_server.cli.main import COMMANDS, import_command
from tools.generate import table

_EVERYWHERE = ("help", "config")
"""Options that docs/commands.md describes for all commands."""


def command_table() -> str:
    """Write the list of commands by task."""
    rows = [(each.task, f"[{name}](commands/{name}.md)", each.summary) for name, each in COMMANDS.items()]
    return table(("task", "command", "what it does"), rows)


def command_help(name: str) -> str:
    """Write what a command and its subcommands do, with their arguments, options and examples."""
    command = import_command(name)
    subcommands = getattr(command, "commands", {})
    lines = [command.help, ""] if subcommands else list(_described(name, command))
    for subcommand, each in subcommands.items():
        lines += [f"## `{name} {subcommand}`", "", *_described(f"{name} {subcommand}", each)]
    return "\n".join(lines).rstrip()


def _described(name: str, command: Any) -> Iterator[str]:
    prose, _, examples = (command.help or "").partition("\b\nExamples:\n")
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    parameters = [each for each in shown if each.name not in _EVERYWHERE]
    yield from (prose.strip().replace("<", r"\<"), "", "```")
    yield from [line.strip() for line in examples.splitlines()] or [_usage(name, parameters)]
    yield from ("```", "")
    if parameters:
        yield from (table(("option", "default", "meaning"), map(_row, parameters)), "")


def _usage(name: str, parameters: Sequence[Any]) -> str:
    return " ".join(["barograph", name, *(_name(each) for each in parameters if each.required)])


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
        return f"{name}…" if parameter.nargs == -1 else name
    name = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        return name
    annotation = parameter.type_descriptor.annotation
    choices = get_args(annotation) if get_origin(annotation) is Literal else ("VALUE",)
    return f"{name} {parameter.metavar or '|'.join(choices)}"


def _row(parameter: Any) -> tuple[str, str, str]:
    if parameter.required:
        default = "required"
    elif isinstance(getattr(parameter, "show_default", None), str):
        default = parameter.show_default
    elif not parameter.show_default or parameter.default in (None, (), [], "", False):
        default = ""
    elif parameter.default is True:
        default = f"`{parameter.opts[0]}`"
    else:
        default = f"`{getattr(parameter.default, 'value', parameter.default)}`"
    name = _name(parameter)
    # Between backticks Markdown would show BAR as it is written.
    return (f"<code>{name}</code>" if "|" in name else f"`{name}`"), default, parameter.help or ""
