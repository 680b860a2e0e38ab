import msgspec
import pytest
from barograph.contract import Contract, Text
from barograph.text.content import CUT, MAX_CHARS, ContentPolicy, is_sampled, normalize

KEY = b"a key of sixteen bytes"


def members(
    prompt: str | None = "Mail a@b.de", answer: str | None = None, key: bytes = KEY, **text: object
) -> dict[str, str]:
    contract = Contract(model="m", text=msgspec.convert(text, Text))
    return ContentPolicy(contract, key).members("id", prompt, answer)


def test_by_default_nothing_is_published() -> None:
    assert members(answer="yes") == {}
    assert ContentPolicy(Contract(model="m"), KEY).members("id", "a", "b") == {}


def test_a_hash_is_keyed_and_does_not_depend_on_case_and_white_space() -> None:
    first = members("Hello\n  World", "x", content="hash")
    assert set(first) == {"prompt_hash", "answer_hash"}
    assert first["prompt_hash"] == members("hello world", content="hash")["prompt_hash"]
    assert first["prompt_hash"] != members("hello word", content="hash")["prompt_hash"]
    assert first["prompt_hash"] != members("hello world", key=b"another key of 16 bytes", content="hash")["prompt_hash"]
    assert members("x", "x", content="hash")["prompt_hash"] != first["answer_hash"]
    assert members(key=b"", content="hash") == {}


def test_redacted_and_kept_text_with_its_probability() -> None:
    assert members(answer="ok", content="redact", sample=1.0) == {
        "prompt_text": "Mail <email>",
        "answer_text": "ok",
        "text_sample": "1",
    }
    assert members(content="keep", sample=1.0)["prompt_text"] == "Mail a@b.de"
    assert members(None, None, content="keep", sample=1.0) == {}
    assert normalize("  Ｆｕｌｌ \t WIDTH ") == "full width"


def test_long_texts_are_cut_and_marked() -> None:
    for content in ("keep", "redact"):
        text = members("word " * 10_000, content=content, sample=1.0)["prompt_text"]
        assert text.endswith(CUT)
        assert len(text) == MAX_CHARS + len(CUT)


@pytest.mark.parametrize("at", [MAX_CHARS - 10, 4 * MAX_CHARS - 10])
def test_a_secret_at_a_cut_is_not_half_published(at: int) -> None:
    for secret in (
        "AKIAIOSFODNN7EXAMPLE",
        "jane.doe@example.org",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n-----END X-----",
    ):
        text = members("a " * (at // 2) + secret + " tail" * 10_000, content="redact", sample=1.0)["prompt_text"]
        assert not any(secret[:n] in text for n in range(4, len(secret)) if secret[:n].strip("-"))


def test_secrets_that_shrink_a_long_text_do_not_pull_a_cut_secret_in() -> None:
    card = "4111 1111 1111 1111 "
    text = members(card * 5_000, content="redact", sample=1.0)["prompt_text"]
    assert "4111" not in text


def test_the_sample_is_reproducible_and_has_its_share() -> None:
    ids = [f"{i:032x}-{i:016x}" for i in range(20_000)]
    chosen = {each for each in ids if is_sampled(each, 0.1)}
    assert len(chosen) / len(ids) == pytest.approx(0.1, abs=0.01)
    assert chosen <= {each for each in ids if is_sampled(each, 0.2)}
    assert all(is_sampled(each, 1.0) for each in ids)
    assert not any(is_sampled(each, 0.0) for each in ids)
