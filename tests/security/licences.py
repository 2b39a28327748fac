"""The licences of everything that is shipped with Nexus, and whether a product that others pay for can carry them.

`make licences` writes docs/licences.md from what the packages say of themselves; a test fails when it is stale, and
when a licence is not among those that were looked at.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from license_expression import ExpressionError, LicenseSymbol, get_spdx_licensing

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "licences.md"
BEGIN, END = "<!-- licences: written by `make licences` -->", "<!-- end -->"
LOCKED = (
    "requirements.txt",
    "requirements-alpaca.txt",
    "requirements-parquet.txt",
)  # what is installed to serve; tools of the gate are not shipped
STATIC = ROOT / "nexus" / "static"

ALLOWED = {
    "0BSD": "", "Apache-2.0": "", "BSD-2-Clause": "", "BSD-3-Clause": "", "CC0-1.0": "", "ISC": "", "MIT": "",
    "MIT-0": "", "PSF-2.0": "", "PostgreSQL": "", "Unlicense": "", "Zlib": "",
    "LGPL-3.0-only": "the library stays a package of its own, unchanged, that its user may replace",
    "MPL-2.0": "its files stay as they are; whoever changes them publishes the change",
}  # fmt: skip
# How packages name themselves when they do not speak SPDX.
SPOKEN = {
    "Apache Software License": "Apache-2.0", "Apache Software License v2": "Apache-2.0",
    "BSD 3-Clause": "BSD-3-Clause", "BSD License": "BSD-3-Clause", "LGPLv3": "LGPL-3.0-only", "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}  # fmt: skip
# Locked for other systems or Pythons than the one that asks: as their own metadata has it.
ELSEWHERE = {"async-timeout": "Apache Software License", "metatrader5": "MIT", "tzdata": "Apache-2.0"}
VENDORED = {
    "chart-4.6.1.umd.min.js": ("Chart.js", "4.6.1", "MIT"),
    "htmx-2.0.11.min.js": ("htmx", "2.0.11", "0BSD"),
}


class Part(NamedTuple):
    """Something that is shipped, and what it says of its licence."""

    name: str
    version: str
    licence: str


class Unknown(Exception):
    """Something is shipped whose licence nobody has looked at."""


def locked(folder: Path = ROOT) -> dict[str, list[str]]:
    """Return the versions of each package that is locked."""
    found: dict[str, list[str]] = {}
    for name in LOCKED:
        for package, version in re.findall(
            r"^([a-z0-9][a-z0-9._-]*)==(\S+)", (folder / name).read_text(encoding="utf-8"), re.MULTILINE
        ):
            found.setdefault(package, []).append(version)
    return {package: sorted(set(versions)) for package, versions in found.items()}


@cache
def declared(*names: str) -> dict[str, str]:
    """Return what installed packages say of their licences."""
    command = [str(Path(sys.executable).with_name("pip-licenses")), "--from=mixed", "--format=json", "--with-system"]
    said = subprocess.run([*command, "--packages", *names], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return {re.sub(r"[-_.]+", "-", row["Name"]).lower(): row["License"] for row in json.loads(said)}


def parts() -> list[Part]:
    """Return everything that is shipped. Raises: Unknown."""
    versions = locked()
    said = ELSEWHERE | declared(*versions)
    if missing := versions.keys() - said.keys():
        raise Unknown(f"Not installed, and not listed in ELSEWHERE: {', '.join(sorted(missing))}")
    scripts = {path.name for path in STATIC.rglob("vendor/*.js")}
    if scripts != VENDORED.keys():
        raise Unknown(f"Scripts of others, listed and not: {', '.join(sorted(scripts ^ VENDORED.keys()))}")
    packages = [Part(name, ", ".join(found), said[name]) for name, found in versions.items()]
    return sorted([*packages, *(Part(*each) for each in VENDORED.values())])


def is_allowed(licence: str, allowed: Mapping[str, str] = ALLOWED) -> bool:
    """Tell whether a licence, as a package names it, is one that was looked at; of several joined by OR, any."""
    if not licence.strip():
        return False
    spoken = " AND ".join(f"({SPOKEN.get(word.strip(), word.strip())})" for word in licence.split(";"))
    for name, identifier in SPOKEN.items():
        spoken = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", identifier, spoken)
    try:
        expression = get_spdx_licensing().parse(spoken, validate=True)
    except ExpressionError:
        return False
    return expression is not None and _holds(expression, allowed)


def _holds(expression: object, allowed: Mapping[str, str]) -> bool:
    if isinstance(expression, LicenseSymbol):
        return expression.key in allowed
    judged = [_holds(each, allowed) for each in getattr(expression, "args", ())]
    operator = str(getattr(expression, "operator", "")).strip()
    return bool(judged) and (any(judged) if operator == "OR" else all(judged))


def refused() -> list[Part]:
    """Return what cannot be carried."""
    return [part for part in parts() if not is_allowed(part.licence)]


def written(page: str) -> str:
    """Return the page with its tables anew."""
    lines = ["| part | version | licence, as it says of itself |", "|---|---|---|"]
    lines += [f"| {part.name} | {part.version} | {part.licence} |" for part in parts()]
    lines += ["", "| licence | carried because |", "|---|---|"]
    lines += [f"| {name} | {why or 'it asks for its notice and no more'} |" for name, why in sorted(ALLOWED.items())]
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.partition(END)[2]}"


def main() -> int:
    """Write the page, unless something cannot be carried."""
    wrong = refused()
    for part in wrong:
        sys.stderr.write(
            f"{part.name} {part.version}: {part.licence!r} is not among the licences that Nexus carries.\n"
        )
    if not wrong:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
