"""The generated tables of docs/.

docs/security.md has the ACLs of Kafka and the roles of ClickHouse, docs/commands.md the settings, docs/commands the
help of each command, docs/contract.md, docs/contract and docs/prompts.md the keys of the contract file and of the
prompt file, docs/llm.md the reasons of the OTLP receiver.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
from barograph.contract import (
    Arms,
    Budget,
    Columns,
    Contract,
    Deployment,
    Fallback,
    Field,
    LabelSpec,
    Rollback,
    ShadowTest,
    Slice,
    Slo,
    Text,
    TokenPrice,
    Window,
)
from barograph.contract.alerts import RULE_SETTINGS, AlertRule, Alerts
from barograph.contract.file import contract_record
from barograph.contract.kinds import RecordKind
from barograph.contract.sections import record_of
from barograph.prompts.keys import PROMPT, VARIABLE
from barograph.schemas import FOLDER as SCHEMAS

from barograph_server.cli.main import COMMANDS
from barograph_server.drills.run.suite import DRILL, SUITE
from barograph_server.drills.run.text import fault_table
from barograph_server.settings import KEYS, OTHER_VARIABLES, SettingKey
from barograph_server.streams.broker.acl import PROCESSORS, Acl, KafkaRole, required_acls
from barograph_server.streams.otlp.rejection import SpanReason, ValueReason
from barograph_server.streams.settings import DEFAULT_PORTS
from barograph_server.streams.topics import Topics
from barograph_server.warehouse.roles import ROLES, Role
from tools.generate import DOCS
from tools.generate.command_help import command_help, command_table

_PRINCIPALS: tuple[tuple[KafkaRole, str], ...] = (
    ("publisher", "publishers, `load`"),
    *((processor, processor) for processor in PROCESSORS),
    ("serving", "serving systems with `Guard` or `Prompts`"),
    ("otlp", "`run otlp` with `otlp.topics`; and Read on these topics"),
    ("otlp-http", "`run otlp` without `otlp.topics`"),
    ("evaluator", "`run evaluator`"),
    ("evaluations", "`evaluations run`"),
    ("review", "`review`"),
    ("drill", "`drill run --live`, and `drill clean` after it"),
    ("dead-letters", "`dead-letters`; only `replay` writes to the source topics"),
    ("rebuild", "`rebuild`; the groups, `labels` and `partials` only for `--after-restore`"),
    ("prompts", "`prompts`"),
    ("apply", "`plan`, `apply`"),
)
_KAFKA_PROPERTIES = (
    "| `kafka.PROPERTY` | `BAROGRAPH_KAFKA_PROPERTY` | | a property of librdkafka; the variable has `_` for its dots; "
    "[those of security](security.md#passwords-and-encryption-in-kafka) |"
)


def acl_table() -> str:
    """Write the ACLs that each Kafka principal needs, as Markdown."""
    lines = ["| who | topics | group | transactional id |", "|---|---|---|---|"]
    for who, name in _PRINCIPALS:
        acls = required_acls(who, Topics())
        cells = [_operations(acls, resource) for resource in ("topic", "group", "transactional-id")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _operations(acls: tuple[Acl, ...], resource: str) -> str:
    operations_of: dict[str, list[str]] = {}
    for acl in acls:
        if acl.resource == resource:
            operations_of.setdefault(f"{acl.name}{'*' if acl.prefixed else ''}", []).append(acl.operation)
    names_by_operations: dict[tuple[str, ...], list[str]] = {}
    for name, operations in operations_of.items():
        names_by_operations.setdefault(tuple(operations), []).append(f"`{name}`")
    return "; ".join(f"{', '.join(ops)} {', '.join(names)}" for ops, names in names_by_operations.items()) or "–"


def role_table() -> str:
    """Write the roles of ClickHouse with their grants and limits, as Markdown."""
    lines = ["| role | of | SELECT | INSERT | further | bounds |", "|---|---|---|---|---|---|"]
    for role in ROLES:
        cells = [_tables(role.reads), _tables(role.writes), _further(role), _limits(role)]
        lines.append(f"| `{role.name}` | {role.info} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _further(role: Role) -> str:
    deletes = [f"ALTER DELETE on {_tables(role.deletes)}"] if role.deletes else []
    return ", ".join((*role.further, *deletes)) or "–"


def _tables(tables: tuple[str, ...]) -> str:
    if tables == ("*",):
        return "all"
    return ", ".join(f"`{table}`" for table in tables) or "–"


def _limits(role: Role) -> str:
    limits = [f"`readonly = {role.readonly}`"] if role.readonly is not None else []
    limits += [f"`{limit}`" for limit in role.limits]
    if role.quota is not None:
        quota = role.quota
        limits.append(
            f"per user and hour: {quota.queries:,} queries, {quota.read_rows:,} rows read, {quota.execution_s:,} s"
        )
    return ", ".join(limits) or "–"


def settings_table() -> str:
    """Write the keys and variables of all settings with their defaults, as Markdown."""
    lines = ["| key | variable | default | |", "|---|---|---|---|"]
    for key in KEYS.values():
        name = "" if key.setting.is_secret else f" `{key.name}`"
        default = _default(key)
        lines.append(f"|{name} | `{key.variable}` |{f' {default}' if default else ''} | {key.setting.meaning} |")
        if key.name == "bootstrap_servers":
            lines.append(_KAFKA_PROPERTIES)
    lines += [f"| | `{variable}` | | {meaning} |" for variable, meaning in OTHER_VARIABLES.items()]
    return "\n".join(lines)


def _default(key: SettingKey) -> str:
    if key.setting.default is not None:
        return key.setting.default
    value = key.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"{value:,.15g}"
    return f"`{value}`" if value else "empty"


def key_table(record: RecordKind) -> str:
    """Write the keys of a record of the contract file with their defaults, as Markdown."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key in record.keys:
        is_prose = " " in key.default and key.default[0] not in "{["
        default = "required" if key.required else key.default if is_prose else f"`{key.default}`"
        lines.append(f"| `{key.name}` | {default} | {key.meaning} |")
    return "\n".join(lines)


def _part(struct: type[msgspec.Struct], name: str) -> RecordKind:
    """Return the keys of a group of a section."""
    kind = next(key.kind for key in record_of(struct).keys if key.name == name)
    assert isinstance(kind, RecordKind)
    return kind


def port_table() -> str:
    """Write the default port of each kind of processor, as Markdown."""
    return "\n".join(
        ["| processor | default port |", "|---|---|", *(f"| {k} | {p} |" for k, p in DEFAULT_PORTS.items())]
    )


def scrape_configuration() -> str:
    """Write a configuration of Prometheus for processors of all kinds on one machine, as Markdown."""
    lines = ["```yaml", "scrape_configs:", "  - job_name: barograph", "    static_configs:", "      - targets:"]
    return "\n".join(
        [*lines, *(f'          - "127.0.0.1:{port}" # {kind}' for kind, port in DEFAULT_PORTS.items()), "```"]
    )


def reason_table() -> str:
    """Write why the OTLP receiver rejects spans, or does not observe values, as Markdown."""
    lines = ["| input | outcome |", "|---|---|"]
    lines += [f"| {reason.cause} | the span is rejected: `{reason}` |" for reason in SpanReason]
    return "\n".join([*lines, *(f"| {reason.cause} | not observed: `{reason}` |" for reason in ValueReason)])


CONTRACT_PAGES = {
    **{
        name: {name: record_of(struct)}
        for name, struct in {
            "fields": Field, "slices": Slice, "windows": Window, "label": LabelSpec, "arms": Arms, "shadow": ShadowTest,
            "text": Text, "rollback": Rollback, "prices": TokenPrice, "budget": Budget, "deployments": Deployment,
            "fallback": Fallback, "columns": Columns, "slo": Slo,
        }.items()
    },
    "thresholds": {"thresholds": _part(Contract, "thresholds")},
    "alerts": {
        "alerts": record_of(Alerts),
        "windows": _part(Alerts, "windows"),
        "rules": RULE_SETTINGS,
        "a rule": record_of(AlertRule),
    },
}  # fmt: skip
"""The tables of keys on each page of docs/contract, by the names in their markers."""


def example_contract() -> str:
    """Write the example contract, as Markdown."""
    return f"```yaml\n{(SCHEMAS / 'examples' / 'contract.yaml').read_text('utf-8').rstrip()}\n```"


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "security.md": {"ACLs in Kafka": acl_table, "roles in ClickHouse": role_table},
    "commands.md": {"commands": command_table, "settings": settings_table},
    "operation.md": {"ports": port_table, "scrape configuration": scrape_configuration},
    "prompts.md": {
        "keys of a prompt file": partial(key_table, PROMPT),
        "keys of a variable": partial(key_table, VARIABLE),
    },
    "drills.md": {
        "faults": fault_table,
        "keys of a suite": partial(key_table, SUITE),
        "keys of a drill": partial(key_table, DRILL),
    },
    "llm.md": {"reasons": reason_table},
    "contract.md": {"the example": example_contract, "keys of contract": partial(key_table, contract_record())},
    **{
        f"contract/{page}.md": {f"keys of {name}": partial(key_table, record) for name, record in records.items()}
        for page, records in CONTRACT_PAGES.items()
    },
    **{f"commands/{name}.md": {"help": partial(command_help, name)} for name in COMMANDS},
}
"""The generated tables of each page, by the names in their markers."""


def generate() -> tuple[dict[Path, str], list[str]]:
    """Return the pages with their tables, and the markers that they lack."""
    texts, problems = {}, []
    for page, tables in TABLES.items():
        path = DOCS / page
        text = path.read_text("utf-8") if path.exists() else ""
        for name, table in tables.items():
            begin, end = f"<!-- {name}: generated by `make generate` -->", f"<!-- end of {name} -->"
            before, has_begin, rest = text.partition(begin)
            _, has_end, after = rest.partition(end)
            if has_begin and has_end:
                text = f"{before}{begin}\n{_relative(table(), page)}\n{end}{after}"
            else:
                problems.append(f"docs/{page} lacks the line {begin} or {end}.")
        texts[path] = text
    return texts, problems


def _relative(table: str, page: str) -> str:
    """Return a table whose links, which lead from docs/, lead from the folder of a page."""
    return re.sub(r"\]\((?=[\w/-]+\.md)", "](" + "../" * page.count("/"), table)
