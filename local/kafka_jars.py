"""Apache Kafka's jars: downloaded once, verified against a checked-in list of hashes before every start.

`kafka-jars.txt` lists every jar by Maven coordinate and SHA-256. The resolver (jgo) verifies files only against the
repository's own checksums, so this list is the only independent check. The cache contains only jars that matched the
list when they were stored, and they are hashed again before each start (57 MB take a tenth of a second). A start with a
full cache makes no network call and does not import the resolver.

`python -m barograph_server.local.kafka_jars` rewrites the list from the versions in this file.
"""

import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from barograph_server.local.child_process import LocalStackError, PartMissingError

KAFKA_VERSION = "4.3.1"

_ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}")

# Kafka logs through SLF4J 1.7 and ships log4j without a binding between them; without this jar the broker would exit
# silently. It is resolved separately, because as a root it would force log4j's versions on Kafka's dependencies
# (including kafka-clients 3.9).
_LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"

JAR_LIST = Path(__file__).with_name("kafka-jars.txt")

# The repository takes about 0.2 s per file of any size. Eight parallel downloads finish in a few seconds without
# overloading it.
_DOWNLOADS_AT_ONCE = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Jar:
    """One jar of the list.

    Attributes:
        sha256: SHA-256 of the jar's bytes, 64 lower-case hexadecimal digits.
    """

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def filename(self) -> str:
        """The name of the file in the cache; with the group, since artifact ids alone are not unique."""
        return f"{self.group}.{self.artifact}-{self.version}.jar"


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Folder of what may be fetched again: `BAROGRAPH_CACHE`, else `barograph` in the user's cache folder."""
    if chosen := environ.get("BAROGRAPH_CACHE"):
        return Path(chosen).expanduser().absolute()
    if base := environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser().absolute() / "barograph"
    return Path.home() / ".cache" / "barograph"


def parse_jar_list(text: str, source: str = JAR_LIST.name) -> tuple[Jar, ...]:
    """Read lines of `group:artifact:version sha256`; empty lines and lines that start with `#` are skipped."""
    jars: dict[tuple[str, str], Jar] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        parts = words[0].split(":")
        if len(words) != 2 or len(parts) != 3 or len(words[1]) != 64:
            raise LocalStackError(
                f"{source}, line {number}: expected `group:artifact:version sha256`, found {line!r}. "
                "Regenerate the list with `python -m barograph_server.local.kafka_jars`."
            )
        jar = Jar(parts[0], parts[1], parts[2], words[1])
        if (jar.group, jar.artifact) in jars:
            raise LocalStackError(f"{source}, line {number}: {jar.group}:{jar.artifact} is there twice.")
        jars[jar.group, jar.artifact] = jar
    return tuple(jars.values())


def kafka_jars(directory: Path | None = None, jars: Iterable[Jar] | None = None) -> list[Path]:
    """Return the verified jars of Apache Kafka, in the order of the list, fetching those that are missing.

    Args:
        directory: Where they are kept; by default `kafka-VERSION` in `cache_dir()`.
        jars: What they must be; by default the checked-in list.

    Raises:
        PartMissingError: A jar could not be fetched.
    """
    directory = directory or cache_dir() / f"kafka-{KAFKA_VERSION}"
    required = tuple(jars) if jars is not None else parse_jar_list(JAR_LIST.read_text(encoding="utf-8"))
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        missing = [jar for jar in required if not (directory / jar.filename).exists()]
        if missing:
            _log.info("fetching %d of %d jars into %s", len(missing), len(required), directory)
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="fetch-", dir=directory) as repository:
                for _ in pool.map(lambda jar: _fetch(jar, directory, Path(repository)), missing):
                    pass
        paths = [directory / jar.filename for jar in required]
        for jar, path, digest in zip(required, paths, pool.map(_sha256, paths), strict=True):
            _compare(jar, path, digest)
    return paths


def _fetch(jar: Jar, directory: Path, repository: Path) -> None:
    """Download one jar into `repository`, verify it, and only then give it its place in the cache."""
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=repository, timeout=60)
    try:
        fetched = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except Exception as error:
        raise PartMissingError(
            f"{jar.coordinate} could not be fetched ({error}). The local Kafka needs its jars once from a "
            f"Maven repository; check the network, or copy {directory} from a machine that has them."
        ) from error
    _compare(jar, fetched, _sha256(fetched))
    fetched.replace(directory / jar.filename)


def _compare(jar: Jar, path: Path, digest: str) -> None:
    if digest != jar.sha256:
        raise LocalStackError(
            f"{path} is not the {jar.coordinate} that {JAR_LIST.name} names: its SHA-256 is {digest}, "
            f"expected {jar.sha256}. Kafka was not started. If the file was damaged on this machine, delete "
            "it and it is fetched again; if it differs again, do not use it."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve_jar_list(working_dir: Path) -> list[Jar]:
    """Resolve Kafka with everything that it needs, download it into `working_dir`, and hash it."""
    from jgo import LinkStrategy
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    repository = working_dir / "repository"
    context = MavenContext(repo_cache=repository, timeout=60)
    builder = EnvironmentBuilder(
        context=context, cache_dir=working_dir / "environments", link_strategy=LinkStrategy.COPY
    )
    try:
        builder.from_endpoint("+".join(_ROOTS), update=True)
        group, artifact, version = _LOG_BINDING.split(":")
        context.project(group, artifact).at_version(version).artifact().resolve()
    except Exception as error:
        raise LocalStackError(f"Kafka {KAFKA_VERSION} could not be resolved: {error}") from error
    jars = []
    for path in repository.rglob("*.jar"):
        # The layout is group/with/slashes/artifact/version/artifact-version.jar.
        *group_parts, artifact, version, filename = path.relative_to(repository).parts
        if filename != f"{artifact}-{version}.jar":
            raise LocalStackError(f"{path} has a classifier, which {JAR_LIST.name} has no room for.")
        jars.append(Jar(".".join(group_parts), artifact, version, _sha256(path)))
    return sorted(jars)


def main() -> int:
    """Rewrite `kafka-jars.txt` and print the number of jars."""
    with tempfile.TemporaryDirectory(prefix="barograph-jars-", ignore_cleanup_errors=True) as working_dir:
        jars = resolve_jar_list(Path(working_dir))
    header = (
        f"# The jars of Apache Kafka {KAFKA_VERSION}: Maven coordinate, SHA-256.\n"
        "# Written by `python -m barograph_server.local.kafka_jars`; compared before every start of the local broker.\n"
    )
    lines = "".join(f"{jar.coordinate} {jar.sha256}\n" for jar in jars)
    JAR_LIST.write_text(header + lines, encoding="utf-8")
    sys.stdout.write(f"{JAR_LIST}: {len(jars)} jars\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
