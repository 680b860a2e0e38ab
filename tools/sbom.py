"""Write the software bill of materials in CycloneDX 1.5: `python tools/sbom.py FILE`.

uv exports the packages of uv.lock, each with the hashes of its files. The jars of the local Kafka are added from
local/kafka-jars.txt.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from barograph_server.local.kafka_jars import JAR_LIST, Jar, parse_jar_list  # noqa: E402

EXPORT = ("export", "--frozen", "--quiet", "--all-packages", "--all-groups", "--format", "cyclonedx1.5")


def bill_of_materials() -> dict[str, Any]:
    """List all locked packages and jars as a CycloneDX document."""
    exported = subprocess.run([str(ROOT / "tools/uv"), *EXPORT], cwd=ROOT, check=True, capture_output=True, text=True)
    document: dict[str, Any] = json.loads(exported.stdout)
    document["components"] += [jar_component(jar) for jar in parse_jar_list(JAR_LIST.read_text(encoding="utf-8"))]
    return document


def jar_component(jar: Jar) -> dict[str, Any]:
    """Describe one jar as a component."""
    purl = f"pkg:maven/{jar.group}/{jar.artifact}@{jar.version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "group": jar.group,
        "name": jar.artifact,
        "version": jar.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": jar.sha256}],
    }


def main(arguments: list[str]) -> int:
    """Write the document to the named file."""
    (name,) = arguments
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = bill_of_materials()
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"{path}: {len(document['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
