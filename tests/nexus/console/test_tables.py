"""Large tables on the console: what is rare, and what is called by its name, is found without reading all rows."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.audit.models import Event
from nexus.core import operator
from tests.nexus.console.people import text
from trading.models import Fill, OrderEvent, TradeLedger
from trading.services import watch

ORDERS = "/admin/trading/tradeledger/"


def _alerts(*severities: str) -> None:
    for number, severity in enumerate(severities):
        Alert.objects.create(
            severity=severity, kind=f"K{number}", dedupe_key=f"d{number}", text="x", opened_at=now(),
            last_seen_at=now(), closed_at=now() + timedelta(seconds=1),
        )  # fmt: skip


def _shown(page):
    return [row.kind for row in page.context["cl"].result_list]


@pytest.mark.parametrize("words", ["?severity__exact=CRITICAL", "?q=CRITICAL-or-not"])
def test_a_page_looks_for_what_is_rare_only_so_far_and_the_next_goes_on(console, monkeypatch, words):
    monkeypatch.setattr(operator, "SIFTED", 4)
    Alert.objects.all().delete()
    _alerts("CRITICAL", "INFO", "INFO", "CRITICAL", "INFO", "INFO", "INFO", "INFO", "INFO", "INFO")
    Alert.objects.filter(severity="CRITICAL").update(object_id="CRITICAL-or-not")
    path, newest = "/admin/alerts/alert/", Alert.objects.latest("pk").pk

    with CaptureQueriesContext(connection) as asked:
        first = console.get(path + words)

    assert (_shown(first), first.context["cl"].is_cut) == ([], True)
    assert "So far a page looks" in text(first)
    assert any(f'"alert"."id" >= {newest - 3}' in each["sql"] for each in asked)
    found, page = [], first
    while page.context["cl"].older_url:
        page = console.get(path + page.context["cl"].older_url)
        found += _shown(page)
    assert found == ["K3", "K0"]
    assert not page.context["cl"].is_cut
    found = []
    while page.context["cl"].newer_url:
        page = console.get(path + page.context["cl"].newer_url)
        found += _shown(page)
    assert found == ["K3"]


def test_what_nothing_narrows_is_never_cut(console, monkeypatch):
    monkeypatch.setattr(operator, "SIFTED", 1)
    _alerts("INFO", "INFO", "INFO")

    page = console.get("/admin/alerts/alert/")

    assert _shown(page)[:3] == ["K2", "K1", "K0"]
    assert "So far a page looks" not in text(page)


@pytest.mark.parametrize("name", ["client_order_id", "venue_order_id", "public_id"])
def test_an_order_its_moves_and_its_fills_are_found_by_each_of_its_names(execute, console, name, monkeypatch):
    monkeypatch.setattr(operator, "SIFTED", 1)
    wanted, *_others = execute(), execute(), execute()
    order = TradeLedger.objects.get(pk=wanted.pk)

    with CaptureQueriesContext(connection) as asked:
        page = console.get(f"{ORDERS}?q={getattr(order, name)}")

    assert list(page.context["cl"].result_list) == [order]
    statements = [each["sql"] for each in asked if '"trade_ledger"' in each["sql"]]
    assert statements
    assert not [sql for sql in statements if "UPPER(" in sql]  # no index is on that
    for model in (OrderEvent, Fill):
        table = f"/admin/trading/{model._meta.model_name}/"
        rows = console.get(f"{table}?q={getattr(order, name)}").context["cl"].result_list
        assert {row.order_id for row in rows} == {order.pk}, table
    assert not console.get(f"{ORDERS}?q=nobody").context["cl"].result_list


def test_a_fill_of_a_stranger_is_found_by_what_the_broker_calls_it(execute, console, paper, account):
    execute()
    paper.quote("EURUSD", "1.07990", "1.08000")  # its stop is hit: a fill of no order of ours
    watch.look(account_id=account.pk, at=now())
    fill = Fill.objects.get(order=None)

    for words in (fill.venue_fill_id, fill.venue_order_id, fill.venue_position_id):
        found = console.get(f"/admin/trading/fill/?q={words}").context["cl"].result_list
        assert fill in found, words


def test_events_are_found_by_action_actor_and_object_each_by_one_index(execute, console):
    order = execute()
    event = Event.objects.filter(object_type="order", object_id=str(order.public_id)).latest("id")

    for words in (event.action, event.actor_id, f"order:{order.public_id}"):
        with CaptureQueriesContext(connection) as asked:
            page = console.get(f"/admin/audit/event/?q={words}")
        assert event in page.context["cl"].result_list, words
        assert not [each for each in asked if " OR " in each["sql"] and "event" in each["sql"]]
    assert not console.get("/admin/audit/event/?q=nobody").context["cl"].result_list


def test_a_page_that_is_not_there_is_said_on_a_page_of_the_console(console):
    asked = {"accept": "text/html", "accept-language": "fr"}
    answer = console.get("/admin/no-such-page/", headers=asked)
    program = console.get("/admin/no-such-page/", headers={"accept": "application/json"})

    assert answer.status_code == program.status_code == 404
    assert "Cette page n&#x27;existe pas, ou plus." in answer.content.decode()
    assert "/admin/stop/" in answer.content.decode()
    assert program["Content-Type"] == "application/problem+json"
