"""The bill of materials of what is shipped (CycloneDX), with hashes and licences. `make sbom` prints it.

The tool of CycloneDX reads the locked requirements; licences come from where docs/licences.md has them, and scripts of
others that are kept beside ours are added. What is printed has been validated against the schema of CycloneDX.
"""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.security import licences
from tests.security.licences import LOCKED, ROOT, STATIC, VENDORED

TOOL = Path(sys.executable).with_name("cyclonedx-py")


class Invalid(Exception):
    """The document is none that CycloneDX knows."""


def document() -> dict[str, Any]:
    """Return the bill of materials. Raises: licences.Unknown, Invalid."""
    first, *others = [_of(name) for name in LOCKED]
    found = {each["purl"]: each for made in [first, *others] for each in made["components"]}
    said = {(part.name, version): part.licence for part in licences.parts() for version in part.version.split(", ")}
    for each in found.values():
        each["licenses"] = [{"license": {"name": said[(each["name"], each["version"])]}}]
        each["bom-ref"] = each["purl"]
        del each["description"]  # the line of the file, hashes and all
    components = [found[purl] for purl in sorted(found)] + [
        _script(path) for path in sorted(STATIC.rglob("vendor/*.js"))
    ]
    refs = [{"ref": each["bom-ref"]} for each in components]
    made = first | {"components": components, "dependencies": [{"ref": "root-component"}, *refs]}
    if faults := JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)):
        raise Invalid(str(faults))
    return made


def _of(name: str) -> dict[str, Any]:
    command = [str(TOOL), "requirements", "--of", "JSON", "--sv", "1.6", "--output-reproducible", "--no-validate"]
    said = subprocess.run(
        [*command, "--pyproject", "pyproject.toml", name], check=True, capture_output=True, text=True, cwd=ROOT
    )
    made: dict[str, Any] = json.loads(said.stdout)
    return made


def _script(path: Path) -> dict[str, Any]:
    name, version, licence = VENDORED[path.name]
    return {
        "type": "library", "name": name, "version": version, "bom-ref": f"pkg:npm/{name}.org@{version}",
        "purl": f"pkg:npm/{name}.org@{version}", "licenses": [{"license": {"id": licence}}],
        "hashes": [{"alg": "SHA-256", "content": sha256(path.read_bytes()).hexdigest()}],
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=2) + "\n")
