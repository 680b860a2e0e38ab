"""Ask an advisory database for known vulnerabilities of all locked packages: `python tools/audit.py`.

The packages of uv.lock are given to pip-audit with their hashes, so nothing is installed or resolved. Exits with 0 if
no advisory applies, with 1 if one does, and with 2 if the database did not answer for every package.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXPORT = ("export", "--frozen", "--quiet", "--all-packages", "--all-groups", "--no-emit-workspace")
AUDIT = ("-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")
CLEAN, VULNERABLE, UNAVAILABLE = 0, 1, 2


def conclude(report: str, cause: str = "") -> tuple[int, str]:
    """Return the exit code and the text.

    Args:
        report: of pip-audit, as JSON; empty if it failed.
        cause: the last line that it wrote to standard error.
    """
    packages = json.loads(report)["dependencies"] if report.strip() else []
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    lines = [
        f"{package['name']} {package['version']}: {advisory['id']}, fixed in "
        f"{', '.join(advisory['fix_versions']) or 'no version yet'}"
        for package in packages
        for advisory in package.get("vulns", ())
    ]
    if not packages or skipped:
        # pip-audit skips a package that the database does not know, and calls the rest a success.
        lines.append(
            f"The advisory database did not answer for {', '.join(skipped) or f'any package ({cause})'}: this is no "
            "complete audit. Run `make audit` where the database is reachable; the workflow `audit` runs it every week."
        )
        return UNAVAILABLE, "\n".join(lines)
    if lines:
        return VULNERABLE, "\n".join(lines)
    return CLEAN, f"{len(packages)} packages, no known vulnerability."


def main() -> int:
    """Audit the lock file."""
    with tempfile.TemporaryDirectory() as folder:
        requirements, report = Path(folder, "requirements.txt"), Path(folder, "report.json")
        subprocess.run([str(ROOT / "tools/uv"), *EXPORT, "--output-file", str(requirements)], cwd=ROOT, check=True)
        options = ("--requirement", str(requirements), "--output", str(report))
        audit = subprocess.run([sys.executable, *AUDIT, *options], check=False, stderr=subprocess.PIPE, text=True)
        cause = (audit.stderr.strip().splitlines() or ["no reason"])[-1]
        code, text = conclude(report.read_text(encoding="utf-8") if report.exists() else "", cause)
    print(text, file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
