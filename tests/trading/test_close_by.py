"""A position is closed by an opposite one: the same comes of it by whatever way it becomes known, and also where
somebody closes a part of one at the terminal meanwhile, so that less is closed than was asked.
"""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from tests.trading.conftest import brief
from tests.trading.desk import MARKET, act, place
from tests.trading.sweeps import books, flatten, sweep_now
from tests.trading.ways import BUT, PART, WHOLE, D, Desk, Said, expected, told, ways
from trading.brokers.mt5.adapter import Mt5Broker
from trading.models import BrokerPosition, TradeLedger
from trading.states import Side, VenueState
from trading.types import FillReport, OrderIntent


@dataclass(frozen=True)
class By(Said):
    """What a broker says of a close by another position: each fill of one is a fill of the other, the other way."""

    other: str = ""

    def fills(self, order: Any) -> tuple[FillReport, ...]:
        own = super().fills(order)
        back = Side(order.side).opposite
        return own + tuple(
            replace(each, venue_fill_id=f"{each.venue_fill_id}-B", venue_position_id=self.other, side=back)
            for each in own
        )


SPEAKS_FOR_THE_BROKER = True  # its reports are made up: the paper broker has never heard of them

ENDS_BY = {
    "closed": (VenueState.FILLED, (WHOLE,)),
    "a part closed": (VenueState.FILLED, (PART,)),
    "not closed": (VenueState.REJECTED, ()),
}
WAYS = [(name, way) for name, (state, parts) in ENDS_BY.items() for way in ways(Said(state, parts))]


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_a_close_by_another_has_its_consequences_by_every_way(
    execute, account, trader, monkeypatch, new_events, name, way
):
    """It reserves nothing, gives nothing back, has no slippage, and both positions are less by what was closed."""
    desk = Desk(execute, account, trader, monkeypatch)
    for opening in (desk.intent, brief(side=Side.SELL, stop_loss=D("1.09"), take_profit=None)):
        execute(opening)
    Alert.objects.update(closed_at=now())  # that they are opposite looks suspicious
    bought, sold = BrokerPosition.objects.order_by("pk")
    desk.intent = OrderIntent(
        "EURUSD", Side.SELL, D("0.1"), venue_position_id=bought.venue_position_id,
        other_position_id=sold.venue_position_id,
    )  # fmt: skip

    def answers(submit: Any) -> None:
        def close_by(_: Mt5Broker, *, client_order_id: str, **__: Any) -> Any:
            return submit(TradeLedger.objects.get(client_order_id=client_order_id))

        monkeypatch.setattr(Mt5Broker, "close_by", close_by)

    monkeypatch.setattr(desk, "answers", answers)
    state, parts = ENDS_BY[name]
    said = By(
        state, parts, position=bought.venue_position_id, other=sold.venue_position_id, code="" if parts else "10019"
    )

    order = way(desk, said)

    ended = replace(said, state=VenueState.CANCELED) if name == "a part closed" else said  # of the rest nothing comes
    wanted = expected(ended) | BUT.get(way, lambda _: {})(said)
    found = told(order, desk, new_events())
    left = D("0.1") - sum((D(quantity) for quantity, _ in parts), start=D(0))
    assert sorted(each[0] for each in found.pop("positions")) == [-left, left]
    wanted["fills"] = sorted([(*each[:2], None, each[3]) for each in wanted["fills"]] * 2)
    moves = found.pop("moves in the audit"), wanted.pop("moves in the audit")  # a part, and then its end
    nothing = {"adjustments": [], "given back": (0, 0), "failures": 0, "stops awaited": False}
    assert found | {"positions": []} == wanted | nothing | {"positions": []}
    assert moves[0] >= moves[1]


# --- Less than was asked --------------------------------------------------------------------------------------------
@pytest.fixture
def less(client, paper, monkeypatch) -> dict[str, Any]:
    """A close of 0.02 lots by an opposite position, of which somebody closes the half just before."""
    place(client, MARKET)
    place(client, MARKET | {"action": "SELL", "quantity": "0.02", "stop_loss": "1.0900"})
    bought, sold = sorted(client.get("/trading/positions").json()["results"], key=lambda row: row["side"])
    real = Mt5Broker.close_by

    def close_by(broker: Mt5Broker, *, other_position_id: str, **what: Any) -> Any:
        paper.control.manual_close(paper.login, int(other_position_id), "0.01")
        return real(broker, other_position_id=other_position_id, **what)

    monkeypatch.setattr(Mt5Broker, "close_by", close_by)
    answer: dict[str, Any] = act(client, f"/trading/positions/{bought['id']}/close", {"against": sold["id"]}).json()
    return answer


def test_what_the_broker_did_not_close_is_canceled(less, paper):
    assert (less["status"], less["filled_quantity"], less["quantity"]) == ("CANCELED", "0.01", "0.02")
    assert sorted(BrokerPosition.objects.values_list("quantity", flat=True)) == [D("-0.01"), D("0.02")]


def test_the_rest_can_be_closed_and_is_flattened(less, paper):
    flatten()
    sweep_now()

    assert books(paper) == (0, 0)
    assert not TradeLedger.objects.open().exists()
