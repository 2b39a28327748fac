"""The doors: run now, read what was found; one's own only, for all but operators and compliance."""

import csv
import io
import json
import uuid
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.utils.timezone import now

from accounts.states import Role
from reconciliation.api import forms
from reconciliation.models import ReconciliationLog, Sighting
from reconciliation.services import reports
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.fakes.paper import LOGIN
from tests.reconciliation.test_acting import shift_average
from trading.brokers.mt5.emulator import constants as mt5
from trading.models import BrokerPosition

RUN, REPORT = "/trading/reconcile", "/trading/reconciliation/report"


def client(role: Role) -> ApiClient:
    """Return the client of somebody new."""
    return ApiClient().login(UserFactory.create(role=role))


def test_a_trader_reconciles_now_and_hears_the_result(trader, paper, account, reconcile):
    paper.control.manual_trade(LOGIN, "EURUSD", mt5.ORDER_TYPE_SELL, "0.5", sl="1.09")

    answer = ApiClient().login(trader).post(RUN)

    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    assert result == {
        "account": str(account.public_id),
        "run_id": str(ReconciliationLog.objects.latest("pk").run_id),
        "status": "CLEAN",
        "detail": "",
        "discrepancy_usd": "0",
        "is_unvalued": False,
        "risk_impact": "LOW",
        "new_fills": 1,
        "differences": [],
    }
    logged = ReconciliationLog.objects.latest("pk")
    assert (logged.trigger, logged.made_by) == ("REQUEST", str(trader.public_id))


def test_a_difference_is_answered_with_what_was_done(trader, execute, account, reconcile, quiet):
    execute()
    reconcile()
    row = shift_average("200")

    (result,) = ApiClient().login(trader).post(RUN, {"account": str(account.public_id)}).json()["results"]

    assert (result["status"], result["discrepancy_usd"], result["risk_impact"]) == ("DIFFERENT", "200", "MEDIUM")
    assert result["differences"] == [
        {
            "key": row.venue_position_id, "symbol": "EURUSD", "quantity_discrepancy": "0", "cash_discrepancy": "0",
            "value_usd": "200", "action": "REVIEW",
        }
    ]  # fmt: skip


def test_who_may_run_what(trader, account, reconcile):
    mine = {"account": str(account.public_id)}

    assert client(Role.OPERATOR).post(RUN, mine).status_code == 200
    assert client(Role.OPERATOR).post(RUN).status_code == 422
    assert client(Role.COMPLIANCE).post(RUN, mine).status_code == 403
    assert client(Role.TRADER).post(RUN, mine).status_code == 404
    assert client(Role.BOT).post(RUN).json() == {"results": []}
    assert ApiClient().post(RUN, mine).status_code == 401
    assert ApiClient().login(trader).post(RUN, {"account": "x", "y": 1}).status_code == 400


@pytest.fixture
def logged(trader: Any, execute: Any, account: Any, reconcile: Any, quiet: None) -> Any:
    """A clean run, and one with a difference of 200 USD."""
    execute()
    reconcile()
    shift_average("200")
    reconcile()
    return account


def test_the_report_shows_standing_and_what_is_worth_telling(logged, trader):
    answer = ApiClient().login(trader).get(REPORT + "?hours=24")

    found = answer.json()
    (standing,) = found["accounts"]
    figures = ("runs", "failed_runs", "failures_in_row", "discrepancy_usd", "corrected_24h_usd", "reviews_open")
    assert [standing[name] for name in figures] == [3, 0, 0, "200", "0", 1]
    assert [(row["entry"], row["action"]) for row in found["results"]] == [("RUN", "REVIEW"), ("DIFFERENCE", "REVIEW")]
    difference = found["results"][1]
    assert (difference["our_price"], difference["broker_price"], difference["value_usd"]) == ("1.105", "1.085", "200")
    assert "made_by" not in difference
    assert found["has_more"] is False
    assert set(difference) == set(forms.LogView().fields)
    assert set(standing) == set(forms.StateView().fields)
    assert set(found) == set(forms.ReportView().fields)


def test_the_report_as_csv_has_every_row_and_exact_numbers(logged, trader):
    answer = ApiClient().login(trader).get(REPORT + "?format=csv")

    assert answer["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert [row["entry"] for row in rows] == ["RUN", "DIFFERENCE", "RUN", "RUN"]
    assert (rows[1]["value_usd"], rows[1]["our_price"], rows[1]["action"]) == ("200", "1.105", "REVIEW")
    assert json.loads(rows[1]["evidence"])["venue_price"] == "1.085"


def test_the_totals_are_those_of_the_log_and_every_time_is_utc(logged, trader, settings):
    BrokerPosition.objects.update(price_open=Decimal("1.085") + Decimal("0.003"))  # 30 USD instead of 200
    reconciling = [ApiClient().login(trader).post(RUN).json()["results"][0] for _ in range(2)]
    Sighting.objects.update(counted_at=now() - timedelta(minutes=1))
    reconciling += [ApiClient().login(trader).post(RUN).json()["results"][0]]
    good, settings.MT5_GATEWAY_URL = settings.MT5_GATEWAY_URL, "http://127.0.0.1:1"
    reconciling += [ApiClient().login(trader).post(RUN).json()["results"][0]]
    settings.MT5_GATEWAY_URL = good
    assert [each["status"] for each in reconciling] == ["DIFFERENT"] * 3 + ["FAILED"]

    (standing,) = ApiClient().login(trader).get(REPORT).json()["accounts"]
    answer = ApiClient().login(trader).get(REPORT + "?format=csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))

    runs = [row for row in rows if row["entry"] == "RUN"]
    synced = [row["value_usd"] for row in rows if (row["entry"], row["action"]) == ("DIFFERENCE", "BROKER_SYNCED")]
    assert (standing["runs"], standing["failed_runs"]) == (len(runs), 1) == (7, 1)
    assert [row["status"] for row in runs].count("FAILED") == standing["failures_in_row"] == 1
    assert (
        ([standing["corrected_24h_usd"]], standing["discrepancy_usd"])
        == (synced, runs[1]["value_usd"])
        == (["30"], "30")
    )
    assert all(row["at"].endswith("Z") for row in rows)
    assert standing["last_success_at"] == runs[1]["at"]


def test_one_sees_ones_own(logged):
    stranger = client(Role.TRADER)

    assert stranger.get(REPORT).json() == {"hours": 24, "accounts": [], "results": [], "has_more": False}
    assert stranger.get(f"{REPORT}?account={logged.public_id}").status_code == 404
    assert stranger.get(f"{REPORT}?account={uuid.uuid4()}").status_code == 404
    assert b"".join(stranger.get(REPORT + "?format=csv").streaming_content).count(b"\n") == 1
    for role in (Role.OPERATOR, Role.COMPLIANCE):
        assert len(client(role).get(REPORT).json()["results"]) == 2
    assert stranger.get(REPORT + "?hours=0").status_code == 400
    assert stranger.get(REPORT + "?hours=745").status_code == 400


def test_a_cell_that_a_spreadsheet_would_run_is_text(logged):
    row = ReconciliationLog.objects.latest("pk")
    row.reason = '=HYPERLINK("x")'

    assert reports._cell(row, "reason") == '\'=HYPERLINK("x")'
    row.quantity_discrepancy = Decimal("-0.10")
    assert reports._cell(row, "quantity_discrepancy") == "-0.1"


def test_the_log_is_not_rewritten(logged):
    for act in (ReconciliationLog.objects.all().delete, lambda: ReconciliationLog.objects.update(reason="Nothing.")):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            act()


def command(*words: str) -> str:
    """Run `manage.py reconcile` and return what it prints."""
    out = StringIO()
    call_command("reconcile", *words, stdout=out)
    return out.getvalue()


def test_the_command_runs_and_reports(logged, settings):
    printed = command()
    assert str(logged.public_id) in printed
    assert "DIFFERENT  200 USD" in printed
    assert "REVIEW" in printed
    assert command("--account", str(logged.public_id)) == printed
    found = json.loads(command("--report", "24"))
    assert found["accounts"][0]["runs"] == 5
    assert command("--report", "24", "--format", "csv").count("\n") == 9
    settings.MT5_GATEWAY_URL = "http://127.0.0.1:1"
    with pytest.raises(CommandError, match="1 of 1 accounts could not be reconciled"):
        command()
    with pytest.raises(CommandError, match="no such active account"):
        command("--account", str(uuid.uuid4()))
