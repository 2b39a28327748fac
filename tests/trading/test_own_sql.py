"""Our own SQL writes what the ORM would, row for row, and takes its locks before it reads."""

import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from django.db import ProgrammingError, connection, connections, transaction
from django.utils.timezone import now
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans, decimals

from nexus.audit.models import Event
from nexus.core import money, statements
from nexus.idempotency.models import IdempotencyRecord
from nexus.idempotency.services import records
from nexus.idempotency.services.records import KeyInProgress, KeyMismatch, RequestKey
from risk.models import UserDailyStats
from risk.services import stats
from tests.trading import twins
from tests.trading.conftest import brief
from trading import rules, selectors
from trading.api import forms, rendering
from trading.models import BrokerPosition, Fill, OrderEvent, TradableInstrument, TradeLedger
from trading.services import books, facts, fills, orders, settling, storing
from trading.states import Side
from trading.types import Holding, OrderIntent, OrderReport

DIFFERS = {"id", "public_id", "client_order_id", "venue_order_id", "sent_at", "closed_at", "created_at", "asked_at"}


def plain(row: Any, *, besides: set[str] = DIFFERS) -> dict[str, Any]:
    """Return a row's columns but those that differ from order to order."""
    return {
        field.attname: getattr(row, field.attname)
        for field in row._meta.concrete_fields
        if field.attname not in besides
    }


def small(**changes: Any) -> OrderIntent:
    """An order of which several fit into every limit."""
    return brief(**{"quantity": Decimal("0.01"), **changes})


def history(order: TradeLedger) -> list[tuple[str, str, str]]:
    return list(order.events.order_by("pk").values_list("came_from", "to", "reason"))


def key_of(trader: Any, account: Any, name: str) -> RequestKey:
    return RequestKey(
        str(trader.public_id), str(account.public_id), name, records.fingerprint(method="POST", path="/x", body={})
    )


def answered(order: TradeLedger) -> dict[str, Any]:
    """Return an order as it is read from an answer."""
    document: dict[str, Any] = orjson.loads(rendering.answer(rendering.order(order)).content)
    return document


def use_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything that has a twin be done by it."""
    monkeypatch.setattr(storing, "begin", twins.begin)
    monkeypatch.setattr(storing, "store", twins.store)
    monkeypatch.setattr(records, "close", twins.close_key)
    monkeypatch.setattr(
        TradeLedger, "_compare_and_set",
        lambda self, came_from, to, facts, reason, evidence, at, beside: twins.compare_and_set(
            self, came_from, to, facts=facts, reason=reason, evidence=evidence, at=at, beside=beside
        ),
    )  # fmt: skip
    monkeypatch.setattr(settling, "book", twins.book)
    monkeypatch.setattr(settling, "beside", lambda **words: words)


def story(order: TradeLedger) -> dict[str, Any]:
    """Return everything that an order has left behind, but for names and times."""
    order = TradeLedger.objects.get(pk=order.pk)
    record = IdempotencyRecord.objects.get(object_id=str(order.public_id))
    position = BrokerPosition.objects.filter(account=order.account).order_by("-pk").first()
    return {
        "order": plain(order, besides=DIFFERS | {"checks", "correlation_id", "reference_bid", "reference_ask"}),
        "checks": [(check["name"], check["passed"]) for check in order.checks],
        "history": history(order),
        "position": position and plain(position, besides={"id", "public_id", "venue_position_id", "opened_at"}),
        "record": (record.object_type, record.expires_at is not None),
        "audit": list(
            Event.objects.filter(object_id=str(order.public_id))
            .order_by("id")
            .values_list("action", "outcome", "actor_type")
        ),
        "is_dated": (order.sent_at is not None, order.closed_at is not None),
        "price": TradableInstrument.objects.filter(account=order.account).values_list("last_mid", flat=True).get(),
    }


@pytest.mark.parametrize(
    "changes",
    [{}, {"side": Side.SELL, "stop_loss": Decimal("1.0900"), "take_profit": None}, {"stop_loss": None}],
    ids=["filled", "sold", "rejected"],
)
def test_an_order_leaves_the_rows_that_the_orm_would_leave(execute, monkeypatch, changes):
    ours = story(execute(small(**changes)))
    TradableInstrument.objects.update(last_mid=None, last_mid_at=None)
    use_twins(monkeypatch)
    theirs = story(execute(small(**changes)))

    assert ours == theirs
    assert bool(ours["price"]) == (ours["order"]["status"] == "FILLED")


def test_an_order_whose_position_is_listed_late_leaves_the_rows_that_the_orm_would_leave(execute, paper, monkeypatch):
    broker = paper.control._broker
    broker.profile = replace(broker.profile, positions_delay_ms=1000)

    ours = story(execute(small()))
    TradableInstrument.objects.update(last_mid=None, last_mid_at=None)
    use_twins(monkeypatch)
    theirs = story(execute(small()))

    assert ours == theirs
    assert ours["position"]["stops_unseen"] is True


def test_whoever_renews_an_instrument_holds_up_no_order(execute, account):
    execute(small())
    TradableInstrument.objects.update(last_mid=1, last_mid_at=now() - timedelta(minutes=1))
    release, held = threading.Event(), threading.Event()

    def renew() -> None:
        with transaction.atomic():
            TradableInstrument.objects.select_for_update().get(account=account)
            held.set()
            release.wait(10)
        connections.close_all()

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        assert held.wait(10)
        assert execute(small()).status == "FILLED"
        assert not release.is_set()
        assert TradableInstrument.objects.get(account=account).last_mid == 1
    finally:
        release.set()
        renewing.join()
    execute(small())
    assert TradableInstrument.objects.get(account=account).last_mid != 1


def test_what_an_order_reads_of_our_books_does_not_grow_with_the_ledger(execute, trader, account):
    """Rows that PostgreSQL fetched, not its time: a plan for any value once went through all orders of the user."""
    order = execute(small())
    columns = [str(field.column) for field in TradeLedger._meta.concrete_fields if not field.primary_key]
    others = {
        "public_id": "gen_random_uuid()", "client_order_id": "'old-' || day", "venue_order_id": "'old-' || day",
        "created_at": "created_at - day * interval '1 day'", "closed_at": "closed_at - day * interval '1 day'",
    }  # fmt: skip
    found = facts.read(user_id=trader.pk, account=account, symbol=order.symbol, at=now())
    counts = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO trade_ledger ({', '.join(columns)}) "  # noqa: S608  # names of our own columns
            f"SELECT {', '.join(others.get(name, name) for name in columns)} "
            "FROM trade_ledger, generate_series(1, 5000) day WHERE id = %s",
            [order.pk],
        )
        cursor.execute(
            "INSERT INTO fill SELECT (jsonb_populate_record(fill, jsonb_build_object('id', -old.id, 'order_id', old.id,"
            " 'venue_fill_id', old.client_order_id, 'filled_at', old.closed_at, 'booked_at', old.closed_at))).* "
            "FROM fill, trade_ledger old WHERE old.client_order_id LIKE 'old-%%' AND fill.order_id = %s",
            [order.pk],
        )
        cursor.execute("ANALYZE trade_ledger, fill")
        before = statements.fetch_only(counts)[0]
        books.read(user_id=trader.pk, account=account, symbol=order.symbol, intent=small(), facts=found, at=now())
        fetched = statements.fetch_only(counts)[0] - before
        transaction.set_rollback(True)

    assert fetched < 200


@pytest.mark.parametrize("model", [TradeLedger, Fill])
def test_a_drafted_row_is_the_one_that_the_model_would_make(model):
    given = {"symbol": "EURUSD", "quantity": Decimal("0.1"), "account_id": 7}

    theirs, ours = model(**given), [statements.drafted(model, **given) for _ in range(2)]

    assert plain(ours[0], besides={"public_id"}) == plain(theirs, besides={"public_id"})
    assert (ours[0]._state.adding, ours[0]._state.db) == (True, None)
    if model is TradeLedger:
        assert ours[0].public_id != ours[1].public_id
        assert ours[0].checks is not ours[1].checks
    with pytest.raises(TypeError, match="quantty"):
        statements.drafted(model, quantty=1)


def test_the_counters_of_a_day_are_those_of_the_orm(execute, trader, monkeypatch):
    execute(small())
    ours = UserDailyStats.objects.get(user=trader)
    use_twins(monkeypatch)
    execute(small())
    theirs = UserDailyStats.objects.get(user=trader)

    assert (theirs.orders_admitted, theirs.value_admitted) == (2 * ours.orders_admitted, 2 * ours.value_admitted)


def test_orders_in_doubt_are_those_of_the_orm(execute, trader):
    before = now()
    first = execute(small())
    after = now()
    second = execute(small())

    for since, expected in ((before, [first, second]), (after, [second]), (now(), [])):
        assert selectors.in_doubt(user_id=trader.pk, since=since) == expected
        assert twins.in_doubt(user_id=trader.pk, since=since) == expected


def test_the_beginning_waits_for_the_day_and_then_reads_it(trader, account):
    """A statement of the function sees what the holder before it has committed while it waited."""
    at = now()
    holds, found = threading.Event(), []

    def count_one() -> None:
        with transaction.atomic():
            begun = storing.begin(
                key=key_of(trader, account, "key-number-1"), public_id=uuid.uuid4(), user_id=trader.pk, at=at
            )
            holds.set()
            stats.count_admitted(begun.day, value=Decimal(7), quantity=Decimal(1))
            connection.cursor().execute("SELECT pg_sleep(0.5)")
        connections.close_all()

    first = threading.Thread(target=count_one)
    first.start()
    assert holds.wait(10)
    with transaction.atomic():
        begun = storing.begin(
            key=key_of(trader, account, "key-number-2"), public_id=uuid.uuid4(), user_id=trader.pk, at=at
        )
        found.append((begun.day.orders_admitted, begun.day.value_admitted))
    first.join()

    assert found == [(1, Decimal(7))]


def test_a_key_that_is_held_is_in_progress_and_a_used_one_is_answered(trader, account):
    held, over = threading.Event(), threading.Event()
    public_id = uuid.uuid4()
    key = key_of(trader, account, "key-number-3")

    def hold() -> None:
        with transaction.atomic():
            storing.begin(key=key, public_id=public_id, user_id=trader.pk, at=now())
            held.set()
            over.wait(10)
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    with transaction.atomic(), pytest.raises(KeyInProgress):
        storing.begin(key=key, public_id=uuid.uuid4(), user_id=trader.pk, at=now())
    over.set()
    holder.join()

    with transaction.atomic():
        assert storing.begin(key=key, public_id=uuid.uuid4(), user_id=trader.pk, at=now()).made == str(public_id)
    other = RequestKey(key.principal, key.account, key.key, b"x" * 32)
    with transaction.atomic(), pytest.raises(KeyMismatch):
        storing.begin(key=other, public_id=uuid.uuid4(), user_id=trader.pk, at=now())


def test_a_key_expires_48_hours_after_it_was_made_and_never_in_the_past(execute):
    order = execute(small())
    record = IdempotencyRecord.objects.get(object_id=str(order.public_id))
    assert record.expires_at == record.created_at + records.KEPT

    IdempotencyRecord.objects.filter(pk=record.pk).update(expires_at=None)
    late = record.created_at + records.KEPT + timedelta(days=1)
    records.close(object_id=record.object_id, at=late)
    record.refresh_from_db()
    assert record.expires_at == late


def test_what_is_shown_is_what_the_published_shape_says(execute, trader):
    execute(small())
    execute(small(stop_loss=None))
    page, following = selectors.ledger_page(
        trader, limit=10, status=None, symbol=None, created_from=None, created_to=None, before=None
    )
    rows = list(selectors.orders_of(trader))

    for row, shown in zip(rows, page, strict=True):
        row.expires_at = shown.expires_at = datetime(2026, 1, 5, 12, tzinfo=UTC)  # a whole second
        published = forms.OrderView(row).data
        assert answered(row) == published
        assert list(answered(row)) == list(published)
        decisive = published["checks"] if row.rejected_by == "LOCAL" else []
        assert answered(shown) == published | {"checks": decisive}
    assert [bool(row.checks) for row in rows] == [True, True]
    assert following is None


def test_an_object_of_our_own_statement_is_what_the_orm_would_have_read(execute):
    order = execute(small())
    theirs = TradeLedger.objects.get(pk=order.pk)
    query = "SELECT {columns} FROM trade_ledger WHERE id = %s"
    (whole,) = statements.objects(TradeLedger, query, [order.pk])
    (partly,) = statements.objects(TradeLedger, query, [order.pk], without=frozenset({"checks"}))
    of_orm, of_ours = ({n: v for n, v in vars(row).items() if n != "_state"} for row in (theirs, whole))

    assert of_ours == of_orm
    assert [type(value) for value in of_ours.values()] == [type(value) for value in of_orm.values()]
    assert (whole._state.adding, whole._state.db) == (theirs._state.adding, theirs._state.db)
    assert partly.get_deferred_fields() == {"checks"}
    assert partly.checks == theirs.checks
    assert partly.account == theirs.account


def test_a_failed_statement_is_djangos_own_error(db):
    with pytest.raises(ProgrammingError):
        statements.fetch("SELECT no_such_column")


@given(
    held=decimals(min_value=-10, max_value=10, places=8), price=decimals(min_value="0.0001", max_value=200, places=10),
    fill=decimals(min_value="0.00000001", max_value=10, places=8), is_sold=booleans(),
    fill_price=decimals(min_value="0.0001", max_value=200, places=10),
)  # fmt: skip
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_position_is_priced_in_the_database_as_it_is_here(db, held, price, fill, is_sold, fill_price):
    signed = -fill if is_sold else fill

    here = rules.apply_fill(Holding(held, price), signed_quantity=signed, price=fill_price).price

    there = statements.fetch_only("SELECT position_price(%s, %s, %s, %s)", [held, price, signed, fill_price])[0]
    assert there == money.half_even_to(here, settling.PRICE_STEP)


def test_a_tie_of_an_average_goes_to_the_even_digit(db):
    for low, high in (("1.0000000001", "1.0000000002"), ("1.0000000002", "1.0000000003")):
        averaged = statements.fetch_only("SELECT position_price(1, %s, 1, %s)", [Decimal(low), Decimal(high)])[0]
        assert averaged == Decimal("1.0000000002")


def test_an_answer_to_an_order_that_somebody_moved_meanwhile_is_booked_once(execute, monkeypatch):
    """The resolver was first: the statement that settles by itself finds another state, and changes nothing."""
    settle, seen = fills.settle, []

    def late(order: TradeLedger, *, report: OrderReport, at: datetime) -> TradeLedger:
        fills.record(order_id=order.pk, report=report, at=at)
        seen.append(settle(order, report=report, at=at))
        return seen[0]

    monkeypatch.setattr(fills, "settle", late)
    order = execute(small())

    assert order.status == "FILLED"
    assert Fill.objects.count() == 1
    assert BrokerPosition.objects.get().quantity == order.quantity
    assert OrderEvent.objects.filter(order=order).count() == 3


def test_an_answer_whose_fill_was_booked_as_somebody_elses_moves_nothing_by_itself(execute, account, monkeypatch):
    """A fill is unique: the statement that settles by itself fails as a whole, and the careful way decides."""
    settle = fills.settle

    def after_a_stray(order: TradeLedger, *, report: OrderReport, at: datetime) -> TradeLedger:
        fills.ingest(account=account, reports=[replace(report.fills[0], client_order_id="")], at=at)
        return settle(order, report=report, at=at)

    monkeypatch.setattr(fills, "settle", after_a_stray)
    execute(small())

    assert Fill.objects.count() == 1
    assert BrokerPosition.objects.get().quantity == small().quantity


def test_statements_stay_prepared_on_the_server_and_are_planned_once(db):
    for number in (1, 70_000, 2**40, -1):  # of every size that the driver would send as a type of its own
        assert statements.fetch_only("SELECT %(number)s + %(number)s, '%%'", {"number": number}) == (2 * number, "%")

    kept = connection.connection.execute(
        "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $$SELECT $1 + $1, '%'$$"
    ).fetchall()
    assert kept == [(4, 0)]


def test_events_are_stored_in_the_order_of_the_moves(execute):
    order = execute(small())

    path = list(OrderEvent.objects.filter(order=order).order_by("pk").values_list("to", flat=True))
    assert path == ["PENDING/QUEUED", "PENDING/SENDING", "FILLED/DONE"]
    assert orders.as_request(order).client_order_id == order.client_order_id
