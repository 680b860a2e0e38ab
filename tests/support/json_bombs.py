"""JSON messages of about 1 MiB that take much memory or are unusual otherwise. Each is a prediction and a label."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.arrow_bombs import NOW_MS

_N = 1_000_000


def _event(value: bytes, more: bytes = b"") -> bytes:
    """Return an event with the value as a feature, another feature, a context member and the label."""
    head = b'{"model":"toy","version":"1","id":"a","at":%d,' % NOW_MS
    return head + b'"features":{"x":' + value + b',"other":1},"label":1' + more + b"}"


def _label(value: bytes) -> bytes:
    return b'{"model":"toy","version":"1","id":"a","at":%d,"label":' % NOW_MS + value + b"}"


def _members(n: int) -> bytes:
    return b",".join(b'"%d":%d' % (i, i) for i in range(n))


JSON: dict[str, Callable[[], bytes]] = {
    "empty lists": lambda: _event(b"[" + b"[]," * (_N // 3) + b"[]]"),
    "empty objects": lambda: _event(b"[" + b"{}," * (_N // 3) + b"{}]"),
    "lists in lists": lambda: _event(b"[" * 500 + b"]" * 500),
    "a deep list": lambda: _event(b"[" * (_N // 2) + b"]" * (_N // 2)),
    "a deep object": lambda: _event(b'{"a":' * (_N // 6) + b"1" + b"}" * (_N // 6)),
    "a deep label": lambda: _label(b"[" * (_N // 2) + b"]" * (_N // 2)),
    "a deep unknown member": lambda: _event(b"1", b',"more":' + b"[" * (_N // 2) + b"]" * (_N // 2)),
    "numbers": lambda: _event(b"[" + b"1," * (_N // 2) + b"1]"),
    "large numbers": lambda: _event(b"[" + b"12345678901234567890," * (_N // 21) + b"1]"),
    "an integer of a million digits": lambda: _event(b"9" * _N),
    "an integer of four thousand digits": lambda: _event(b"9" * 4_000),
    "an integer of five thousand digits": lambda: _event(b"9" * 5_000),
    "a label of a million digits": lambda: _label(b"9" * _N),
    "a label of four thousand digits": lambda: _label(b"9" * 4_000),
    "a fraction of a million digits": lambda: _event(b"0." + b"9" * _N),
    "an exponent of a million digits": lambda: _event(b"1e" + b"9" * _N),
    "a text": lambda: _event(b'"' + b"x" * _N + b'"'),
    "a wide text": lambda: _event(b'"' + b"x" * _N + b'\xf0\x9f\x98\x80"'),
    "escaped characters in a list": lambda: _event(b'["' + b"\\u0001" * (_N // 6) + b'\xf0\x9f\x98\x80"]'),
    "a label of a wide text": lambda: _label(b'"' + b"x" * _N + b'\xf0\x9f\x98\x80"'),
    "a lone surrogate in a text": lambda: _event(b'"' + b"x" * (_N // 2) + b'\\ud800"'),
    "lone surrogates in names": lambda: _event(b'{"\\ud800":"\\udfff"}', b',"\\ud800":{"\\udc00":["\\ud800"]}'),
    "a label of a lone surrogate": lambda: _label(b'"\\ud800"'),
    "a member many times": lambda: _event(b"1", b',"features":{' + b'"x":1,' * (_N // 6) + b'"x":2}'),
    "the features many times": lambda: _event(b"1", b',"features":{"x":1}' * (_N // 19)),
    "many members": lambda: _event(b"1", b',"features":{' + _members(75_000) + b"}"),
    "many members of each map": lambda: _event(
        b"1", b"".join(b',"%s":{' % name + _members(18_000) + b"}" for name in (b"context", b"scores", b"metrics"))
    ),
    "many unknown members": lambda: _event(b"1", b"," + _members(75_000)),
    "members with lists": lambda: _event(
        b"1", b',"context":{' + _members(60_000).replace(b":", b":[").replace(b",", b"],") + b"]}"
    ),
    "NaN in a list": lambda: _event(b"[" + b"NaN," * (_N // 4) + b"-Infinity]"),
    "NaN in a label": lambda: _label(b"NaN"),
    "NaN among unknown members": lambda: _event(b"1", b',"more":[' + b"NaN," * (_N // 4) + b"1]"),
    "bytes that are not UTF-8": lambda: _event(b'"' + b"\xff" * _N + b'"'),
    "bytes of an unknown member that are not UTF-8": lambda: _event(b"1", b',"more":"' + b"\xff" * (_N // 2) + b'"'),
    "null bytes": lambda: _event(b'"' + b"\\u0000" * (_N // 6) + b'"'),
    "cut off": lambda: _event(b"[" + b"[]," * (_N // 3))[:_N],
    "spaces": lambda: _event(b" " * _N + b"1"),
}
