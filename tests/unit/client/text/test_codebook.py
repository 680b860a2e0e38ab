import io
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from barograph.text.codebook import MAX_FILE_BYTES, NEW, Codebook, load_codebook, parse_codebook
from barograph.text.embedding import EmbeddingName, EndpointEncoder, Vectors
from barograph.text.errors import TextError
from barograph.text.training import train_codebook

DIMENSIONS = 8
EMBEDDING = EmbeddingName("test", "1", DIMENSIONS)


def vectors(n: int, seed: int = 0, spread: float = 0.1) -> Vectors:
    """Rows around the first four axes, in turn."""
    rng = np.random.default_rng(seed)
    rows = np.eye(DIMENSIONS)[np.arange(n) % 4] + rng.normal(0, spread, (n, DIMENSIONS))
    return np.asarray(rows, np.float32)


def codebook(**options: int) -> Codebook:
    return train_codebook(vectors(400), EMBEDDING, n_clusters=4, **options)


def test_training_finds_the_clusters_and_is_deterministic() -> None:
    trained = codebook()
    assert trained.dump() == codebook().dump()
    names = trained.assign(np.eye(DIMENSIONS, dtype=np.float32)[:4]).names
    assert sorted(names) == ["t0", "t1", "t2", "t3"]


def test_the_threshold_is_a_quantile_of_texts_that_were_not_trained_on() -> None:
    trained = train_codebook(vectors(5_000), EMBEDDING, n_clusters=4, quantile=0.9)
    fresh = trained.assign(vectors(5_000, seed=1)).names
    assert trained.header.n_held_out == 1_000
    assert fresh.count(NEW) / len(fresh) == pytest.approx(0.1, abs=0.03)


def test_a_far_text_is_new_and_so_is_a_vector_without_direction() -> None:
    far = np.zeros((3, DIMENSIONS), np.float32)
    far[0, 7], far[1, 0] = 1, np.nan
    assert codebook().assign(far).names == [NEW, NEW, NEW]


def test_the_file_restores_the_codebook(tmp_path: Path) -> None:
    trained = codebook()
    path = tmp_path / "a.codebook.npz"
    path.write_bytes(trained.dump())
    loaded = load_codebook(path)
    assert loaded.id == trained.id
    assert loaded.header == trained.header
    assert np.array_equal(np.load(path)["centroids"], trained.centroids)


def test_names_are_part_of_the_id() -> None:
    renamed = codebook().renamed({"t0": "billing"})
    assert renamed.header.names[0] == "billing"
    assert renamed.id != codebook().id
    with pytest.raises(TextError, match="t9"):
        codebook().renamed({"t9": "billing"})
    for name in ("new", "", "a\nb", "x" * 61, "t1"):
        with pytest.raises(TextError):
            codebook().renamed({"t0": name})


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


def _npy(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def _hostile() -> dict[str, bytes]:
    good = codebook()
    header = msgspec.to_builtins(good.header)
    centroids = _npy(good.centroids)

    def with_header(**changes: object) -> bytes:
        encoded = np.frombuffer(msgspec.json.encode(header | changes), np.uint8)
        return _archive({"centroids.npy": centroids, "header.npy": _npy(encoded)})

    plain_header = _npy(np.frombuffer(msgspec.json.encode(header), np.uint8))
    pickled = _npy(np.array([object()], dtype=object), allow_pickle=True)
    claims = centroids.replace(b"(4, 8)", b"(9, 8)")
    return {
        "empty": b"",
        "no archive": b"PK\x03\x04 nothing",
        "cut off": good.dump()[:-30],
        "too large": bytes(MAX_FILE_BYTES + 1),
        "one member": _archive({"centroids.npy": centroids}),
        "third member": _archive({"centroids.npy": centroids, "header.npy": plain_header, "x.npy": b""}),
        "compressed": _archive({"centroids.npy": centroids, "header.npy": plain_header}, zipfile.ZIP_DEFLATED),
        "pickle": _archive({"centroids.npy": pickled, "header.npy": plain_header}),
        "wrong size": _archive({"centroids.npy": claims, "header.npy": plain_header}),
        "doubles": _archive({"centroids.npy": _npy(good.centroids.astype(np.float64)), "header.npy": plain_header}),
        "not of length 1": _archive({"centroids.npy": _npy(good.centroids * 2), "header.npy": plain_header}),
        "not finite": _archive({"centroids.npy": _npy(good.centroids * np.float32("nan")), "header.npy": plain_header}),
        "header is no JSON": _archive({"centroids.npy": centroids, "header.npy": _npy(np.zeros(5, np.uint8))}),
        "other format": with_header(format=2),
        "unknown member": with_header(surprise=1),
        "repeated name": with_header(names=["t0"] * 4),
        "reserved name": with_header(names=["t0", "t1", "t2", "new"]),
        "control characters": with_header(names=["t0", "t1", "t2", "\x1b[31m"]),
        "too few names": with_header(names=["t0"]),
        "threshold": with_header(threshold=-1.0),
    }


def test_hostile_and_missing_files_are_errors_that_name_them(tmp_path: Path) -> None:
    for kind, data in _hostile().items():
        with pytest.raises(TextError, match=f"^{kind} is not a codebook: "):
            parse_codebook(data, kind)
    with pytest.raises(TextError, match="cannot be read: no such file"):
        load_codebook(tmp_path / "missing.npz")
