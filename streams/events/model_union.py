"""JSON decoder of the struct types of several models, distinguished by the member `model`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any, Literal

import msgspec


class UnknownModel(msgspec.Struct, tag_field="model", tag="\x00unknown"):
    """Turns even a single model's type into a union: outside a union msgspec does not check the tag."""

    never: Literal["\x00never"]


def union_decoder(types: Iterable[Any]) -> msgspec.json.Decoder[Any]:
    """Return a decoder of the given struct types, each tagged with its model."""
    return msgspec.json.Decoder(reduce(or_, types, UnknownModel))
