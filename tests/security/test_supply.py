"""What is shipped is pinned, listed and may be carried; a secret that is committed is found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security import licences, materials
from tests.security.licences import ROOT, Part

BIN, BASELINE = Path(sys.executable).parent, ".secrets.baseline"
# Put together here, so that the scanner has nothing to find in this file.
PLANTED = {
    "a key of a cloud": "AKIA" + "IOSFODNN7REALKEY",
    "a private key": "-----BEGIN " + "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIBlVY",
    "a token": "ghp_" + "a8Kd03mFzQ1x" + "Yw72LpTnVb5c" + "Rh6sJe94GuiO",
    "a password in an address": "postgresql://nexus:" + "h8Fj2kQp" + "@db.example/nexus",
}


@pytest.mark.threat(25)
def test_a_secret_that_is_committed_is_found(tmp_path):
    for number, secret in enumerate(PLANTED.values()):
        (tmp_path / f"planted_{number}.py").write_text(f"where = '''{secret}'''\n")
    (tmp_path / "clean.py").write_text('where = "nothing to see"\n')
    command = [str(BIN / "detect-secrets-hook"), "--no-verify", "--baseline", BASELINE]

    clean = subprocess.run([*command, str(tmp_path / "clean.py")], cwd=ROOT, check=False)
    found = subprocess.run(
        [*command, *map(str, sorted(tmp_path.iterdir()))], cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert (clean.returncode, found.returncode) == (0, 1)
    assert set(re.findall(r"(\w+)\.py:\d+", found.stdout)) == {f"planted_{number}" for number in range(len(PLANTED))}


@pytest.mark.threat(25)
def test_the_gate_and_the_hook_before_a_commit_both_scan():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    plan = subprocess.run(["make", "--dry-run", "check"], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    for where in (hooks, plan):
        assert f"--baseline {BASELINE}" in where
    assert "bandit" in plan
    assert set(re.findall(r"language: (\w+)", hooks)) == {"system"}  # nothing is fetched from elsewhere
    assert "https://" not in hooks


def test_bandit_finds_a_weakness_under_our_settings(tmp_path):
    weak = tmp_path / "weak.py"
    weak.write_text("import subprocess\n\nsubprocess.run(input(), shell=True)\n")
    command = [str(BIN / "bandit"), "--quiet", "--configfile", str(ROOT / "pyproject.toml"), str(weak)]

    found = subprocess.run(command, check=False, capture_output=True, text=True)

    assert found.returncode == 1
    assert "B602" in found.stdout


def test_everything_that_is_locked_has_its_hashes():
    files = {
        "requirements.txt": 20,
        "requirements-alpaca.txt": 20,
        "requirements-parquet.txt": 1,
        "requirements-dev.txt": 20,
    }
    for name, least in files.items():
        entries = re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text(encoding="utf-8"))
        pinned = [each for each in entries if re.match(r"[a-z0-9][a-z0-9._-]*==", each)]
        assert len(pinned) >= least
        assert [each.partition(" ")[0] for each in pinned if "--hash=sha256:" not in each] == []


def test_everything_that_is_shipped_may_be_carried_and_is_listed():
    page = licences.PAGE.read_text(encoding="utf-8")

    assert licences.refused() == []
    assert page == licences.written(page), "run `make licences`"
    assert len(licences.parts()) > 80


@pytest.mark.parametrize(
    ("licence", "is_carried"),
    [
        ("MIT", True), ("Apache Software License; BSD License", True), ("LGPLv3", True),
        ("BSD-3-Clause OR GPL-3.0-only", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True), ("GPL-3.0-only", False), ("MIT; GPL-3.0-or-later", False),
        ("AGPL-3.0-only", False), ("GNU General Public License v3 (GPLv3)", False), ("SSPL-1.0", False),
        ("UNKNOWN", False),
        ("BUSL-1.1", False), ("Proprietary", False), ("", False), ("MIT AND CC-BY-NC-4.0", False),
    ],
)  # fmt: skip
def test_a_licence_is_judged(licence, is_carried):
    assert licences.is_allowed(licence) is is_carried


def test_a_part_that_cannot_be_carried_fails_the_gate(monkeypatch, capsys):
    monkeypatch.setattr(licences, "parts", lambda: [Part("viral", "1.0", "AGPL-3.0-only"), Part("fine", "1.0", "MIT")])
    kept = licences.PAGE.read_bytes()

    assert licences.main() == 1
    assert "viral 1.0" in capsys.readouterr().err
    assert licences.PAGE.read_bytes() == kept


def test_a_part_that_nobody_has_looked_at_is_an_error(monkeypatch):
    monkeypatch.setattr(licences, "locked", lambda: {"never-heard-of-it": ["1.0"]})

    with pytest.raises(licences.Unknown, match="never-heard-of-it"):
        licences.parts()


def test_the_bill_of_materials_has_every_part_with_its_hash_and_its_licence():
    made = materials.document()

    assert made["bomFormat"] == "CycloneDX"
    assert made["metadata"]["component"]["name"] == "nexus"
    listed = {(each["name"], each["version"]) for each in made["components"]}
    assert listed == {(part.name, version) for part in licences.parts() for version in part.version.split(", ")}
    for each in made["components"]:
        hashes = [
            *each.get("hashes", []),
            *(one for ref in each.get("externalReferences", []) for one in ref["hashes"]),
        ]
        assert hashes, each["name"]
        assert each["licenses"], each["name"]
    assert "timestamp" not in made["metadata"]  # the same parts give the same document
    assert "serialNumber" not in made
