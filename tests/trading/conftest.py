"""The trading floor of the tests: a paper broker behind a real gateway, a trader with an account, orders to place."""

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from django.utils.timezone import now

from accounts.models import User
from accounts.states import Role
from nexus.audit.types import Actor
from nexus.idempotency.services import records
from nexus.idempotency.services.records import RequestKey
from risk.models import TradingControl
from risk.services import changes, sights
from risk.states import ControlScope, LimitKind, LimitScope, StopLevel
from tests import invariants, stops
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.fakes import paper as paper_broker
from tests.fakes.paper import LOGIN, Paper
from tests.stops import stop
from tests.trading.desk import LIMIT, MARKET, act, place, position_of
from tests.trading.sweeps import books
from trading.brokers import registry
from trading.brokers.mt5 import session
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import ChangeRequest, TradeLedger, TradingAccount
from trading.services import accounts, lost, orders
from trading.states import Side
from trading.types import OrderIntent

TESTER = Actor.system("tests")


@pytest.fixture
def floor(transactional_db: None, settings: Any) -> None:
    """An installed system: the switch has its row, which the flush between tests takes away."""
    settings.GATEWAY_TOKEN = paper_broker.TOKEN
    settings.ORDERS_PER_SECOND = Decimal(1000)  # races send more at once than people do
    TradingControl.objects.get_or_create(
        scope=ControlScope.SYSTEM,
        key="",
        defaults={"level": StopLevel.ACTIVE, "reason": "Installed.", "set_by": "tests", "set_at": now()},
    )


@pytest.fixture
def paper(floor: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paper]:
    """A paper broker that quotes EURUSD at 1.08490 / 1.08500."""
    monkeypatch.setattr(session, "CLOCK_WAIT_S", 0)
    with paper_broker.paper(tmp_path) as running:
        settings.MT5_GATEWAY_URL = running.url
        running.quote("EURUSD", "1.08490", "1.08500")
        yield running
        registry.close()


@pytest.fixture(autouse=True)
def _always_true(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test has done, the invariants hold afterwards. A module that speaks for the broker says so."""
    names = set(request.fixturenames)
    if "floor" not in names:
        yield
        return
    request.getfixturevalue("floor")
    running = request.getfixturevalue("paper") if "paper" in names else None
    since = invariants.newest_event()
    yield
    is_invented = getattr(request.module, "SPEAKS_FOR_THE_BROKER", False)
    invariants.assert_always_true(running, since=since, is_invented=is_invented)


@pytest.fixture
def trader(paper: Paper) -> User:
    """A trader with one paper account, whose broker's clock is known."""
    user = UserFactory.create()
    account = link(user)
    broker = accounts.broker_of(account)
    broker.snapshot(symbols=["EURUSD"])
    paper.quote("EURUSD", "1.08490", "1.08500")
    broker.snapshot(symbols=["EURUSD"])
    return user


def link(user: User) -> TradingAccount:
    """Link the paper account to somebody, as reconciled: most tests begin after that."""
    account = accounts.link(
        user_id=user.pk,
        name="Paper",
        venue="mt5",
        venue_account=str(paper_broker.LOGIN),
        server=paper_broker.SERVER,
        is_live=False,
        actor=TESTER,
        at=now(),
    )
    sights.note(account_id=account.pk)
    return account


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """This server's clock is ahead of the database's."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=1.5)

    monkeypatch.setattr(timezone, "datetime", Ahead)


@pytest.fixture
def account(trader: User) -> TradingAccount:
    """The trader's account."""
    return TradingAccount.objects.get(user=trader)


def brief(**changes: Any) -> OrderIntent:
    """The brief's own trade; `changes` replaces fields."""
    usual: dict[str, Any] = {
        "symbol": "EURUSD",
        "side": Side.BUY,
        "quantity": Decimal("0.1"),
        "entry_price": Decimal("1.0850"),
        "stop_loss": Decimal("1.0800"),
        "take_profit": Decimal("1.0900"),
    }
    return OrderIntent(**(usual | changes))


@pytest.fixture
def client(trader: User) -> ApiClient:
    """The trader, logged in to the API."""
    return ApiClient().login(trader)


@pytest.fixture
def busy(client: ApiClient, paper: Paper, account: TradingAccount, settings: Any) -> TradingAccount:
    """An account with two positions and two working orders, one of each not ours."""
    settings.MAX_POSITION_SIZE = Decimal(10**9)
    settings.DAILY_LOSS_LIMIT = Decimal(10**6)
    place(client, MARKET)
    place(client, LIMIT)
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")
    paper.control.manual_order(LOGIN, "EURUSD", mt5.ORDER_TYPE_BUY_LIMIT, "0.2", "1.05")
    assert books(paper) == (2, 2)
    return account


@pytest.fixture
def execute(trader: User, account: TradingAccount) -> Callable[..., TradeLedger]:
    """Place an order through the service and return it as it stands."""

    def place(intent: OrderIntent | None = None, *, key: str = "", at: datetime | None = None) -> TradeLedger:
        request = RequestKey(
            principal=str(trader.public_id),
            account=str(account.public_id),
            key=key or uuid.uuid4().hex,
            fingerprint=records.fingerprint(method="POST", path="/trading/execute", body={}),
        )
        found = orders.execute(user=trader, account=account, intent=intent or brief(), key=request, at=at or now())
        return found.order

    return place


def limit(kind: LimitKind, value: str, *, user: User) -> None:
    """Set a limit of a user, tighter than any before."""
    changes.lower(
        scope=LimitScope.USER,
        key=str(user.pk),
        kind=kind,
        value=Decimal(value),
        reason="A test.",
        actor=TESTER,
        at=now(),
    )


@pytest.fixture
def people(floor) -> tuple[User, User, User]:
    """Three operators."""
    first, second, third = (UserFactory.create(role=Role.OPERATOR) for _ in range(3))
    return first, second, third


@pytest.fixture
def halted(people, account) -> Any:
    """An account under a stop of the system, looked at since."""
    stop()
    stops.reconciled(account)
    return account


@pytest.fixture
def lose(client: ApiClient, paper: Paper) -> Callable[..., ChangeRequest]:
    """Lose the answer to a change of a kind; it has arrived or has not. People have been told of it."""

    def lose(kind: str, *, arrives: bool = False) -> ChangeRequest:
        placed = place(client, MARKET if kind == "STOPS" else LIMIT)
        paper.control.inject("timeout_after_accept" if arrives else "timeout_before_accept")
        if kind == "STOPS":
            act(client, f"/trading/positions/{position_of(client)['id']}", {"stop_loss": "1.0790"}, method="patch")
        elif kind == "TERMS":
            wanted = {"limit_price": "1.08300", "stop_loss": "1.07700"}
            act(client, f"/trading/orders/{placed['id']}", wanted, method="patch")
        else:
            act(client, f"/trading/orders/{placed['id']}/cancel")
        ChangeRequest.objects.update(sent_at=F("sent_at") - timedelta(seconds=65))
        lost.tell(at=now())
        change = ChangeRequest.objects.get()
        assert (change.kind, change.state) == (kind, "UNKNOWN")
        return change

    return lose
