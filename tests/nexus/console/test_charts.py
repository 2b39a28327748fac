"""The console's charts: figures with their tables, on pages that read a fixed number of rows and change nothing."""

import html
import json
import re
from datetime import timedelta

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from accounts.states import Role
from nexus.core.charts import LENGTHS
from tests.factories.accounts import UserFactory
from tests.nexus.console.people import enter
from tests.reconciliation.conftest import reconcile
from trading.models import AccountReading
from trading.services import watch

__all__ = ["reconcile"]
DATA = re.compile(r'data-name="(\w+)" data-chart="([^"]*)"')


def drawn(answer):
    """Return what each chart of a page draws."""
    assert answer.status_code == 200
    return {name: json.loads(html.unescape(text)) for name, text in DATA.findall(answer.content.decode())}


def test_all_charts_show_what_was_done_with_a_table_behind_each(console, execute, reconcile, account):
    execute()
    reconcile()
    answer = console.get("/admin/charts/", {"over": "6h"})

    found = drawn(answer)
    page = html.unescape(answer.content.decode())

    assert set(found) == {"discrepancy", "age", "latency", "slippage"}
    tables = page.count("<details") - page.count('<details class="menu"')
    assert tables == page.count("<canvas") == 4
    assert [each["label"] for each in found["discrepancy"]["series"]] == [
        str(account), "A person decides from", "The account stops above",
    ]  # fmt: skip
    assert found["discrepancy"]["series"][0]["values"][-2:].count("0") >= 1
    assert sum(int(value) for value in found["slippage"]["series"][0]["values"]) == 1
    assert f"/admin/charts/{account.public_id}/" in page
    assert all(len(each["times"]) == 360 for each in found.values() if each["times"])


def test_one_account_shows_equity_loss_exposure_d_and_age(console, execute, reconcile, account):
    execute()
    watch.look(account_id=account.pk, at=now())

    found = drawn(console.get(f"/admin/charts/{account.public_id}/"))

    assert set(found) == {"equity", "loss", "exposure", "discrepancy", "age"}
    kept = AccountReading.objects.latest("minute")
    assert found["equity"]["series"][0]["values"][-1] == f"{kept.equity.normalize():f}"
    assert found["exposure"]["places"] == ["EURUSD"]
    assert [each["label"] for each in found["loss"]["series"]][-1] == "Limit"


def test_empty_pages_say_what_to_do_next_and_draw_nothing(console, officer):
    for client in (console, officer):
        answer = client.get("/admin/charts/")
        assert drawn(answer) == {}
        assert "manage.py link_account" in answer.content.decode()
        assert "<canvas" not in answer.content.decode()


def test_a_figure_is_text_and_what_people_named_cannot_leave_its_attribute(console, account, reconcile):
    account.name = '"></div><script>alert(1)</script>'
    account.save()

    body = console.get("/admin/charts/").content.decode()

    assert "<script>alert" not in body
    assert drawn(console.get("/admin/charts/"))["discrepancy"]["series"][0]["label"].startswith('"></div>')


def test_the_pages_cost_the_same_whatever_there_is(console, execute, reconcile, account):
    def cost(path):
        with CaptureQueriesContext(connection) as asked:
            assert console.get(path).status_code == 200
        return len(asked)

    paths = [
        f"{place}?over={key}" for place in ("/admin/charts/", f"/admin/charts/{account.public_id}/") for key in LENGTHS
    ]
    console.get(paths[0])
    before = [cost(path) for path in paths]
    for number in range(3):
        execute()
        reconcile(later=timedelta(minutes=number))
        watch.look(account_id=account.pk, at=now() + timedelta(minutes=number))

    assert [cost(path) for path in paths] == before
    assert max(before) <= 16


def test_who_is_no_staff_sees_no_console_chart_and_an_unknown_account_is_told_so(console, account, trader):
    path = f"/admin/charts/{account.public_id}/"
    assert enter(trader).get(path).status_code in (302, 403)
    assert enter(UserFactory.create(role=Role.BOT)).get("/admin/charts/").status_code in (302, 403)
    answer = console.get("/admin/charts/00000000-0000-0000-0000-000000000000/")
    assert answer.status_code == 404
    assert console.post(path).status_code == 405
