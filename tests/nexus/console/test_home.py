"""The front page says how the system does, and every page says whether trading runs."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils.timezone import now

from accounts.states import Role
from nexus.alerts.models import Alert
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target
from nexus.console import words
from nexus.console.home import Queue
from risk.states import ControlScope, StopLevel, Sweep
from tests.factories.accounts import UserFactory
from tests.stops import stop


def _text(response):
    return " ".join(response.content.decode().split())


def test_it_runs_and_says_so_on_every_page(console):
    for path in ("/admin/", "/admin/stops/", "/admin/tables/", "/admin/trading/tradeledger/", "/admin/stop/"):
        page = console.get(path)
        assert page.status_code == 200, path
        assert "<strong>RUNNING</strong>" in _text(page), path
        assert 'href="/admin/stop/"' in _text(page), path


def test_a_stop_is_shown_with_who_why_and_what_is_left(console, operator, account):
    stop(sweep=Sweep.CANCEL, reason="The prices are wrong.", actor=Actor.user(operator.public_id))

    page = console.get("/admin/")

    assert "STOPPED: HALTED" in _text(page)
    assert "The prices are wrong." in _text(page)
    assert operator.email in _text(page)
    assert str(account) in _text(page)  # its sweep has just begun
    assert "it has just begun" in _text(page)


def test_stops_of_parts_are_counted_beside_a_system_that_runs(console, account):
    stop(scope=ControlScope.ACCOUNT, key=str(account.pk), level=StopLevel.REDUCE_ONLY)

    page = console.get("/admin/")

    assert "<strong>RUNNING</strong>, in part" in _text(page)
    assert "stopped parts: 1<" in _text(page)
    assert str(account) in _text(page)


def test_a_switch_without_its_row_is_shown_as_a_stop(console):
    from risk.models import TradingControl  # noqa: PLC0415 - only here

    TradingControl.objects.all().delete()

    assert "The trading switch has no row." in _text(console.get("/admin/"))


def test_alerts_and_refusals_of_today_are_there(console, officer):
    Alert.objects.create(
        severity="CRITICAL", kind="TRADING_STOPPED", dedupe_key="x", text="<script>alert(1)</script>",
        opened_at=now() - timedelta(minutes=7), last_seen_at=now(),
    )  # fmt: skip
    bot = UserFactory.create(role=Role.BOT)
    trail.record_denied(action="access.denied", actor=Actor.user(bot.public_id), target=Target("action", "X"))

    page = console.get("/admin/")

    assert "&lt;script&gt;" in _text(page)
    assert "<script>alert" not in _text(page)
    assert "7 min" in _text(page)
    assert bot.email in _text(page)
    assert _text(officer.get("/admin/")).count("access.denied") >= 1


def test_the_live_part_is_the_page_without_its_frame(console):
    part = console.get("/admin/live/")

    assert part.status_code == 200
    assert "<html" not in _text(part)
    assert 'data-brake="ACTIVE"' in _text(part)


def test_the_front_page_takes_few_statements(console, account, django_assert_max_num_queries):
    for number in range(5):
        stop(scope=ControlScope.INSTRUMENT, key=f"SYM{number}")
    console.get("/admin/")

    with django_assert_max_num_queries(33):
        console.get("/admin/")


@pytest.mark.parametrize(
    ("count", "age", "service"),
    [
        (0, None, "ok"),
        (1, timedelta(seconds=59), "ok"),
        (1, timedelta(minutes=2), "soon"),
        (1, timedelta(hours=2), "late"),
    ],
)
def test_a_queue_says_how_it_does_by_its_oldest(count, age, service):
    at = now()
    queue = Queue("x", "", count, at - age if age else None, timedelta(minutes=1), timedelta(hours=1), at)

    assert queue.service == service


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0"), ("1234567.50", "1 234 567.5"), ("-1000.00000001", "−1 000.00000001"), ("999", "999")],
)
def test_money_is_written_exactly(amount, text):
    assert words.usd(Decimal(amount)) == text


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (65, "1 min 5 s"), (3700, "1 h 1 min"), (90000, "1 d 1 h")])
def test_ages_are_written_in_two_units(seconds, text):
    assert words.ago(now() - timedelta(seconds=seconds), now()) == text
