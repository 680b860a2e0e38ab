"""A contract that exists: the roles of its columns in training, and the baseline of its fields."""

from dataclasses import replace
from typing import Any

import msgspec
from barograph.contract import CROSS, Contract
from barograph.events import FEATURES

from barograph_server.batch.compare.errors import CompareError
from barograph_server.batch.compare.served import OUTPUT_ROLES, OUTPUTS, source_columns_of
from barograph_server.profiling.infer.infer import InferResult
from barograph_server.profiling.infer.profile import Roles
from barograph_server.profiling.infer.tables import Table
from barograph_server.profiling.table_columns import MEMBERS
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.sketches.baseline.loss_trees import SCORE


def declared_roles(contract: Contract, roles: Roles, training: Table, production: Table) -> tuple[Roles, list[str]]:
    """Complete the roles by the columns that the contract names, else by members of events, as `check` and `load` do.

    Also return remarks on columns of the contract that the tables lack.
    """
    notes, columns = [], contract.columns
    completed: dict[str, Any] = {}
    for attribute, member in MEMBERS.items():
        named = getattr(columns, attribute)
        if getattr(roles, attribute) is not None or not (named or _is_member(contract, attribute, member)):
            continue
        column = named or member
        # Ids and times are only needed of production.
        tables = [production] if attribute in ("id", "time") else [training, production]
        if any(column in table.columns for table in tables):
            completed[attribute] = column
        elif named or attribute == "label":
            effect = {"time": "all rows are one period", "label": "performance is not measured"}.get(attribute)
            notes.append(
                f"{' and '.join(table.name for table in tables)}: no column {column}, which the contract expects"
                f"{f': {effect}' if effect else ''}."
            )
    # An option may use a column in another role.
    taken = {column for _, column in roles.list_options()}
    completed = {attribute: column for attribute, column in completed.items() if column not in taken}
    if roles.scores is None and columns.scores and any(name.startswith(columns.scores) for name in training.columns):
        completed["scores"] = columns.scores
    return replace(roles, **completed), notes


def _is_member(contract: Contract, attribute: str, member: str) -> bool:
    """Whether a column with the name of a member of events is that member, and not a feature of the contract."""
    is_used = attribute in ("id", "time") or contract.label is not None or member in contract.sources
    return is_used and f"{FEATURES}.{member}" not in contract.sources


def complete_roles(contract: Contract, roles: Roles, table: Table) -> Roles:
    """Complete the roles by a contract: its slices, and its fields, none of which may be left out as an id."""
    columns = source_columns_of(contract, roles, table)
    slices = [
        CROSS.join(columns[source] for source in dimension.sources)
        for dimension in contract.slices
        if all(source in columns for source in dimension.sources) and dimension.source != "arm"
    ]
    outputs = {
        role: getattr(roles, role) or columns.get(source) for role, source in zip(OUTPUT_ROLES, OUTPUTS, strict=True)
    }
    taken = {roles.id, roles.time, roles.label, *outputs.values()}
    critical = {columns[field.source] for field in contract.fields if field.source in columns} - taken
    return replace(
        roles, **outputs, slices=tuple(dict.fromkeys([*slices, *roles.slices])), critical=frozenset(critical)
    )


def rename_baseline(contract: Contract, inferred: InferResult, table: str) -> Baseline:
    """Return the baseline of a contract's fields, under their names in the contract.

    Raises:
        CompareError: a field has another type in training than in the contract, or training has none of the fields.
    """
    by_source = {
        field.source: learned for field, learned in zip(inferred.contract.fields, inferred.baseline.fields, strict=True)
    }
    fields = []
    for field in contract.fields:
        learned = by_source.get(field.source)
        if learned is None:
            continue
        if (learned.kind == "category") != (field.type == "category"):
            raise CompareError(
                f"The field {field.name} has the type {field.type} in the contract, and {table} has "
                f"{'texts' if learned.kind == 'category' else 'numbers'}: convert the column, or correct the contract."
            )
        fields.append(msgspec.structs.replace(learned, name=field.name))
    if not fields:
        raise CompareError(f"{table} has no column of a field of the contract of {contract.model}.")
    names = {dimension.source: dimension.name for dimension in contract.slices}
    dimensions = tuple(
        msgspec.structs.replace(dimension, name=names.get(dimension.source, dimension.name))
        for dimension in inferred.baseline.dimensions
    )
    renamed = {old.name: new.name for old, new in zip(inferred.baseline.dimensions, dimensions, strict=True)}
    loss = inferred.baseline.loss
    if loss is not None and not {each.source for each in loss.features} <= {SCORE, *contract.sources}:
        loss = None
    baseline = msgspec.structs.replace(
        inferred.baseline, model=contract.model, fields=tuple(fields), dimensions=dimensions, loss=loss
    )

    def rename(slice_name: str) -> str:
        name, separator, value = slice_name.partition("=")
        return f"{renamed.get(name, name)}{separator}{value}"

    return msgspec.structs.replace(
        baseline,
        slice_rows={rename(name): n for name, n in baseline.slice_rows.items()},
        fields=tuple(
            msgspec.structs.replace(field, slices={rename(name): counts for name, counts in field.slices.items()})
            for field in fields
        ),
    )
