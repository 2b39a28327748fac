"""Money that was paid in hides no loss of the day, whether or not anybody has told of it."""

from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal

import pytest
from django.db import transaction
from django.utils.timezone import now

from nexus.audit.types import Actor
from nexus.core.errors import Unreachable
from risk.models import AccountDay
from tests.factories.accounts import UserFactory
from tests.fakes.paper import LOGIN
from tests.trading.conftest import brief
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import AccountFigures, CashMovement, Fill, TradingAccount
from trading.services import accounts, balances, corrections, facts, watch
from trading.services.corrections import Origin
from trading.states import CashKind, CorrectionKind, Side


def look(account):
    watch.look(account_id=account.pk, at=now())


def lost(execute, stop_loss="1.0740"):
    """Return what an order found lost today."""
    order = execute(brief(entry_price=None, stop_loss=Decimal(stop_loss), take_profit=None))
    return next(check for check in order.checks if check["name"] == "DAILY_LOSS")["used"]


@pytest.fixture
def stopped_out(execute, paper, account, settings):
    """A trader who has lost 60 today, and everybody knows."""
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    settings.DAILY_LOSS_PERCENT = Decimal(50)
    look(account)
    execute()
    paper.quote("EURUSD", "1.07900", "1.07910")
    look(account)


def test_a_deposit_that_nobody_has_told_of_hides_no_loss(stopped_out, execute, paper, account):
    paper.control.balance(LOGIN, "1000", comment="mobile money")

    before = lost(execute)
    assert not CashMovement.objects.filter(amount=1000).exists()
    look(account)
    assert CashMovement.objects.filter(amount=1000).exists()

    assert before == "60"
    assert AccountDay.objects.get().cash_flow == 1000


@pytest.fixture
def stopped_out_unseen(execute, paper, account, settings, monkeypatch):
    """A trader whose stop was hit: 60 are lost, and only the broker knows."""
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    monkeypatch.setattr(facts, "LISTED_WITHIN", timedelta(0))  # what has filled is listed by now
    look(account)
    execute()
    look(account)
    paper.quote("EURUSD", "1.07900", "1.07910")


@pytest.mark.parametrize("amounts", [["30"], ["60"], ["1000"], ["1000", "-970"], ["-30"]])
def test_a_deposit_hides_no_loss_that_nobody_has_booked_yet(stopped_out_unseen, execute, paper, account, amounts):
    for amount in amounts:
        paper.control.balance(LOGIN, amount)

    assert lost(execute) == ("90" if amounts == ["-30"] else "60")  # what has gone is a loss until somebody told of it


def test_a_part_that_was_closed_at_the_terminal_hides_no_loss_either(execute, paper, account, settings, monkeypatch):
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    monkeypatch.setattr(facts, "LISTED_WITHIN", timedelta(0))
    look(account)
    execute(brief(stop_loss=Decimal("1.0740"), take_profit=None))
    look(account)
    paper.quote("EURUSD", "1.07900", "1.07910")  # 60 are lost: 30 of them for good, which only the broker knows
    paper.control.manual_close(LOGIN, int(paper.truth()["positions"][0]["ticket"]), "0.05")
    paper.control.balance(LOGIN, "30")

    order = execute(brief(entry_price=None, stop_loss=Decimal("1.0740"), take_profit=None))
    checks = {check["name"]: check for check in order.checks}
    open_risk = Decimal(5000) * (Decimal("1.07900") - Decimal("1.0740") * (1 - settings.GAP_ALLOWANCE))

    assert Decimal(checks["DAILY_LOSS"]["used"]) == 60 + open_risk.quantize(Decimal("0.01"), ROUND_CEILING)


def test_an_ordinary_order_reads_nothing_of_it(execute, paper, account, settings, monkeypatch):
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    broker, asked = type(accounts.broker_of(account)), []
    whole = broker.cash_since

    def ask(self, at):
        asked.append(at)
        return whole(self, at)

    monkeypatch.setattr(broker, "cash_since", ask)
    look(account)
    held = [execute(brief(entry_price=None, take_profit=None)) for _ in range(3)]

    position = Fill.objects.get(order=held[0]).venue_position_id
    closing = brief(side=Side.SELL, stop_loss=None, take_profit=None, venue_position_id=position, entry_price=None)
    statuses = [execute(closing).status, execute(brief(entry_price=None, take_profit=None)).status]

    assert (statuses, asked) == (["FILLED", "FILLED"], [])


def test_what_was_paid_in_and_cannot_be_read_opens_nothing(stopped_out_unseen, execute, paper, account, monkeypatch):
    def refuse(self, at):
        raise Unreachable("a test")

    monkeypatch.setattr(type(accounts.broker_of(account)), "cash_since", refuse)

    order = execute(brief(entry_price=None, stop_loss=Decimal("1.0740"), take_profit=None))

    assert (order.status, order.reason) == ("REJECTED", "BROKER_UNAVAILABLE")


def test_credit_that_nobody_has_told_of_hides_no_loss(stopped_out, execute, paper, account):
    paper.control.balance(LOGIN, "1000", kind=mt5.DEAL_TYPE_CREDIT)

    before = lost(execute)
    assert not CashMovement.objects.filter(kind=CashKind.CREDIT).exists()
    look(account)
    assert CashMovement.objects.filter(kind=CashKind.CREDIT).exists()

    assert before == "60"
    assert AccountDay.objects.get().cash_flow == 1000


def test_credit_that_is_told_counts_once_and_taken_back_it_is_no_loss(stopped_out, execute, paper, account):
    for amount in ("1000", "-1000"):
        paper.control.balance(LOGIN, amount, kind=mt5.DEAL_TYPE_CREDIT)
        look(account)
        assert AccountFigures.objects.get().loss_today == 60

    assert lost(execute) == "60"


def test_credit_from_before_we_began_is_in_the_day_s_first_equity(execute, paper, account, monkeypatch):
    monkeypatch.setattr(watch, "_since_we_began", lambda *_: [])
    paper.control.balance(LOGIN, "1000", kind=mt5.DEAL_TYPE_CREDIT)
    look(account)

    assert AccountFigures.objects.get().unexplained_before == 101_000
    assert lost(execute) == "0"


@pytest.mark.parametrize("amount", ["-1000", "1000"])
def test_what_moves_on_somebody_else_s_account_is_neither_a_loss_nor_a_deposit_here(
    stopped_out, execute, paper, amount
):
    other = TradingAccount.objects.create(
        user=UserFactory.create(), name="Other", venue="mt5", venue_account="1", currency="USD", created_at=now()
    )
    moved = {"kind": CashKind.TRANSFER, "amount": Decimal(amount), "moved_at": now(), "booked_at": now()}
    CashMovement.objects.create(account=other, venue_cash_id="1", **moved)
    paper.control.balance(LOGIN, "1000", comment="mobile money")

    assert lost(execute) == "60"


def test_a_profit_is_no_deposit(execute, paper, account, settings):
    settings.MAX_POSITION_SIZE = Decimal(1_000_000)
    look(account)
    execute()
    paper.quote("EURUSD", "1.09200", "1.09210")  # the target is hit
    look(account)

    assert lost(execute, stop_loss="1.0870") == "0"


def test_what_the_books_had_missed_before_the_day_is_in_its_first_equity(stopped_out, execute, account):
    yesterday = now() - timedelta(days=1)
    find(account, "-300")  # now the broker has 300 that nobody can explain
    AccountFigures.objects.update(trading_date=yesterday.date())
    look(account)

    assert AccountFigures.objects.get().unexplained_before == 300
    assert lost(execute) == "60"


def test_money_that_is_found_and_explained_by_nothing_is_no_profit(stopped_out, account):
    find(account, "300")

    assert AccountDay.objects.get().cash_flow == 300


def test_money_that_the_day_began_with_is_found_without_counting_twice(stopped_out, account):
    AccountFigures.objects.update(unexplained_before=200)

    find(account, "300")
    find(account, "-50")

    assert AccountDay.objects.get().cash_flow == 100


def test_the_sum_grows_to_what_the_books_hold_in_all(stopped_out, paper, account, monkeypatch):
    monkeypatch.setattr(balances, "SETTLED", timedelta(0))
    for amount in ("500", "-20"):
        paper.control.balance(LOGIN, amount)
        paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
        look(account)
    look(account)
    row = AccountFigures.objects.get()
    grown = row.explained

    AccountFigures.objects.update(trading_date=now().date() - timedelta(days=1))
    look(account)

    assert grown == AccountFigures.objects.get().explained == 100_000 - 60 + 500 - 20


@pytest.mark.parametrize("during", ["snapshot", "news"])
def test_money_that_moves_during_a_look_is_no_loss(stopped_out, paper, account, monkeypatch, during):
    """Equity from before a deposit, held against a day that has it already, would stop the account for its size."""
    deposit_before(during, paper, account, monkeypatch)

    look(account)

    assert AccountDay.objects.get().cash_flow == 5000
    assert AccountFigures.objects.get().loss_today == 60


@pytest.mark.parametrize("during", ["snapshot", "news"])
def test_money_that_moves_during_the_day_s_first_look_counts_once(paper, account, monkeypatch, during):
    deposit_before(during, paper, account, monkeypatch)

    look(account)
    look(account)

    day = AccountDay.objects.get()
    assert day.equity_start + day.cash_flow == 105_000
    assert AccountFigures.objects.get().loss_today == 0


def test_a_deposit_that_a_late_clock_dates_before_the_first_look_hides_no_loss(paper, account, monkeypatch):
    began = watch._since_we_began
    monkeypatch.setattr(
        watch,
        "_since_we_began",
        lambda *given: [replace(each, moved_at=each.moved_at - timedelta(seconds=50)) for each in began(*given)],
    )
    look(account)
    paper.control.balance(LOGIN, "5000")

    look(account)

    assert AccountDay.objects.get().cash_flow == 5000


def deposit_before(during, paper, account, monkeypatch):
    """Let 5,000 be paid in just before the broker is asked for something, once."""
    broker = type(accounts.broker_of(account))
    asked, left = getattr(broker, during), ["5000"]

    def pay_first(self, **given):
        if left:
            paper.control.balance(LOGIN, left.pop())
        return asked(self, **given)

    monkeypatch.setattr(broker, during, pay_first)


def find(account, amount):
    """Let reconciliation correct the expected balance."""
    origin = Origin(CorrectionKind.AUTOMATIC, "found", Actor.system("tests"), as_of=amount)
    with transaction.atomic():
        corrections.restate_cash(account, Decimal(amount), balance=Decimal(amount), origin=origin, at=now())
