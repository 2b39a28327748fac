"""Refusals and alerts in the reader's language: every sentence of the code is known, and evidence stays as it was."""

import ast
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.template import Context, Template
from django.utils import translation

from nexus.core import sentences
from nexus.core.errors import NexusError

FOLDERS = ("accounts", "risk", "trading", "reconciliation", "payments", "nexus")
# What only somebody at the machine reads, or the program at the other end of a wire.
ELSEWHERE = (
    "/brokers/", "/management/", "/migrations/", "nexus/local/", "nexus/audit/services/keys.py",
    "nexus/audit/services/anchored.py", "nexus/audit/services/chosen.py", "nexus/audit/services/columns.py",
)  # fmt: skip
TOLD = ("detail", "text")
# Their places are all there is of them: each is known with the words that come in there.
LOOSE = re.compile(r"(Order )?[^A-Za-z]*(X[^A-Za-z]*)*")


def _sentence(node: ast.expr) -> list[str]:
    """Return the sentences that an expression makes, X for what differs."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in parts)]
        case ast.IfExp(body=one, orelse=other):
            return [*_sentence(one), *_sentence(other)]
    return []


def _errors() -> set[str]:
    found, rest = {"NexusError"}, [NexusError]
    while rest:
        for each in rest.pop().__subclasses__():
            found.add(each.__name__)
            rest.append(each)
    return found


def _of_the_code() -> set[tuple[str, str]]:
    errors, found = _errors(), set()
    for folder in FOLDERS:
        for path in Path(settings.BASE_DIR, folder).rglob("*.py"):
            name = str(path.relative_to(settings.BASE_DIR))
            if any(each in name for each in ELSEWHERE):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                # An error that has one sentence of its own gives it to its parent.
                given = [*node.args[:1]] if called in errors or called == "__init__" else []
                given += [each.value for each in node.keywords if each.arg in TOLD and called != "Notice"]
                found |= {(name, each) for one in given for each in _sentence(one) if " " in each.strip()}
    return found


def test_every_sentence_of_the_code_is_known_in_french():
    of_the_code = _of_the_code()

    unknown = {
        (name, each) for name, each in of_the_code if not LOOSE.fullmatch(each) and not sentences.said(each, "fr")
    }

    assert len(of_the_code) > 150  # it does look
    assert not unknown


def test_every_translation_keeps_every_place():
    path = sentences.FOLDER / "fr" / "sentences.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            english, french = line.split(sentences.ARROW)
            assert sorted(sentences.PLACE.findall(english)) == sorted(sentences.PLACE.findall(french)), line


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("You have no such order.", "Vous n'avez pas cet ordre."),
        (
            "Demo account (mt5:5001): not reconciled since it was linked. Nothing new is admitted.",
            "Demo account (mt5:5001) : pas comparé depuis qu'il a été relié. Rien de nouveau n'est admis.",
        ),
        ("mt5:1 is not flat yet. The broker cannot be asked now.",
         "mt5:1 n'est pas encore à plat. On ne peut pas interroger le courtier pour le moment."),
        # What a person wrote stays in that person's words.
        ("Trading is HALTED for the system. Nobody knows why.",
         "Le trading est HALTED pour the system. Nobody knows why."),
        ("Trading is HALTED, and FLATTEN is done, for the system. Fat finger.",
         "Le trading est HALTED, avec FLATTEN, pour the system. Fat finger."),
    ],
)  # fmt: skip
def test_a_sentence_is_said_with_its_own_figures_and_names(english, french):
    assert sentences.said(english, "fr") == french
    assert sentences.said(english, "en") == english


@pytest.mark.parametrize(
    ("language", "text", "shown"),
    [
        ("fr", "You have no such order.", "Vous n&#x27;avez pas cet ordre."),
        ("fr", "Retcode <10030>: invalid fill", '<span lang="en">Retcode &lt;10030&gt;: invalid fill</span>'),
        ("en", "Retcode <10030>", "Retcode &lt;10030&gt;"),
        ("fr", "", ""),
    ],
)
def test_what_nobody_has_translated_is_marked_as_english(language, text, shown):
    with translation.override(language):
        assert Template("{{ text|said }}").render(Context({"text": text})) == shown
