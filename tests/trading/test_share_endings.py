"""How orders of shares end, from the broker's words to what the owner sees, however and whenever that is heard."""

from decimal import Decimal
from itertools import product

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.idempotency.models import IdempotencyRecord
from risk.models import RiskAdjustment
from tests.trading.desk import ask_about_everything, reread
from tests.trading.test_shares import assert_both_books_agree, buy, client, emulator, owner
from trading.models import TradeLedger
from trading.services import terms, usage, watch

__all__ = ["client", "emulator", "owner"]

# Of ten shares: whether four had filled by then, the broker's word, and what becomes of the order.
ENDS = {
    (False, "canceled"): "CANCELED", (False, "expired"): "EXPIRED", (False, "rejected"): "REJECTED",
    (True, "canceled"): "CANCELED", (True, "expired"): "EXPIRED", (True, "rejected"): "CANCELED",
}  # fmt: skip
LEARNED = [
    (*end, looks, is_at_once)
    for end, looks, is_at_once in product(ENDS, (True, False), (True, False))
    if end[0] or looks is not is_at_once  # of an order that has not filled there is less to hear
]
WORKS = ("done_for_day", "suspended", "calculated", "pending_cancel", "pending_replace")


def rest(client, emulator, *, filled):
    """Place an order of a day that waits, and let four shares of it fill."""
    placed = buy(client, 10, type="LIMIT", limit_price="99.6", time_in_force="DAY").json()
    assert (placed["status"], placed["time_in_force"], Decimal(placed["reserved"]) > 0) == ("PENDING", "DAY", True)
    if filled:
        emulator.books.trade(emulator.books.orders[0], Decimal(4), Decimal("99.60"))
    return placed


def hear(*, looks):
    order = TradeLedger.objects.get()
    if looks:
        watch.look(account_id=order.account_id, at=now())
    TradeLedger.objects.update(asked_at=None)
    ask_about_everything()


def assert_ended(client, placed, *, status, filled):
    """Nothing stays held, and all that has filled is kept."""
    order, quantity = TradeLedger.objects.get(), Decimal(4 if filled else 0)
    shown = reread(client, placed)
    assert (shown["status"], shown["delivery"], Decimal(shown["filled_quantity"])) == (status, "DONE", quantity)
    assert (Decimal(shown["reserved"]), shown["closed_at"] is not None) == (Decimal(0), True)
    assert (order.rejected_by, order.late_fill) == ("BROKER" if status == "REJECTED" else "", False)
    assert IdempotencyRecord.objects.get(object_id=str(order.public_id)).expires_at is not None
    given_back = usage.count(
        user_id=order.user_id, account_id=order.account_id, account_ids=[order.account_id], intent=None, at=now()
    )
    assert given_back.undone_quantity == 10 - quantity
    assert not Alert.objects.exists()


@pytest.mark.parametrize(("filled", "word", "looks", "is_at_once"), LEARNED)
def test_an_order_of_shares_ends(client, emulator, filled, word, looks, is_at_once):
    """Takes: `looks` where history is read first; `is_at_once` where the fill is heard of only with the end."""
    placed = rest(client, emulator, filled=filled)
    risk = TradeLedger.objects.get().risk
    if not is_at_once:
        hear(looks=looks)
        assert reread(client, placed)["status"] == ("PARTIALLY_FILLED" if filled else "PENDING")

    emulator.books.end(emulator.books.orders[0], word)
    hear(looks=looks)

    assert_ended(client, placed, status=ENDS[filled, word], filled=filled)
    kept = RiskAdjustment.objects.values_list("kind", "before")
    assert list(kept) == [("PARTIAL_FILL", risk)] * filled
    assert_both_books_agree(emulator)


@pytest.mark.parametrize("word", WORKS)
def test_a_part_of_an_order_of_shares_works_on_through_words_from_which_nothing_follows(client, emulator, word):
    placed = rest(client, emulator, filled=True)
    emulator.books.orders[0]["status"] = word

    hear(looks=False)

    order = TradeLedger.objects.get()
    shown = reread(client, placed)
    assert (shown["status"], shown["delivery"], order.reserved) == ("PARTIALLY_FILLED", "ACKED", order.risk * 6 / 10)
    emulator.books.end(emulator.books.orders[0], "expired")
    hear(looks=False)
    assert_ended(client, placed, status="EXPIRED", filled=True)


@pytest.mark.parametrize("word", ["canceled", "expired"])
@pytest.mark.parametrize("carries", [False, True])
def test_what_had_filled_before_a_change_counts_when_what_replaced_the_order_ends(
    client, emulator, owner, word, carries
):
    emulator.books.carries_fills = carries
    placed = rest(client, emulator, filled=True)
    change = terms.change(
        order_id=TradeLedger.objects.get().pk, terms={"limit_price": Decimal("99.7")}, user=owner, reason="", at=now()
    )
    assert (change.state, [each["status"] for each in emulator.books.orders]) == ("DONE", ["replaced", "new"])

    emulator.books.end(emulator.books.orders[1], word)
    hear(looks=False)

    assert_ended(client, placed, status=word.upper(), filled=True)
