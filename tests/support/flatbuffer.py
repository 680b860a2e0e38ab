"""Writes flatbuffers with shared parts, for hostile Arrow metadata: parents first, as offsets point forward."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Text:
    data: bytes


@dataclass(frozen=True, eq=False)
class Offsets:
    objects: Sequence[Text | Table]


@dataclass(frozen=True, eq=False)
class Pairs:
    values: Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Table:
    slots: dict[int, tuple[str, int] | Text | Offsets | Pairs | Table]


Object = Text | Offsets | Pairs | Table
_ALIGNMENT = 8


def dump(root: Table) -> bytes:
    order = _order(root)
    blocks = [_size(each) for each in order]
    positions: dict[int, int] = {}
    end = _ALIGNMENT
    for each, size in zip(order, blocks, strict=True):
        # Vectors of pairs are aligned behind their length.
        end += 4 if isinstance(each, Pairs) else 0
        positions[id(each)] = end
        end += size + -(size + (4 if isinstance(each, Pairs) else 0)) % _ALIGNMENT
    data = bytearray(end)
    tables = {id(each): positions[id(each)] + _table_start(each) for each in order if isinstance(each, Table)}
    targets = positions | tables
    struct.pack_into("<I", data, 0, targets[id(root)])
    for each in order:
        _write(data, each, positions[id(each)], targets)
    return bytes(data)


def _children(parent: Object) -> list[Object]:
    if isinstance(parent, Table):
        return [slot for slot in parent.slots.values() if not isinstance(slot, tuple)]
    return list({id(each): each for each in parent.objects}.values()) if isinstance(parent, Offsets) else []


def _order(root: Table) -> list[Object]:
    done: dict[int, Object] = {}

    def visit(each: Object) -> None:
        if id(each) not in done:
            for child in _children(each):
                visit(child)
            done[id(each)] = each

    visit(root)
    return list(done.values())[::-1]


def _table_start(table: Table) -> int:
    size = 4 + 2 * (max(table.slots, default=-1) + 1)
    return size + -size % _ALIGNMENT


def _size(each: Object) -> int:
    if isinstance(each, Text):
        return 4 + len(each.data) + 1
    if isinstance(each, Offsets):
        return 4 + 4 * len(each.objects)
    if isinstance(each, Pairs):
        return 4 + 16 * len(each.values)
    return _table_start(each) + _ALIGNMENT * (1 + len(each.slots))


def _write(data: bytearray, each: Object, position: int, targets: dict[int, int]) -> None:
    if isinstance(each, Text):
        struct.pack_into("<I", data, position, len(each.data))
        data[position + 4 : position + 4 + len(each.data)] = each.data
    elif isinstance(each, Offsets):
        struct.pack_into("<I", data, position, len(each.objects))
        for i, child in enumerate(each.objects):
            entry = position + 4 + 4 * i
            struct.pack_into("<I", data, entry, targets[id(child)] - entry)
    elif isinstance(each, Pairs):
        struct.pack_into("<I", data, position, len(each.values))
        for i, pair in enumerate(each.values):
            struct.pack_into("<qq", data, position + 4 + 16 * i, *pair)
    else:
        _write_table(data, each, position, targets)


def _write_table(data: bytearray, table: Table, position: int, targets: dict[int, int]) -> None:
    start = targets[id(table)]
    n = max(table.slots, default=-1) + 1
    struct.pack_into("<HH", data, position, 4 + 2 * n, _ALIGNMENT * (1 + len(table.slots)))
    struct.pack_into("<i", data, start, start - position)
    for i, (slot, value) in enumerate(sorted(table.slots.items(), key=lambda item: item[0])):
        offset = _ALIGNMENT * (1 + i)
        struct.pack_into("<H", data, position + 4 + 2 * slot, offset)
        if isinstance(value, tuple):
            struct.pack_into(f"<{value[0]}", data, start + offset, value[1])
        else:
            struct.pack_into("<I", data, start + offset, targets[id(value)] - start - offset)
