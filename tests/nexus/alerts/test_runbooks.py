"""Every alert that the code opens has a runbook, each of its parts, and links that lead somewhere."""

import ast
import html
import re
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import translation
from django.utils.timezone import now

from nexus.alerts import rules
from nexus.alerts.models import Alert, Delivery
from nexus.alerts.services import alerts, delivery
from nexus.alerts.services.headlines import headline
from nexus.alerts.states import Severity, Word
from risk.states import Suspicion, Trigger
from tests.nexus.console.conftest import console, floor, operators

__all__ = ["console", "floor", "operators"]

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docs" / "runbooks"
APPS = ("accounts", "nexus", "payments", "reconciliation", "risk", "trading")
KIND = re.compile(r"[A-Z]+(?:_[A-Z]+)*")
TRANSLATED = {"fr": ("Cela signifie", "Regarder d'abord", "Faire", "C'est terminé quand", "Jamais")}
PARTS = ("It means", "Look first", "Do", "It is over when", "Never")
FAMILY_NAMES = {"STOP_": Trigger, "SUSPICION_": Suspicion}


def anchor_of(heading: str) -> str:
    """Return what a heading is linked by, as GitHub and the console have it."""
    return re.sub(r"[^a-z0-9_ -]", "", heading.lower()).strip().replace(" ", "-")


def sections(folder: Path = FOLDER) -> dict[tuple[str, str], str]:
    """Return the text under each heading of each runbook, by file and anchor."""
    found = {}
    for path in folder.glob("*.md"):
        for part in re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            heading, _, text = part.partition("\n")
            found[path.stem, anchor_of(heading)] = text
    return found


def opened() -> set[str]:
    """Return every kind that the code opens, read off it: families by what their names begin with.

    A kind is written at the call, or in the same module as a name or as the key of what is looped over.
    """
    kinds: set[str] = set()
    for path in (each for app in APPS for each in (ROOT / app).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call) and _name(each.func) == "open_alert"]
        for call in calls:
            kind = next(each.value for each in call.keywords if each.arg == "kind")
            here = _words(kind) or _words_of_module(tree)
            assert here, f"{path}:{call.lineno}: nobody can tell which alert this opens"
            kinds |= here
    return kinds


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _words(node: ast.AST) -> set[str]:
    if isinstance(node, ast.JoinedStr):
        first = node.values[0]
        return {str(first.value)} if isinstance(first, ast.Constant) and first.value in rules.FAMILIES else set()
    return {
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and KIND.fullmatch(each.value)
    }


def _words_of_module(tree: ast.Module) -> set[str]:
    keys = [key for each in ast.walk(tree) if isinstance(each, ast.Dict) for key in each.keys if key is not None]
    names = [each.value for each in tree.body if isinstance(each, ast.Assign)]
    return {kind for node in (*keys, *names) for kind in _words(node)}


def test_every_kind_that_the_code_opens_has_its_section_and_no_section_is_left_over():
    kinds, written = opened(), sections()

    assert len(kinds) > 25
    for kind in kinds:
        place = rules.runbook(kind)
        assert place != rules.INDEX, f"{kind} has no runbook"
        assert (place.name, place.anchor) in written, kind
    assert {(place.name, place.anchor) for place in map(rules.runbook, kinds)} == set(written)


def test_every_member_of_a_family_is_named_in_its_section():
    written = sections()

    assert set(FAMILY_NAMES) == set(rules.FAMILIES)
    for family, names in FAMILY_NAMES.items():
        place = rules.runbook(family + "ANYTHING")
        for name in names:
            assert f"`{family}{name.value}`" in written[place.name, place.anchor]


@pytest.mark.parametrize("part", PARTS)
def test_every_section_says_each_of_the_five_things(part):
    for place, text in sections().items():
        assert f"**{part}:**" in text, (place, part)


def test_every_section_says_how_loud_it_is_as_the_code_does():
    for place, text in sections().items():
        assert re.match(r"\n(CRITICAL|WARNING)\.", text), place


def test_every_link_of_a_runbook_leads_to_a_file_and_a_heading_of_it():
    for path in [*FOLDER.rglob("*.md"), ROOT / "docs" / "alerts.md"]:
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            if target.startswith("https:"):
                continue
            name, _, anchor = target.partition("#")
            file = path.parent / name if name else path
            assert file.is_file(), (path.name, target)
            if anchor:
                lines = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {anchor_of(line) for line in lines}, (path.name, target)


def test_every_command_that_a_runbook_names_exists():
    commands = {path.stem for app in APPS for path in (ROOT / app).rglob("management/commands/*.py")}

    told = [text for folder in (FOLDER, *(FOLDER / each for each in TRANSLATED)) for text in sections(folder).values()]
    named = {name for text in told for name in re.findall(r"manage\.py ([a-z_]+)", text)}

    assert named
    assert named <= commands


def test_the_console_shows_each_runbook_with_the_headings_that_alerts_link_to(console):
    for name, anchor in sections():
        answer = console.get(f"/admin/runbooks/{name}/")
        assert answer.status_code == 200
        page = answer.content.decode()
        assert f'id="{anchor}"' in page
        for target in re.findall(r'href="(/admin/runbooks/[^"#]*)', page):
            assert console.get(target).status_code == 200
        assert ".md" not in re.sub(r"<code>.*?</code>", "", page)
    assert console.get("/admin/runbooks/nothing/").status_code == 404
    assert "Before anything else" in console.get("/admin/runbooks/").content.decode()


def test_an_alert_leads_to_its_runbook_in_message_console_and_model(console, settings):
    with transaction.atomic():
        alerts.open_alert(
            severity=Severity.CRITICAL, kind="ORDER_UNKNOWN", dedupe_key="k", text="Somebody must look.", at=now()
        )
    alert = Alert.objects.get()
    message = Delivery(alert=alert, word=Word.OPENED)

    assert "What to do: docs/runbooks/orders.md#order_unknown\n" in delivery.words(message)[1]
    settings.PUBLIC_URL = "https://nexus.desk.example/"
    assert "What to do: https://nexus.desk.example/admin/runbooks/orders/#order_unknown\n" in delivery.words(message)[1]
    for page in ("/admin/", "/admin/alerts/"):
        assert '/admin/runbooks/orders/#order_unknown"' in html.unescape(console.get(page).content.decode())


def test_a_kind_that_nobody_knows_leads_to_the_list(settings):
    settings.PUBLIC_URL = "https://nexus.desk.example"

    assert rules.runbook("SOMETHING_NEW") == rules.INDEX
    assert Alert(kind="SOMETHING_NEW").runbook == "https://nexus.desk.example/admin/runbooks/"


@pytest.mark.parametrize("language", sorted(TRANSLATED))
def test_a_translation_has_the_same_sections_parts_steps_loudness_and_words_of_the_machine(language):
    ours, theirs = sections(), sections(FOLDER / language)

    assert set(ours) == set(theirs)
    for place, text in theirs.items():
        for part, own in zip(TRANSLATED[language], PARTS, strict=True):
            assert (f"**{part} :**" in text) == (f"**{own}:**" in ours[place]), (place, part)
        for same in (r"^\n[A-Z]+\.", r"^\d\.", r"`[^`]+`"):
            found = [sorted(re.findall(same, each, re.MULTILINE)) for each in (text, ours[place])]
            if place != ("audit", "audit_not_clean"):  # which names a table that the French page calls by its way
                assert found[0] == found[1], (place, same)


def test_the_console_shows_runbooks_in_the_language_of_whoever_looks(console):
    console.cookies["nexus_language"] = "fr"
    for name, anchor in sections(FOLDER / "fr"):
        page = console.get(f"/admin/runbooks/{name}/").content.decode()
        assert f'id="{anchor}"' in page
        assert 'runbook" lang="fr"' in page
        assert "Cela signifie" in page
        for target in re.findall(r'href="(/admin/runbooks/[^"#]*)', page):
            assert console.get(target).status_code == 200
        assert ".md" not in re.sub(r"<code>.*?</code>", "", page)


def test_every_kind_has_a_headline_in_both_languages():
    for kind in opened() | {"STOP_DAILY_LOSS", "SUSPICION_BURST"}:
        if kind in rules.FAMILIES:
            continue
        english = headline(kind)
        assert english != kind, kind
        with translation.override("fr"):
            assert headline(kind) not in (kind, english), kind
    assert headline("NOBODY_KNOWS_IT") == "NOBODY_KNOWS_IT"
