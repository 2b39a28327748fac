"""The threats, what stands against each, and the tests that are marked with its number; `make threats` writes the page.

Tests are found by reading their files: a marker that cannot be read there is an error, never a test that is not listed.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- threats: written by `make threats` -->", "<!-- end -->"


class Threat(NamedTuple):
    """What may happen, and what stands against it."""

    name: str
    control: str


THREATS = {
    1: Threat("Passwords are guessed in parallel", "an attempt is counted before its password is hashed"),
    2: Threat("Passwords are guessed from many addresses", "a gate for the name beside the one for the address; TOTP"),
    3: Threat("A victim is locked out on purpose", "the pair of name and address shuts first; known pairs stay open"),
    4: Threat("A forged client address", "`X-Forwarded-For` is read from the right, through trusted proxies only"),
    5: Threat("Names are probed", "unknown, wrong and inactive get one body and cost one hash"),
    6: Threat("A stolen refresh token", "it works once; a second use ends the whole session"),
    7: Threat("A race of refreshes", "the token is used up by an insert that one caller wins"),
    8: Threat("A revoked token in another spelling", "the list keeps the hash of the token's `jti`, not of its text"),
    9: Threat("Another algorithm, key, type or audience", "one algorithm; every claim is checked"),
    10: Threat("Rights that somebody had once", "the role is read at each request; a change ends what was begun"),
    11: Threat("A code is used twice", "the last accepted step is compared and kept under one row lock"),
    12: Threat("Codes are guessed", "a gate that is charged first and commits by itself"),
    13: Threat("A bot's key leaks", "no scope takes money out; addresses are listed; it expires; people are told"),
    14: Threat("A paper key is used with real money", "the mode is the key's own and no part of the request"),
    15: Threat("Money is moved twice by one request", "one row a key of idempotency, decided by the database"),
    16: Threat("A key of idempotency under another body", "the request's fingerprint is kept with the key"),
    17: Threat("One insider acts alone", "distinct people approve; the database refuses the rest too"),
    18: Threat("Another thing is executed than was approved", "the object is hashed again before it is executed"),
    19: Threat("A forged request in an operator's name", "acts are POST only, with a token and a strict cookie"),
    20: Threat("A script is stored and shown to operators", "escaping, a strict CSP, a code for each act"),
    21: Threat("Somebody else's objects are asked for", "every query is filtered by its owner; others' are a 404"),
    22: Threat("The application's role rewrites the audit log", "grants, and triggers that always fire"),
    23: Threat("The database's owner rewrites the audit log", "signed seals, anchors elsewhere, verification"),
    24: Threat("A formula in an exported table", "an apostrophe before whatever a spreadsheet would calculate"),
    25: Threat("A secret in logs or in the repository", "redaction of logs; a scanner over what is committed"),
    26: Threat("The stop is blocked, or undone by one", "a stop asks for nothing; two people ease it"),
    27: Threat("Large queries or exports take the service down", "pages, keys, portions, jobs and timeouts"),
}


@dataclass(frozen=True, order=True)
class Found:
    """A test that is marked."""

    path: str
    name: str

    def __str__(self) -> str:
        return f"`{self.path}::{self.name}`"


class UnreadableMarker(Exception):
    """A marker stands where this does not see it, or names no threat."""


def marked(folder: Path = TESTS) -> dict[int, list[Found]]:
    """Return the tests of each threat. Raises: UnreadableMarker."""
    found: dict[int, list[Found]] = {number: [] for number in THREATS}
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if ".threat(" not in text:
            continue
        tree = ast.parse(text)
        pairs = list(_pairs(tree))
        markers = sum(_number(node) is not None for node in ast.walk(tree))
        if markers != len({marker for marker, _, _ in pairs}):
            raise UnreadableMarker(f"{path}: a marker belongs on a test or in `pytestmark`.")
        for _, number, name in pairs:
            if number not in found:
                raise UnreadableMarker(f"{path}: there is no threat {number}.")
            found[number].append(Found(str(path.relative_to(folder.parent)), name))
    return {number: sorted(set(tests)) for number, tests in found.items()}


def _pairs(tree: ast.Module) -> Iterator[tuple[ast.AST, int, str]]:
    """Yield (marker, threat, test) of one file."""
    tests = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")]
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "pytestmark":
            for node in ast.walk(statement.value):
                if (number := _number(node)) is not None:
                    yield from ((node, number, test.name) for test in tests)
    for test in tests:
        for node in test.decorator_list:
            if (number := _number(node)) is not None:
                yield node, number, test.name


def _number(node: ast.AST) -> int | None:
    """Return which threat a marker names; None when it is no marker of ours."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.threat"):
        return None
    return int(ast.unparse(node.args[0]))


def table(found: dict[int, list[Found]]) -> str:
    """Return the table of threat, control and tests."""
    lines = ["| # | threat | control | tests |", "|---|---|---|---|"]
    for number, threat in THREATS.items():
        tests = "<br>".join(str(test) for test in found[number])
        lines.append(f"| {number} | {threat.name} | {threat.control} | {tests} |")
    return "\n".join(lines)


def written(page: str, found: dict[int, list[Found]]) -> str:
    """Return the page with its table anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}"


def main() -> int:
    """Write the page, or, with --check, tell whether it says what the markers say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    arguments = parser.parse_args()
    kept = PAGE.read_text(encoding="utf-8")
    new = written(kept, marked())
    if arguments.check and new != kept:
        sys.stderr.write("docs/security.md is not what the tests' markers say: run `make threats`.\n")
        return 1
    if not arguments.check:
        PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
