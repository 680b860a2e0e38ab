import inspect
import io
import itertools
import re
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, Text
from barograph.text import features, redaction
from barograph.text.codebook import MAX_FILE_BYTES, NEW, Codebook, load_codebook, parse_codebook
from barograph.text.content import CUT, MAX_CHARS, ContentPolicy, is_sampled, normalize
from barograph.text.embedding import EmbeddingName, EndpointEncoder, SentenceEncoder, Vectors
from barograph.text.errors import TextError
from barograph.text.features import GenerationText, TextObserver
from barograph.text.language import LanguageDetector
from barograph.text.redaction import KINDS, redact
from barograph.text.training import train_codebook

from tests.support.questions import codebook_of

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
    redacted = {"prompt_text": "Mail <email>", "answer_text": "ok", "text_sample": "1"}
    assert members(answer="ok", content="redact", sample=1.0) == redacted
    assert members(content="keep", sample=1.0)["prompt_text"] == "Mail a@b.de"
    assert members(None, None, content="keep", sample=1.0) == {}
    assert normalize("  Ｆｕｌｌ \t WIDTH ") == "full width"


def test_long_texts_are_cut_and_marked_and_no_secret_is_half_published() -> None:
    for content in ("keep", "redact"):
        text = members("word " * 10_000, content=content, sample=1.0)["prompt_text"]
        assert text.endswith(CUT)
        assert len(text) == MAX_CHARS + len(CUT)
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n-----END X-----"
    for secret in ("AKIAIOSFODNN7EXAMPLE", "jane.doe@example.org", key):
        for at in (MAX_CHARS - 10, 4 * MAX_CHARS - 10):
            text = members("a " * (at // 2) + secret + " tail" * 10_000, content="redact", sample=1.0)["prompt_text"]
            assert not any(secret[:n] in text for n in range(4, len(secret)) if secret[:n].strip("-")), (secret, at)
    # Secrets that shrink a long text do not pull a cut secret in.
    assert "4111" not in members("4111 1111 1111 1111 " * 5_000, content="redact", sample=1.0)["prompt_text"]


def test_the_sample_is_reproducible_and_has_its_share() -> None:
    ids = [f"{i:032x}-{i:016x}" for i in range(20_000)]
    chosen = {each for each in ids if is_sampled(each, 0.1)}
    assert len(chosen) / len(ids) == pytest.approx(0.1, abs=0.01)
    assert chosen <= {each for each in ids if is_sampled(each, 0.2)}
    assert all(is_sampled(each, 1.0) for each in ids)
    assert not any(is_sampled(each, 0.0) for each in ids)


def test_any_language_or_those_that_the_contract_names_and_other() -> None:
    languages = {
        "How do I reset my password?": "en",
        "Wie kann ich meine Rechnung bezahlen?": "de",
        "¿Dónde está mi pedido de la semana pasada?": "es",
        "Je voudrais annuler ma commande de la semaine dernière": "fr",
        "请问如何退款": "zh",
        "12345 67890 12345 67890": "unknown",
        "": "unknown",
        "\ud800 how do I reset my password": "en",
    }
    named = {text: code if code in ("en", "de", "unknown") else "other" for text, code in languages.items()}
    for detector, expected in ((LanguageDetector(), languages), (LanguageDetector(("en", "de")), named)):
        assert {text: detector.detect(text) for text in languages} == expected
    with pytest.raises(TextError, match="klingon"):
        LanguageDetector(("en", "klingon"))


def test_code_and_prose() -> None:
    shares = {
        "```python\nprint(1)\n```": 1,
        "```\nnot closed": 1,
        "x = 1\nfor i in range(3):\n    print(i)": 1,
        "SELECT a, b FROM t;": 1,
        "<div class='x'>\n</div>": 1,
        "How are you?\nFine.": 0,
        "In 2024, we (all) went home.": 0,
        # Characters without white space are counted, and nothing has no share.
        "1234 56\n```\nab\n```": pytest.approx(8 / 14),
        "": None,
        # Only the beginning is read.
        "a" * features.MAX_CHARS + "\n```\nx = 1\n```": 0,
    }
    assert {text: features.code_share(text) for text in shares} == shares


DIMENSIONS = 8
EMBEDDING = EmbeddingName("test", "1", DIMENSIONS)


def vectors(n: int, seed: int = 0) -> Vectors:
    """Rows around the first four axes, in turn."""
    rng = np.random.default_rng(seed)
    rows = np.eye(DIMENSIONS)[np.arange(n) % 4] + rng.normal(0, 0.1, (n, DIMENSIONS))
    return np.asarray(rows, np.float32)


def codebook(**options: int) -> Codebook:
    return train_codebook(vectors(400), EMBEDDING, n_clusters=4, **options)


def test_training_finds_the_clusters_and_is_deterministic() -> None:
    trained = codebook()
    assert trained.dump() == codebook().dump()
    names = trained.assign(np.eye(DIMENSIONS, dtype=np.float32)[:4]).names
    assert sorted(names) == ["t0", "t1", "t2", "t3"]
    # A far text is new, and so is a vector without direction.
    far = np.zeros((3, DIMENSIONS), np.float32)
    far[0, 7], far[1, 0] = 1, np.nan
    assert trained.assign(far).names == [NEW, NEW, NEW]


def test_the_threshold_is_a_quantile_of_texts_that_were_not_trained_on() -> None:
    trained = train_codebook(vectors(5_000), EMBEDDING, n_clusters=4, quantile=0.9)
    fresh = trained.assign(vectors(5_000, seed=1)).names
    assert trained.header.n_held_out == 1_000
    assert fresh.count(NEW) / len(fresh) == pytest.approx(0.1, abs=0.03)


def test_the_file_restores_the_codebook_and_names_are_part_of_the_id(tmp_path: Path) -> None:
    trained = codebook()
    path = tmp_path / "a.codebook.npz"
    path.write_bytes(trained.dump())
    loaded = load_codebook(path)
    assert (loaded.id, loaded.header) == (trained.id, trained.header)
    assert np.array_equal(np.load(path)["centroids"], trained.centroids)
    renamed = trained.renamed({"t0": "billing"})
    assert renamed.header.names[0] == "billing"
    assert renamed.id != trained.id
    with pytest.raises(TextError, match="t9"):
        trained.renamed({"t9": "billing"})
    for name in ("new", "", "a\nb", "x" * 61, "t1"):
        with pytest.raises(TextError):
            trained.renamed({"t0": name})


def test_unusable_training_data() -> None:
    for rows, n_clusters, reason in (
        (np.zeros((100, DIMENSIONS), np.float32), 4, "zero"),
        (np.full((100, DIMENSIONS), np.nan, np.float32), 4, "finite"),
        (vectors(20), 4, "too few"),
        (vectors(400), 1, "1 clusters: write 2 to "),
        (vectors(400)[:, 1:], 4, r"the vectors have the shape \(400, 7\), not a row of 8 per text"),
    ):
        with pytest.raises(TextError, match=reason):
            train_codebook(rows, EMBEDDING, n_clusters=n_clusters)


def test_an_endpoint_has_a_url_of_http() -> None:
    with pytest.raises(TextError, match="'ftp://x' is not a URL of HTTP; write http://HOST:PORT/v1"):
        EndpointEncoder("ftp://x", "m")


def _archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _npy(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _hostile() -> dict[str, bytes]:
    good = codebook()
    centroids = _npy(good.centroids)

    def members(centroids: bytes = centroids, **changes: object) -> dict[str, bytes]:
        header = msgspec.json.encode(msgspec.to_builtins(good.header) | changes)
        return {"centroids.npy": centroids, "header.npy": _npy(np.frombuffer(header, np.uint8))}

    archives = {
        "one member": {"centroids.npy": centroids},
        "third member": members() | {"x.npy": b""},
        "pickle": members(_npy(np.array([object()], dtype=object))),
        "wrong size": members(centroids.replace(b"(4, 8)", b"(9, 8)")),
        "doubles": members(_npy(good.centroids.astype(np.float64))),
        "not of length 1": members(_npy(good.centroids * 2)),
        "not finite": members(_npy(good.centroids * np.float32("nan"))),
        "header is no JSON": members() | {"header.npy": _npy(np.zeros(5, np.uint8))},
        "other format": members(format=2),
        "unknown member": members(surprise=1),
        "repeated name": members(names=["t0"] * 4),
        "reserved name": members(names=["t0", "t1", "t2", "new"]),
        "control characters": members(names=["t0", "t1", "t2", "\x1b[31m"]),
        "too few names": members(names=["t0"]),
        "threshold": members(threshold=-1.0),
    }
    return {name: _archive(each) for name, each in archives.items()} | {
        "empty": b"",
        "no archive": b"PK\x03\x04 nothing",
        "cut off": good.dump()[:-30],
        "too large": bytes(MAX_FILE_BYTES + 1),
        "compressed": _archive(members(), zipfile.ZIP_DEFLATED),
    }


def test_hostile_and_missing_files_are_errors_that_name_them(tmp_path: Path) -> None:
    for kind, data in _hostile().items():
        with pytest.raises(TextError, match=f"^{kind} is not a codebook: "):
            parse_codebook(data, kind)
    with pytest.raises(TextError, match="cannot be read: no such file"):
        load_codebook(tmp_path / "missing.npz")


FOUND = {
    "mail jane.doe+x@example.co.uk now": "mail <email> now",
    "call +49 170 1234567 or (030) 123-4567": "call <phone> or <phone>",
    "IBAN DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432": "IBAN <iban> and <iban>",
    "card 4111 1111 1111 1111": "card <card>",
    "from 192.168.0.17 and 2001:db8::ff00:42:8329": "from <ip> and <ip>",
    "https://ana:hunter2@x.org/a?token=abc&x=1#f end": "https://<secret>@x.org/a?<query> end",
    "sk-proj-abcdefghij1234567890 AKIAIOSFODNN7EXAMPLE": "<secret> <secret>",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_def": "<secret>",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- end": "<secret> end",
    "-----BEGIN PRIVATE KEY-----\nMIIE cut off": "<secret>",
    "my password is hunter2secret": "my password is <secret>",
    "d41d8cd98f00b204e9800998ecf8427e": "<secret>",
    "QWxhZGRpbjpvcGVuIHNlc2FtZQ1234567890abcdef==": "<secret>",
    "account 0301234567": "account <number>",
}
UNCHANGED = (
    "card 4111 1111 1111 1112 fails its check digit",
    "order 2024-01-15 costs 1,000.50",
    "the password reset page",
    "https://example.org/a/b",
)


def test_what_has_a_form_is_replaced_and_other_text_stays() -> None:
    assert {text: redact(text) for text in FOUND} == FOUND
    assert [redact(text) for text in UNCHANGED] == list(UNCHANGED)


def test_every_placeholder_has_a_kind() -> None:
    """The evaluator finds what was replaced by the kinds."""
    placeholders = re.compile(r"<([a-z]+)>")
    assert set(placeholders.findall(inspect.getsource(redaction))) == set(KINDS)
    assert set(placeholders.findall(" ".join(FOUND.values()))) == set(KINDS)


def test_hostile_texts_take_time_in_proportion() -> None:
    """Repeated parts: those that patterns nearly match, and each word and pair of words of the examples above."""
    parts = set(re.findall("[^|]+", "1 |(1|a.a@|x@a.|_a://|-----BEGIN A-----|DE12 |token:abcdef<|+1|:1|1:|secret :"))
    for text in (*FOUND, *UNCHANGED):
        words = re.findall(r"\w+|\W", text)
        parts |= {*words, *map("".join, itertools.pairwise(words))}
    for part, read in itertools.product(sorted(parts), (redact, features.code_share)):
        # The load of the machine may slow one measurement down, not each of three.
        assert any(_seconds(part, 4_000, read) < 8 * max(_seconds(part, 1_000, read), 1e-5) for _ in range(3)), part


def _seconds(part: str, n_chars: int, read: Callable[[str], object]) -> float:
    began = time.thread_time()
    read((part * n_chars)[:n_chars])
    return time.thread_time() - began


QUESTION = "How do I reset my password?"


class Lengths:
    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.array([[1.0, 0.0] if len(text) % 2 else [0.0, 1.0] for text in texts], np.float32)


OWN = codebook_of(EmbeddingName("lengths", "1", 2), "odd", "even")


def contract(**text: object) -> Contract:
    return Contract(model="m", text=Text(**text))  # type: ignore[arg-type]


def test_all_features_with_an_encoder_of_ones_own_and_none_of_what_is_not_known() -> None:
    observer = TextObserver(contract(codebook=OWN.id), OWN, encoder=Lengths())
    features, context, metrics = observer.observe("id", QUESTION, "```\nreset()\n```")
    share = pytest.approx(13 / 35, abs=0.01)
    assert features == {"language": "en", "code_share": share, "topic": "odd", "topic_distance": 0}
    assert context == {}
    assert metrics == {"input_chars": 27, "output_chars": 15}
    nothing, only_answer = observer.observe_all([GenerationText("a"), GenerationText("b", None, "An answer")])
    assert nothing == ({}, {}, {})
    assert only_answer == ({"code_share": 0}, {}, {"output_chars": 9})


def test_a_batch_gives_the_values_of_single_generations() -> None:
    observer = TextObserver(contract(codebook=OWN.id, content="keep", sample=0.5), OWN, encoder=Lengths())
    generations = [GenerationText(f"g{i}", "word " * i or None, "answer" if i % 3 else None) for i in range(40)]
    assert observer.observe_all(generations) == [observer.observe(*each) for each in generations]


def test_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BAROGRAPH_PII_KEY", raising=False)
    other = codebook_of(EmbeddingName("else", "1", 512), "odd", "even")
    for arguments, reason in (
        ((Contract(model="m"),), "no section text"),
        ((contract(), OWN), "names none"),
        ((contract(codebook=OWN.id), other), f"names {OWN.id}"),
        ((contract(codebook=other.id), other), "needs the embedding else 1"),
        ((contract(content="hash"),), "BAROGRAPH_PII_KEY"),
        ((contract(languages=("xx",)),), "xx"),
    ):
        with pytest.raises(TextError, match=reason):
            TextObserver(*arguments)


def test_the_encoder_finds_paraphrases_nearer_than_other_topics() -> None:
    encoder = SentenceEncoder()
    first, same, other = encoder.encode(
        [QUESTION, "I forgot my password, how can I set a new one", "What is the weather?"]
    )
    assert first @ same > first @ other + 0.2
    assert encoder.encode([]).shape == (0, 512)
    assert np.isfinite(encoder.encode(["", "\ud800", "x" * 100_000])).all()
