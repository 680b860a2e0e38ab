"""The tables of docs/ that are generated: `TABLES` names them by page."""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
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
from barograph_server.streams.otlp.conventions import load_conventions
from barograph_server.streams.otlp.rejection import SpanReason, ValueReason
from barograph_server.streams.scrape.exposition import load_server_table
from barograph_server.streams.settings import DEFAULT_PORTS
from barograph_server.streams.topics import Topics
from barograph_server.warehouse.roles import REGISTRY, REPORTED, ROLES, Limit, Role
from tools.generate import DOCS, table
from tools.generate.command_help import command_help, command_table
from tools.repository.tree import PACKAGES

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
    "a property of librdkafka; the variable has `_` for its dots; "
    "[those of security](security.md#passwords-and-encryption-in-kafka)"
)


def acl_table() -> str:
    """Write the ACLs that each Kafka principal needs, as Markdown."""
    rows = [
        (name, *(_operations(required_acls(who, Topics()), kind) for kind in ("topic", "group", "transactional-id")))
        for who, name in _PRINCIPALS
    ]
    return table(("who", "topics", "group", "transactional id"), rows)


def _operations(acls: tuple[Acl, ...], resource: str) -> str:
    operations_of: dict[str, list[str]] = {}
    for acl in acls:
        if acl.resource == resource:
            operations_of.setdefault(f"{acl.name}{'*' if acl.prefixed else ''}", []).append(acl.operation)
    names_by_operations: dict[tuple[str, ...], list[str]] = {}
    for name, operations in operations_of.items():
        names_by_operations.setdefault(tuple(operations), []).append(f"`{name}`")
    return "; ".join(f"{', '.join(ops)} {', '.join(names)}" for ops, names in names_by_operations.items()) or "–"


SHOWN_TABLES = 20
"""A role that needs more tables has their number: `plan --roles` prints them."""


def role_table() -> str:
    """Write the roles of ClickHouse with their grants and limits, as Markdown: what several roles share stands once."""
    lines = ["| role | of | SELECT | INSERT | further |", "|---|---|---|---|---|"]
    readers = [role for role in ROLES if role.limits]
    for role in ROLES:
        cells = [_reads(role), _tables(role.writes, {"*state*": REPORTED}), _further(role)]
        lines.append(f"| `{role.name}` | {role.info} | {' | '.join(cells)} |")
    common = [limit for limit in readers[0].limits if all(limit in role.limits for role in readers)]
    lines += [
        f"\n*registry*: {_tables(REGISTRY)}; *state*: {_tables(REPORTED)}.\n",
        "| role | bounds of a query: default ≤ the largest value that it may set |\n|---|---|",
        f"| {' and '.join(f'`{role.name}`' for role in readers)} | {', '.join(map(_limit, common))} |",
        *(f"| `{role.name}` | {_limits(role, common)} |" for role in readers),
    ]
    return "\n".join(lines)


def _reads(role: Role) -> str:
    shared = {f"those of `{other.name}`": other.reads for other in ROLES if other.limits and other is not role}
    own = tuple(table for table in role.writes if table not in REPORTED)
    return _tables(role.reads, {**shared, "*registry*": REGISTRY, "those it inserts into (without *state*)": own})


def _further(role: Role) -> str:
    deletes = [f"ALTER DELETE on {_tables(role.deletes)}"] if role.deletes else []
    return ", ".join((*role.further, *deletes)) or "–"


def _tables(tables: tuple[str, ...], groups: Mapping[str, tuple[str, ...]] = {}) -> str:
    """Name tables, where possible by the groups that contain more than one of them; many only by their number."""
    if tables == ("*",):
        return "all"
    names, rest = [], list(tables)
    for name, group in groups.items():
        if len(group) > 1 and set(group) <= set(rest):
            names.append(name)
            rest = [table for table in rest if table not in group]
    rest = [f"`{table}`" for table in rest] if len(rest) <= SHOWN_TABLES else [f"{len(rest)} tables"]
    return ", ".join((*names, *rest)) or "–"


def _limit(limit: Limit) -> str:
    if isinstance(limit.value, str) or limit.most is None:
        return f"`{limit.setting} = {limit.value}`"
    most = f"≤ {limit.most:,}"
    return f"`{limit.setting}` {most if limit.value in (None, limit.most) else f'{limit.value:,} {most}'}"


def _limits(role: Role, common: Sequence[Limit]) -> str:
    limits = [f"`readonly = {role.readonly}`", *(_limit(limit) for limit in role.limits if limit not in common)]
    if (quota := role.quota) is not None:
        limits.append(f"per user and hour {quota.queries:,} queries, {quota.read_rows:,} rows, {quota.execution_s:,} s")
    return ", ".join(limits)


def settings_table() -> str:
    """Write the keys and variables of all settings with their defaults, as Markdown."""
    rows = []
    for key in KEYS.values():
        name = "" if key.setting.is_secret else f"`{key.name}`"
        rows.append((name, f"`{key.variable}`", _default(key), key.setting.meaning))
        if key.name == "bootstrap_servers":
            rows.append(("`kafka.PROPERTY`", "`BAROGRAPH_KAFKA_PROPERTY`", "", _KAFKA_PROPERTIES))
    rows += [("", f"`{variable}`", "", meaning) for variable, meaning in OTHER_VARIABLES.items()]
    return table(("key", "variable", "default", "meaning"), rows)


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
    rows = []
    for key in record.keys:
        is_prose = " " in key.default and key.default[0] not in "{["
        default = "required" if key.required else key.default if is_prose else f"`{key.default}`"
        rows.append((f"`{key.name}`", default, key.meaning))
    return table(("key", "default", "meaning"), rows)


def _part(struct: type[msgspec.Struct], name: str) -> RecordKind:
    """Return the keys of a group of a section."""
    kind = next(key.kind for key in record_of(struct).keys if key.name == name)
    assert isinstance(kind, RecordKind)
    return kind


def port_table() -> str:
    """Write the default port of each kind of processor, as Markdown."""
    return table(("processor", "default port"), ((kind, str(port)) for kind, port in DEFAULT_PORTS.items()))


def scrape_configuration() -> str:
    """Write a configuration of Prometheus for processors of all kinds on one machine, as Markdown."""
    lines = ["```yaml", "scrape_configs:", "  - job_name: barograph", "    static_configs:", "      - targets:"]
    return "\n".join(
        [*lines, *(f'          - "127.0.0.1:{port}" # {kind}' for kind, port in DEFAULT_PORTS.items()), "```"]
    )


def reason_table() -> str:
    """Write why the OTLP receiver rejects spans, or does not observe values, as Markdown."""
    rejected = [(reason.cause, f"rejected: `{reason}`") for reason in SpanReason]
    return table(("input", "outcome"), rejected + [(each.cause, f"not observed: `{each}`") for each in ValueReason])


def folder_table() -> str:
    """Write the folders of the product with the first lines of their docstrings, as Markdown."""
    files = [path for package in PACKAGES.values() for path in sorted((DOCS.parent / package).rglob("*.py"))]
    rows = []
    for folder in dict.fromkeys(path.parent for path in files):
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
        assert docstring, f"{folder}/__init__.py needs a docstring, which docs/architecture.md shows"
        rows.append((f"`{folder.relative_to(DOCS.parent)}/`", docstring.partition("\n")[0]))
    return table(("folder", "content"), rows)


def trust_table() -> str:
    """Write which numbers of an instrumentation's scope the OTLP receiver trusts, as Markdown."""
    rows = [(f"`{t.scope}`", ", ".join(t.versions) or "none yet", t.tokens, t.ttft) for t in load_conventions().trust]
    return table(("scope", "checked versions", "tokens", "first token"), rows)


def server_table() -> str:
    """Write the facts that the scraper reads from each kind of inference server, as Markdown."""
    known = load_server_table()
    kinds = [{metric.fact: metric.kind for metric in reversed(server.metrics)} for server in known.servers.values()]
    rows = [(f"`{fact}`", it.unit, *(kind.get(fact, "–") for kind in kinds)) for fact, it in known.facts.items()]
    return table(("fact", "unit", *known.servers), rows)


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
    "architecture.md": {"folders": folder_table},
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
    "llm.md": {"trust": trust_table, "servers": server_table, "reasons": reason_table},
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
        for name, write in tables.items():
            begin, end = f"<!-- {name}: generated by `make generate` -->", f"<!-- end of {name} -->"
            before, has_begin, rest = text.partition(begin)
            _, has_end, after = rest.partition(end)
            if has_begin and has_end:
                text = f"{before}{begin}\n{_relative(write(), page)}\n{end}{after}"
            else:
                problems.append(f"docs/{page} lacks the line {begin} or {end}.")
        texts[path] = text
    return texts, problems


def _relative(table: str, page: str) -> str:
    """Return a table whose links, which lead from docs/, lead from the folder of a page."""
    return re.sub(r"\]\((?=[\w/-]+\.md)", "](" + "../" * page.count("/"), table)
