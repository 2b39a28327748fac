"""The French of the pages: nothing is missing, and what is compiled is what is written."""

import ast
import gettext
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils.translation import override

from nexus.console.words import stamp, usd
from tests.factories.accounts import UserFactory
from tests.nexus.console.people import enter
from tests.pages.conftest import Browser

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "nexus" / "locale" / "fr" / "LC_MESSAGES"
MARKED = re.compile(r"""{%\s*translate\s+(?:"([^"]+)"|'([^']+)')""")
FUZZY = re.compile(r"^#,.*fuzzy", re.MULTILINE)
BLOCK = re.compile(r"{% blocktranslate[^%]*%}(.*?){% endblocktranslate %}", re.DOTALL)
ENTRY = re.compile(r'^msgid ((?:".*"\n)+)msgstr ((?:".*"\n?)+)', re.MULTILINE)
COUNTED = re.compile(
    r'^msgid ((?:".*"\n)+)msgid_plural ((?:".*"\n)+)msgstr\[0\] ((?:".*"\n)+)msgstr\[1\] ((?:".*"\n?)+)', re.MULTILINE
)
IN_CODE = (
    "accounts/services/pages.py", "accounts/pages/*.py", "trading/pages/**/*.py", "nexus/console/*.py",
    "nexus/admin_site.py", "nexus/core/charts.py", "nexus/alerts/**/*.py",
)  # fmt: skip
CALLS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext"}


def _in_templates() -> Iterator[str]:
    for path in (ROOT / "templates").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        yield from (first or second for first, second in MARKED.findall(text))
        for block in BLOCK.findall(text):
            singular, _sep, _plural = block.partition("{% plural %}")
            yield re.sub(r"{{ (\w+) }}", r"%(\1)s", singular)


def _in_code() -> Iterator[str]:
    for pattern in IN_CODE:
        for path in ROOT.glob(pattern):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                    continue
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in CALLS:
                    yield str(node.args[0].value)


def _written() -> dict[Any, str]:
    """Read the translations as people edit them."""

    text = (FOLDER / "django.po").read_text(encoding="utf-8")
    return {_joined(source): _joined(target) for source, target in ENTRY.findall(text)}


def _counted() -> dict[Any, str]:
    """Read those that differ for one and for many."""
    text = (FOLDER / "django.po").read_text(encoding="utf-8")
    return {
        (_joined(source), number): _joined(target)
        for source, _plural, *targets in COUNTED.findall(text)
        for number, target in enumerate(targets)
    }


def _joined(lines: str) -> str:
    return "".join(ast.literal_eval(line) for line in lines.strip().splitlines())


def test_every_marked_text_has_its_french():
    marked = {*_in_templates(), *_in_code()}
    written = _written() | {source: text for (source, _number), text in _counted().items() if text}

    assert len(marked) > 150
    assert {text for text in marked if not written.get(text)} == set()
    assert set(written) - marked - {""} == set()


def test_no_french_is_a_guess_of_the_tools():
    assert FUZZY.findall((FOLDER / "django.po").read_text(encoding="utf-8")) == []


def test_what_is_filled_in_is_filled_in_in_both_languages():
    """A placeholder that only one of the two has is a page that fails, or a figure that is missing."""
    holes = re.compile(r"%\(\w+\)[sd]|{\w+}")
    for source, target in [*_written().items(), *((source, text) for (source, _number), text in _counted().items())]:
        if source:
            assert sorted(holes.findall(source)) == sorted(holes.findall(target)), source


def test_what_is_compiled_is_what_is_written():
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]

    assert {name: text for name, text in compiled.items() if name} == {
        name: text for name, text in (_written() | _counted()).items() if name
    }


@pytest.mark.parametrize("name", ["nexus", "trading", "console", "admin"])
def test_no_words_stand_in_a_template_unmarked(name):
    """Only names, signs and what is marked may stand between tags."""
    known = {
        "Nexus",
        "USD",
        "UTC",
        "[",
        "]",
        "|",
        "…",
        "?",
        "g",
        "j",
        "k",
        "o",
        "n",
        "!",
        "·",
        "–",
        "%",
        "/",
        "@",
        "≈",
        "−",
        "≥",
        "≤",
        "✓",
        "→",
        "+",
        "manage.py link_account",
        "python manage.py audit_verify",
        "Authorization: Bearer nxk_…",
        "English",
        "Français",
    }
    for path in (ROOT / "templates" / name).rglob("*.html"):
        text = BLOCK.sub("", path.read_text(encoding="utf-8"))
        for pattern in (r"{%.*?%}|{{.*?}}|{#.*?#}", r"<[^>]*>"):
            text = re.sub(pattern, "\n", text, flags=re.DOTALL)
        strays = {word for line in text.splitlines() for word in [line.strip(" ·:().,/")] if word and word not in known}
        assert strays == set(), path


def test_the_overview_speaks_french(trader, execute):
    execute()
    browser = Browser(language="fr").login(trader)

    text = browser.get("/").content.decode()

    assert '<html lang="fr">' in text
    assert "Derniers ordres" in text
    assert "FICTIF" in text
    assert re.search(r"data-live=\"balance\">\d+\u202f\d{3},\d\d<", text)
    assert "Exécuté" in text


@pytest.mark.django_db
def test_the_console_speaks_french_to_whoever_asks_for_it(floor):
    operator = UserFactory.create(role="OPERATOR")
    console = enter(operator)

    english = console.get("/admin/").content.decode()
    french = console.get("/admin/", headers={"accept-language": "fr"}).content.decode()
    stop = console.get("/admin/stop/", headers={"accept-language": "fr"}).content.decode()

    assert '<html lang="en' in english
    assert "What waits for people" in english
    assert '<html lang="fr"' in french
    assert "Ce qui attend quelqu" in french
    assert "EN MARCHE" in french
    assert "Arrêter la négociation" in stop
    assert "Annuler tous les ordres en cours" in stop
    assert "Stop trading" not in stop
    kept = Client()
    kept.cookies.update(console.cookies)
    kept.cookies["nexus_language"] = "fr"
    assert '<html lang="fr"' in kept.get("/admin/reviews/").content.decode()


def test_times_and_amounts_of_the_console_are_written_as_the_reader_does():
    at = datetime(2026, 11, 21, 9, 5, 2, tzinfo=UTC)
    assert (stamp(at), usd(Decimal("-1234567.5"))) == ("2026-11-21 09:05:02", "−1 234 567.5")
    with override("fr"):
        assert stamp(at) == "21 nov 2026 09:05:02"
        assert usd(Decimal("-1234567.5")) == "−1\u202f234\u202f567,5"


def test_the_language_is_chosen_and_kept(trader):
    browser = Browser(language="en").login(trader)

    answer = browser.send("/language", {"language": "fr", "next": "/security"})

    assert answer["Location"] == "/security"
    assert "Second facteur" in browser.get("/security").content.decode()
    assert browser.send("/language", {"language": "xx", "next": "/"}).cookies.get("nexus_language") is None
