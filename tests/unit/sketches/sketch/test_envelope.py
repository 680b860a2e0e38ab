import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barograph_server.sketches.sketch.envelope import (
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


@given(st.sampled_from(list(SketchType)), st.binary(max_size=300))
def test_a_payload_survives_sealing(sketch_type: SketchType, payload: bytes) -> None:
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


def test_every_bit_flip_truncation_and_extension_is_rejected() -> None:
    sealed = seal(SketchType.KLL_FLOATS, PAYLOAD)
    flipped = (int.from_bytes(sealed, "little") ^ 1 << bit for bit in range(len(sealed) * 8))
    cut = (sealed[start:end] for start in range(len(sealed)) for end in (start, len(sealed) - 1, len(sealed)))
    for data in (*(number.to_bytes(len(sealed), "little") for number in flipped), *(data for data in cut)):
        if data != sealed:
            with pytest.raises(EnvelopeError):
                unseal(data)
    with pytest.raises(EnvelopeError, match="announces 40 bytes and has 41"):
        unseal(sealed + b"\0")


@given(st.data(), st.sampled_from(list(SketchType)), st.binary(max_size=300))
def test_any_burst_of_up_to_32_bits_and_random_bytes_are_rejected(
    data: st.DataObject, sketch_type: SketchType, payload: bytes
) -> None:
    with pytest.raises(EnvelopeError):
        unseal(payload)
    sealed = seal(sketch_type, payload)
    start = data.draw(st.integers(0, len(sealed) * 8 - 1))
    burst = data.draw(st.integers(1, 2**32 - 1)) << start
    changed = int.from_bytes(sealed, "little") ^ burst % (1 << len(sealed) * 8)
    tampered = changed.to_bytes(len(sealed), "little")
    if tampered != sealed:
        with pytest.raises(EnvelopeError):
            unseal(tampered)


def test_an_unknown_header_or_another_type_is_rejected_despite_a_valid_checksum() -> None:
    for prefix, message in (
        (b"XY" + bytes([FORMAT, 1]), "it is no sketch"),
        (b"BS" + bytes([FORMAT + 1, 1]), "format 2"),
        (b"BS" + bytes([FORMAT, 99]), "sketch type 99 is unknown"),
    ):
        with pytest.raises(EnvelopeError, match=message):
            unseal(_with_checksum(prefix + len(PAYLOAD).to_bytes(4, "little"), PAYLOAD))
    with pytest.raises(MixedSketches, match="expected a REQ_FLOATS sketch, got KLL_FLOATS"):
        unseal_as(SketchType.REQ_FLOATS, seal(SketchType.KLL_FLOATS, PAYLOAD))
