"""Everything that is installed is verified by a hash of this repository."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tools.repository.tree import Repository, check

_SHA_256 = re.compile(r"sha256:[0-9a-f]{64}")
_FEWEST = 50
"""Packages and jars that a list has at least: a list that is read wrongly has fewer."""
OWN = {"barograph": "editable", "barograph-server": "editable", "barograph-native": "directory"}
"""Our packages, each with how uv installs it from this tree."""
_SIGNS = {"id-token", "attestations"}


@check
def every_package_of_the_lock_has_hashes(repository: Repository) -> Iterator[str]:
    """uv.lock has a hash of every file of every package but our own."""
    packages = repository.toml("uv.lock")["package"]
    if len(packages) <= _FEWEST:
        yield f"uv.lock: only {len(packages)} packages"
    for package in packages:
        files: list[dict[str, Any]] = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        if package["name"] in OWN:
            if package["source"].keys() != {OWN[package["name"]]}:
                yield f"uv.lock: {package['name']} is not installed from this tree"
        elif "registry" not in package["source"] or not files:
            yield f"uv.lock: {package['name']} comes from no registry"
        elif not all(_SHA_256.fullmatch(file.get("hash", "")) for file in files):
            yield f"uv.lock: {package['name']} has a file without a hash"


@check
def every_build_requirement_has_hashes_and_uv_requires_them(repository: Repository) -> Iterator[str]:
    """What builds packages is pinned, hashed and locked; uv installs no other build requirement."""
    settings = repository.project["tool"]["uv"]
    constraints = {each["requirement"]: each["hashes"] for each in settings["build-constraint-dependencies"]}
    locked = repository.toml("uv.lock")["manifest"]["build-constraints"]
    if settings["require-build-hashes"] is not True:
        yield "pyproject.toml: require-build-hashes is not true"
    for name, hashes in constraints.items():
        if not re.fullmatch(r"[a-z-]+==[0-9.]+", name) or not hashes or not all(map(_SHA_256.fullmatch, hashes)):
            yield f"pyproject.toml: {name} needs a version and hashes"
    if {f"{each['name']}{each['specifier']}": each["hashes"] for each in locked} != constraints:
        yield "uv.lock: other build constraints than pyproject.toml: run `tools/uv lock`"
    for path in ("pyproject.toml", "client/pyproject.toml", "native/pyproject.toml"):
        for name in set(repository.toml(path)["build-system"]["requires"]) - constraints.keys():
            yield f"{path}: {name} has no hash in build-constraint-dependencies"


@check
def every_jar_has_its_hash(repository: Repository) -> Iterator[str]:
    """Each jar of Kafka is listed with its SHA-256."""
    lines = [line for line in repository.texts["local/kafka-jars.txt"].splitlines() if not line.startswith("#")]
    if len(lines) <= _FEWEST:
        yield f"local/kafka-jars.txt: only {len(lines)} jars"
    for line in lines:
        if not re.fullmatch(r"\S+:\S+:\S+\s+[0-9a-f]{64}", line):
            yield f"local/kafka-jars.txt: {line}"


@check
def every_crate_has_its_checksum(repository: Repository) -> Iterator[str]:
    """Each crate of barograph-native is locked with its checksum, and cargo uses the lock file unchanged."""
    for crate in repository.toml("native/Cargo.lock")["package"]:
        if crate["name"] != "barograph-native" and not re.fullmatch(r"[0-9a-f]{64}", crate.get("checksum", "")):
            yield f"native/Cargo.lock: {crate['name']} has no checksum"
    if repository.toml("native/pyproject.toml")["tool"]["maturin"]["locked"] is not True:
        yield "native/pyproject.toml: maturin does not build with the lock file"
    for line in re.findall(r"cargo (?:build|test|run) .*", repository.texts["Makefile"]):
        if "--locked" not in line:
            yield f"Makefile: {line}: without --locked"


@check
def uv_is_installed_by_its_hash_and_is_new_enough(repository: Repository) -> Iterator[str]:
    """tools/uv.txt has one version with the hashes of all platforms; its installations verify them."""
    lines = [line.rstrip(" \\") for line in repository.texts["tools/uv.txt"].splitlines() if not line.startswith("#")]
    hashes = [line for line in lines[1:] if re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line)]
    if not re.fullmatch(r"uv==\d+\.\d+\.\d+", lines[0]) or len(lines) <= 10 or len(hashes) != len(lines) - 1:
        yield "tools/uv.txt: expected a version and a hash for each platform"
    minimum = re.search(r"^readonly MINIMUM=([0-9.]+)", repository.texts["tools/uv"], re.MULTILINE)
    # The first version with require-build-hashes; older versions ignore it.
    if minimum is None or tuple(map(int, minimum[1].split("."))) < (0, 13, 0):
        yield "tools/uv: accepts versions that do not verify the hashes of build requirements"
    for name in ("Dockerfile", "tools/uv"):
        installs = re.findall(r"(?<!uv )pip install .*", repository.texts[name].replace("\\\n", " "))
        required_options = ("--require-hashes", "tools/uv.txt", "--no-deps", "--only-binary :all:")
        if len(installs) != 1 or not all(option in installs[0] for option in required_options):
            yield f"{name}: install uv once, with {' '.join(required_options)}"


@check
def modules_and_packages_for_tests_have_hashes(repository: Repository) -> Iterator[str]:
    """Modules of Go and packages of JavaScript are installed from hashed lists."""
    makefile = repository.texts["Makefile"]
    commands = re.findall(r"go (?:install|build|run) .*", makefile)
    if not commands or any("-mod=readonly" not in line or "@" in line.replace("$@", "") for line in commands):
        yield "Makefile: go builds with -mod=readonly and without versions of its own"
    for folder in ("tools/compose-validator", "examples/producers/go"):
        required = re.findall(r"^(?:require)?\s(\S+ v\S+)", repository.texts[f"{folder}/go.mod"], re.MULTILINE)
        hashed = {" ".join(line.split()[:2]) for line in repository.texts[f"{folder}/go.sum"].splitlines()}
        if not required or not set(required) <= hashed:
            yield f"{folder}/go.sum: a required module has no hash"
    for folder, fewest in (("tests/grafana_data", _FEWEST), ("examples/producers/typescript", 3)):
        file = f"{folder}/package-lock.json"
        packages = json.loads(repository.texts[file])["packages"]
        if len(packages) <= fewest:
            yield f"{file}: only {len(packages)} packages"
        for name, package in packages.items():
            if name and not re.fullmatch(r"sha512-[\w+/]{86}==", package.get("integrity", "")):
                yield f"{file}: {name} has no hash"
    if {*re.findall(r"npm .*", makefile)} != {"npm ci --ignore-scripts --no-audit --no-fund"}:
        yield "Makefile: npm installs only by `npm ci --ignore-scripts`"


@check
def workflows_pin_actions_by_commit_and_get_no_more_than_read_access(repository: Repository) -> Iterator[str]:
    """Workflows use actions by commit, and keep no credentials; jobs that run code only read the repository."""
    for name in (name for name in repository.texts if name.startswith(".github/workflows/")):
        uses = re.findall(r"uses: (.*)", repository.texts[name])
        if not uses:
            yield f"{name}: uses no action"
        for action in uses:
            if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action):
                yield f"{name}: {action} is not pinned by its commit"
        workflow = repository.yaml(name)
        if workflow["permissions"] != {}:
            yield f"{name}: permissions are {{}} for the workflow"
        for job in workflow["jobs"].values():
            runs_code = any("run" in step or "actions/checkout@" in step["uses"] for step in job["steps"])
            if job["permissions"] != {"contents": "read"} and (runs_code or not job["permissions"].keys() <= _SIGNS):
                yield f"{name}: permissions are contents: read for a job that runs code, and at most signing for others"
        for step in (step for job in workflow["jobs"].values() for step in job["steps"]):
            checks_out = step.get("uses", "").startswith("actions/checkout@")
            if checks_out and step["with"]["persist-credentials"] is not False:
                yield f"{name}: checkout keeps its credentials"


@check
def installations_use_the_lock_file_unchanged(repository: Repository) -> Iterator[str]:
    """Each `uv sync` is locked, and pip-audit is installed by `make audit` alone, in an environment of its own."""
    for name in ("Makefile", "Dockerfile"):
        synced = [line for line in repository.texts[name].splitlines() if re.search(r"\buv\S* sync\b", line)]
        if not synced or not all("--locked" in line or "--frozen" in line for line in synced):
            yield f"{name}: uv sync without --locked"
    project = repository.project
    for name, group in project["dependency-groups"].items():
        if name != "audit" and any(each == {"include-group": "audit"} or "pip-audit" in each for each in group):
            yield f"pyproject.toml: the group {name} installs pip-audit"
    audits = re.findall(r"^\t.*--only-group audit.*$", repository.texts["Makefile"], re.MULTILINE)
    if "audit" in project["tool"]["uv"]["default-groups"] or len(audits) != 1:
        yield "pyproject.toml: only `make audit` installs the group audit"
    elif "--isolated" not in audits[0] or "--locked" not in audits[0]:
        yield "Makefile: the audit needs --isolated and --locked"


@check
def the_workflow_runs_every_supported_python(repository: Repository) -> Iterator[str]:
    """The hosted workflow names each Python of requires-python, and `.ci/run` is the last step of a job."""
    workflow = repository.yaml(".github/workflows/ci.yml")
    lowest, highest = re.findall(r"3\.(\d+)", repository.project["project"]["requires-python"])
    text = repository.texts[".github/workflows/ci.yml"]
    for minor in range(int(lowest), int(highest)):
        if f'"3.{minor}"' not in text:
            yield f".github/workflows/ci.yml: Python 3.{minor} is missing"
    if not any(job["steps"][-1].get("run") == "bash .ci/run" for job in workflow["jobs"].values()):
        yield ".github/workflows/ci.yml: no job ends with `bash .ci/run`"
