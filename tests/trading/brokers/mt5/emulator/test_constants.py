"""The constants are those of the wheel, and the structures those of its compiled module."""

import hashlib
import pickle
import zipfile

import pytest

from trading.brokers.mt5.emulator import facade, generate, structures
from trading.brokers.mt5.emulator.structures import Structure, TradeDeal, TradeRequest, build

WHEEL_DIGEST = "d7de17a5e558f0a10afd43624e300669a9be0f07fb4cafec4d5052bf0bef2f51"
FIELD_COUNTS = {
    "TradePosition": 19, "TradeOrder": 24, "TradeDeal": 18, "TradeRequest": 17, "OrderSendResult": 11,
    "OrderCheckResult": 9, "Tick": 8, "AccountInfo": 28, "TerminalInfo": 22, "SymbolInfo": 96, "BookInfo": 4,
}  # fmt: skip


def test_holds_exactly_the_constants_of_the_wheel():
    text = "\n".join(f"{name}={value}" for name, value in sorted(facade.CONSTANTS.items()))

    assert len(facade.CONSTANTS) == 223
    assert hashlib.sha256(text.encode()).hexdigest() == WHEEL_DIGEST


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRADE_ACTION_CLOSE_BY", 10), ("ORDER_FILLING_BOC", 3), ("DEAL_TAX", 17), ("TIMEFRAME_MN1", 49153),
        ("COPY_TICKS_ALL", -1), ("SYMBOL_CALC_MODE_SERV_COLLATERAL", 64), ("RES_E_INTERNAL_FAIL_TIMEOUT", -10005),
    ],
)  # fmt: skip
def test_facade_offers_each_constant_as_an_integer(hedger, name, value):
    assert getattr(hedger.mt5, name) == value
    assert name in dir(hedger.mt5)


@pytest.mark.parametrize(
    "name", ["TRADE_RETCODE_HEDGE_PROHIBITED", "SYMBOL_FILLING_FOK", "VERSION", "broker", "control"]
)
def test_facade_lacks_what_the_wheel_lacks(hedger, name):
    with pytest.raises(AttributeError):
        getattr(hedger.mt5, name)


def test_facade_names_its_version(hedger):
    assert (hedger.mt5.__version__, hedger.mt5.__author__) == ("5.0.6231", "MetaQuotes Ltd.")


@pytest.mark.parametrize("name", ["Buy", "Sell", "Close"])
def test_forbids_the_convenience_functions(hedger, name):
    with pytest.raises(NotImplementedError):
        getattr(hedger.mt5, name)("EURUSD", 0.1)


def test_generator_reads_negative_numbers_and_flags_and_refuses_the_rest(tmp_path):
    def wheel(text: str):
        with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
            archive.writestr("MetaTrader5/__init__.py", text)
        return tmp_path / "a.whl"

    head = "__version__ = '9'\n__author__ = 'x'\n"
    found = generate.read_wheel(wheel(head + "A = -3\nB = 1 | 0x4000\nC = A\ndef f(): pass\n"))
    assert {name: found[name] for name in "ABC"} == {"A": -3, "B": 16385, "C": -3}
    assert generate.render(found).endswith('AUTHOR: Final = "x"\n\nA: Final = -3\nB: Final = 16385\nC: Final = -3\n')
    with pytest.raises(ValueError, match="line 1"):
        generate.read_wheel(wheel("A = f()"))


@pytest.mark.parametrize(("name", "count"), FIELD_COUNTS.items())
def test_structures_have_the_fields_of_the_original(name, count):
    kind = getattr(structures, name)

    assert len(kind.FIELDS) == count
    assert (kind.__name__, kind.__module__) == (name, "builtins")


def test_structure_behaves_like_a_structure_sequence(hedger):
    result = hedger.buy("EURUSD", 0.1)

    assert issubclass(type(result), tuple)
    assert type(result) is not tuple
    assert result.retcode == result[0] == 10009
    assert list(result._asdict()) == list(type(result).FIELDS)
    assert isinstance(result._asdict()["request"], TradeRequest)
    assert repr(result).startswith("OrderSendResult(retcode=10009, deal=")
    assert "request=TradeRequest(action=1, magic=" in repr(result)
    with pytest.raises(AttributeError):
        result.retcode = 1
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(result)


def test_structure_refuses_a_value_of_another_type():
    with pytest.raises(AssertionError, match=r"TradeDeal\.price is 1, not float"):
        build(TradeDeal, {"price": 1})
    with pytest.raises(AssertionError, match="has no"):
        build(TradeDeal, {"prise": 1.0})
    assert isinstance(build(TradeDeal, {}), Structure)
