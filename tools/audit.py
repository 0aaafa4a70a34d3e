"""Look for known vulnerabilities in what requirements/lock.txt names: what `make audit` runs.

Without an answer from the list of vulnerabilities it says so and exits with 0: a machine without a
network can't know. A package that the list doesn't know counts as not checked, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements/lock.txt"
ASK = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json"]
ASK += ["--progress-spinner", "off", "-r", str(LOCK)]


def main(ask: Sequence[str] = ASK) -> int:
    """Print what is known of each package, and return the exit status: 1 for a vulnerability."""
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        print(f"not checked: pip-audit gave no answer ({reason})")
        return 0
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    found = [
        f"{package['name']} {package['version']}: {hole['id']}, mended in "
        f"{' or '.join(hole['fix_versions']) or 'no version'}"
        for package in packages
        for hole in package.get("vulns", [])
    ]
    print(
        "\n".join([*found, f"{len(packages) - len(unknown)} packages checked: {len(found)} holes"])
    )
    if unknown:
        print(f"not checked, as the list does not know them: {', '.join(unknown)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
