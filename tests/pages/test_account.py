"""One account over time on the dashboard: its owner's alone, with a table behind each chart."""

import html
import json
import re
from datetime import timedelta
from decimal import Decimal

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from tests.pages.conftest import Browser
from trading.models import AccountReading
from trading.services import watch

DATA = re.compile(r'data-name="(\w+)" data-chart="([^"]*)"')


def drawn(answer):
    assert answer.status_code == 200
    return {name: json.loads(html.unescape(text)) for name, text in DATA.findall(answer.content.decode())}


def test_shows_equity_the_days_loss_beside_its_limit_and_what_is_held(browser, execute, paper, account):
    execute()
    paper.quote("EURUSD", "1.08390", "1.08400")
    watch.look(account_id=account.pk, at=now())

    answer = browser.get(f"/accounts/{account.public_id}")
    found = drawn(answer)
    page = answer.content.decode()

    kept = AccountReading.objects.latest("minute")
    assert set(found) == {"equity", "loss", "exposure"}
    assert found["equity"]["series"][0]["values"][-1] == f"{kept.equity.normalize():f}"
    lost, limit = found["loss"]["series"]
    assert Decimal(lost["values"][-1]) == kept.loss_today > 0
    assert (limit["limit"], limit["values"][-1]) == (True, "1000")
    assert page.count("<details") == page.count("<canvas") == 3
    assert f'href="/accounts/{account.public_id}"' in browser.get("/").content.decode()


def test_an_account_that_nobody_read_says_what_will_happen(browser, account):
    page = browser.get(f"/accounts/{account.public_id}").content.decode()

    assert "<canvas" not in page
    assert page.count("Nothing was read of this account in this time.") == 3


def test_somebody_elses_account_is_not_there(stranger, account):
    assert stranger.get(f"/accounts/{account.public_id}").status_code == 404
    assert Browser().get(f"/accounts/{account.public_id}").status_code == 302


def test_times_and_signs_are_the_readers(trader, account):
    at = now()
    AccountReading.objects.create(
        account=account, minute=at.replace(second=0, microsecond=0), equity="1234.5", equity_low="1234.5", lost=0
    )
    french = Browser(language="fr", zone="Africa/Douala").login(trader)

    answer = french.get(f"/accounts/{account.public_id}?over=6h")

    assert drawn(answer)["equity"]["zone"] == "Africa/Douala"
    assert drawn(answer)["equity"]["series"][0]["values"][-1] == "1234.5"
    assert "1\N{NARROW NO-BREAK SPACE}234,50" in answer.content.decode()


def test_thirty_days_cost_as_many_statements_and_points_as_six_hours(browser, account):
    at = now().replace(second=0, microsecond=0)
    AccountReading.objects.bulk_create(
        AccountReading(account=account, minute=at - timedelta(minutes=each * 7), equity=each, equity_low=each, lost=0)
        for each in range(6000)
    )
    counts = {}
    for key in ("6h", "6h", "30d"):
        with CaptureQueriesContext(connection) as asked:
            found = drawn(browser.get(f"/accounts/{account.public_id}?over={key}"))
        counts[key] = len(asked)
        assert len(found["equity"]["times"]) == len(found["equity"]["series"][0]["values"]) == 360

    assert counts["30d"] == counts["6h"] <= 12
