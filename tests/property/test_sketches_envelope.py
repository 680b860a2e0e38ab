import pytest
from hypothesis import given
from hypothesis import strategies as st

from sketches.sketch.envelope import EnvelopeError, SketchType, seal, unseal

sealed_payloads = st.builds(seal, st.sampled_from(list(SketchType)), st.binary(max_size=300))


@given(st.sampled_from(list(SketchType)), st.binary(max_size=300))
def test_round_trip(sketch_type: SketchType, payload: bytes) -> None:
    assert unseal(seal(sketch_type, payload)) == (sketch_type, payload)


@given(sealed_payloads, st.data())
def test_any_burst_of_up_to_32_bits_is_rejected(sealed: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(sealed) * 8 - 1))
    burst = data.draw(st.integers(1, 2**32 - 1)) << start
    changed = int.from_bytes(sealed, "little") ^ burst % (1 << len(sealed) * 8)
    tampered = changed.to_bytes(len(sealed), "little")
    if tampered != sealed:
        with pytest.raises(EnvelopeError):
            unseal(tampered)


@given(sealed_payloads, st.data())
def test_any_truncation_is_rejected(sealed: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(sealed)))
    end = data.draw(st.integers(start, len(sealed)))
    if end - start != len(sealed):
        with pytest.raises(EnvelopeError):
            unseal(sealed[start:end])


@given(st.binary(max_size=200))
def test_random_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        unseal(data)
