"""Every code that the software can say is explained, in both languages, and no other is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import translation

from risk.rules import gate
from risk.states import LimitKind
from tests.pages.conftest import Browser
from trading.brokers.mt5 import outcomes
from trading.pages import refusals, words

ROOT = Path(__file__).resolve().parents[2]
APPS = ("accounts", "nexus", "reconciliation", "risk", "trading")
CODE = re.compile(r"[A-Z]+(_[A-Z]+)+")
LOWER = re.compile(r"[a-z]+(_[a-z]+)*")
# Where reasons of orders are written: the rules that judge, and the services that ask and decide.
JUDGES = ("risk/rules/*.py", "trading/rules.py", "trading/services/*.py", "trading/selectors/*.py")
NOT_REASONS = {
    "PRICE_COLLAR_EXCEEDS_LIMIT",  # said as PRICE_OUTSIDE_COLLAR
    "GATEWAY_TOKEN", "ALPACA_KEYS", "ALPACA_FEED", "ALPACA_ENABLED", "MT5_FILLINGS", "MT5_GATEWAY_URL",
    "MT5_GATEWAY_CA", "MT5_GATEWAY_CERT", "MT5_GATEWAY_KEY", "MT5_DEMO_SERVERS",
}  # fmt: skip


def _trees(*patterns: str) -> Iterator[ast.Module]:
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            yield ast.parse(path.read_text(encoding="utf-8"))


def _texts(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and CODE.fullmatch(each.value):
            yield each.value


def _reasons() -> set[str]:
    """Collect what is written as a reason: in a check, as `reason=`, in an unknown figure, or returned as a fault."""
    found: set[str] = set()
    for tree in _trees(*JUDGES):
        for node in ast.walk(tree):
            for said in _said_by(node):
                found.update(_texts(said))
    for kind in LimitKind:
        found |= {f"{kind.value}_NOT_SET"}
        if kind.value != "TRADE_VALUE_MIN":
            found.add(f"{kind.value}_EXCEEDS_LIMIT")
    for stop in ("STOP_LOSS", "TAKE_PROFIT"):
        found |= {f"{stop}_WRONG_SIDE", f"{stop}_TOO_NEAR"}
    return found - {rule.name for rule in gate.GATE} - NOT_REASONS


def _said_by(node: ast.AST) -> list[ast.AST]:
    """Return the parts of a statement that name a reason."""
    match node:
        case ast.Call(func=ast.Name(id="Check"), args=args, keywords=named):
            return [*args[1:2], *(each.value for each in named if each.arg == "reason")]
        case ast.Call(func=ast.Name(id="_age"), args=args):
            return [*args[1:2]]
        case ast.Call(func=ast.Name(id="Unknown" | "Missing"), args=args):
            return [*args[:1]]
        case ast.Call(func=ast.Name(id="Refused"), keywords=named):
            return [each.value for each in named if each.arg == "code"]
        case ast.Call(keywords=named):
            return [each.value for each in named if each.arg in ("reason", "fault", "code")]
        case ast.Assign(targets=[ast.Name(id="reason" | "fault" | "REVIEW")], value=value):
            return [value]
        case ast.Return(value=ast.Constant() | ast.IfExp() as value):
            return [value]
        case ast.BoolOp(op=ast.Or()):
            return [node]
    return []


def _from_brokers() -> set[str]:
    """Collect what becomes `BROKER_…`: the refusals of adapters and gateways, and the codes of MetaTrader."""
    found = {"UNREACHABLE"}
    for tree in _trees("trading/brokers/alpaca/*.py", "trading/brokers/mt5/*.py", "trading/brokers/mt5/gateway/*.py"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                found.update(*(_texts(each.value) for each in node.keywords if each.arg == "code"))
            match node:
                case ast.Call(func=ast.Name(id="_refusal"), args=[_, ast.Constant(value=str(code)), *_]):
                    found.add(code)
    numbers = {
        str(code) for code, meaning in {**outcomes.RETCODES, **outcomes._NOTHING_SENT}.items() if meaning.is_refusal
    }
    return {f"BROKER_{code}" for code in found | numbers}


def _problems() -> set[str]:
    """Collect the codes of every refusal that an answer can carry."""
    found: set[str] = set()
    for tree in _trees(*(f"{app}/**/*.py" for app in APPS)):
        for node in ast.walk(tree):
            match node:
                case ast.ClassDef(body=body):
                    for each in body:
                        match each:
                            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))) if code:
                                found.add(code)
                case ast.Assign(targets=[ast.Attribute(attr="code")], value=ast.Constant(value=str(code))):
                    found.add(code)
    return {code for code in found if LOWER.fullmatch(code)}


def test_the_collector_finds_what_is_there():
    found = _reasons()

    assert {"TRADING_HALTED", "QUOTE_STALE", "MARGIN_EXCEEDS_FREE", "STOP_LOSS_REQUIRED", "NOT_AT_BROKER"} <= found
    assert {"POSITION_NOT_FOUND", "INTENT_TOO_OLD", "REVIEW_DEMANDED", "COOLDOWN_NOT_OVER"} <= found
    assert "position_closed" in _problems()


@pytest.mark.parametrize("name", ["refusals.md", "refusals.fr.md"])
def test_every_code_is_explained_and_no_other(name):
    explained = refusals.read(name)
    said = _reasons() | _from_brokers() | _problems()

    assert said - set(explained) == set()
    assert set(explained) - said == set()
    assert all(each.title and all(each.paragraphs) for each in explained.values())


def test_both_languages_explain_in_their_own_words():
    english, french = refusals.read("refusals.md"), refusals.read("refusals.fr.md")

    assert list(english) == list(french)
    assert [code for code in english if english[code].paragraphs == french[code].paragraphs] == []


def test_every_check_of_the_gate_has_words():
    assert {rule.name for rule in gate.GATE} == set(words.CHECKS)


@pytest.mark.django_db
def test_the_page_has_a_place_for_each_code():
    for language in ("en", "fr"):
        text = Browser(language=language).get("/help/refusals").content.decode()
        with translation.override(language):
            for code, each in refusals.known().items():
                assert f'id="{code}"' in text, code
                assert each.title
