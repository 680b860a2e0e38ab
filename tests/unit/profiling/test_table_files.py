"""Damaged Arrow files are errors, and never the end of the process."""

import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from tests.support.table_files import write_table

READ_ALL = """
import sys; from pathlib import Path
from barograph_server.profiling.infer.tables import TableError, open_table
for path in Path(sys.argv[1]).iterdir():
    try: open_table(path).__enter__()
    except TableError: pass"""


def test_flipped_bytes(tmp_path: Path) -> None:
    texts = [f"t{i % 50}" for i in range(2_000)]
    for seed, suffix in ((seed, suffix) for seed in range(20) for suffix in ("arrow", "arrows")):
        rng, path = random.Random(seed), tmp_path / f"{seed}.{suffix}"
        write_table(path, pa.table({"city": pa.array(texts).dictionary_encode(), "text": texts}), group_rows=500)
        data = bytearray(path.read_bytes())
        data[:] = (rng.randrange(256) if i > 8 and rng.random() < 3e-4 else byte for i, byte in enumerate(data))
        path.write_bytes(data)
    subprocess.run([sys.executable, "-c", READ_ALL, tmp_path], check=True, timeout=120)
