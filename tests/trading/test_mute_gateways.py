"""A gateway that cannot write its journal sends nothing: people are told so, and when it is over."""

import sqlite3
from contextlib import suppress
from typing import Any

import pytest
from django.utils.timezone import now

from nexus.alerts.models import Alert
from nexus.alerts.states import Severity
from trading.models import AccountFigures, TradingAccount
from trading.services import figures, watch

KIND = "GATEWAY_SENDS_NOTHING"


def fill(paper: Any, *, is_full: bool = True) -> None:
    """Let the journal's disk take no more, or take everything again."""
    paper.journal._database.execute(f"PRAGMA query_only = {'ON' if is_full else 'OFF'}")
    with suppress(sqlite3.Error):
        paper.journal.beat()


@pytest.fixture
def muted(paper: Any, account: TradingAccount) -> TradingAccount:
    """An account whose gateway's disk is full, as the last look has seen it."""
    watch.look(account_id=account.pk, at=now())
    assert not Alert.objects.filter(kind=KIND).exists()
    fill(paper)
    watch.look(account_id=account.pk, at=now())
    watch.look(account_id=account.pk, at=now())
    return account


def test_people_are_told_once_why_nothing_is_sent_and_the_account_is_seen_all_the_same(muted):
    alert = Alert.objects.get(kind=KIND)

    assert (alert.severity, alert.object_id, alert.closed_at) == (Severity.CRITICAL, str(muted.public_id), None)
    assert "cannot write its journal (attempt to write a readonly database), and so sends nothing" in alert.text
    seen = AccountFigures.objects.get(account=muted)
    assert (seen.fault, seen.failing_since) == ("", None)


def test_it_is_over_when_the_disk_takes_something_again(muted, paper):
    fill(paper, is_full=False)

    watch.look(account_id=muted.pk, at=now())

    assert Alert.objects.get(kind=KIND).closed_at is not None


def test_it_is_over_for_an_account_that_is_put_aside(muted):
    TradingAccount.objects.filter(pk=muted.pk).update(is_active=False)

    figures.alarm(clock=now(), at=now())

    assert Alert.objects.get(kind=KIND).closed_at is not None
