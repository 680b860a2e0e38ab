import zlib

import pytest

from sketches.sketch.envelope import (
    FORMAT,
    HEADER_BYTES,
    EnvelopeError,
    MixedSketches,
    SketchType,
    seal,
    unseal,
    unseal_as,
)

PAYLOAD = bytes(range(40))


def _with_checksum(prefix: bytes, payload: bytes) -> bytes:
    return prefix + zlib.crc32(prefix + payload).to_bytes(4, "little") + payload


@pytest.mark.parametrize("sketch_type", SketchType)
def test_a_payload_survives_sealing(sketch_type: SketchType) -> None:
    for payload in (b"", b"\0", PAYLOAD):
        sealed = seal(sketch_type, payload)
        assert len(sealed) == HEADER_BYTES + len(payload)
        assert unseal(sealed) == (sketch_type, payload)
        assert unseal_as(sketch_type, sealed) == payload


def test_the_stored_form_is_stable() -> None:
    # Written down by hand: envelopes stored by earlier releases must stay readable.
    prefix = b"BS" + bytes([1, 3]) + (3).to_bytes(4, "little")
    assert seal(SketchType.REQ_FLOATS, b"abc") == _with_checksum(prefix, b"abc")
    assert {kind.name: kind.value for kind in SketchType} == {
        "KLL_FLOATS": 1,
        "KLL_DOUBLES": 2,
        "REQ_FLOATS": 3,
        "FREQUENT_STRINGS": 4,
    }


def test_every_single_bit_flip_is_rejected() -> None:
    sealed = seal(SketchType.KLL_FLOATS, PAYLOAD)
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(EnvelopeError):
            unseal(bytes(changed))


def test_every_truncation_and_extension_is_rejected() -> None:
    sealed = seal(SketchType.KLL_FLOATS, PAYLOAD)
    for length in range(len(sealed)):
        with pytest.raises(EnvelopeError):
            unseal(sealed[:length])
    with pytest.raises(EnvelopeError, match="announces 40 bytes and has 41"):
        unseal(sealed + b"\0")


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        (b"XY" + bytes([FORMAT, 1]), "it is no sketch"),
        (b"BS" + bytes([FORMAT + 1, 1]), "format 2"),
        (b"BS" + bytes([FORMAT, 99]), "sketch type 99 is unknown"),
    ],
)
def test_an_unknown_header_is_rejected_despite_a_valid_checksum(prefix: bytes, message: str) -> None:
    data = _with_checksum(prefix + len(PAYLOAD).to_bytes(4, "little"), PAYLOAD)
    with pytest.raises(EnvelopeError, match=message):
        unseal(data)


def test_another_sketch_type_is_rejected_by_name() -> None:
    with pytest.raises(MixedSketches, match="expected a REQ_FLOATS sketch, got KLL_FLOATS"):
        unseal_as(SketchType.REQ_FLOATS, seal(SketchType.KLL_FLOATS, PAYLOAD))
