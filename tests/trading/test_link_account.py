"""Linking an account from the command line: the venue says what it is."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.states import Role
from tests.factories.accounts import UserFactory
from tests.terminal import Terminal
from tests.trading.brokers.alpaca.emulator import KEY, SECRET, serving
from trading.brokers import registry
from trading.models import TradingAccount


@pytest.fixture
def emulator(db, settings):
    with serving() as running:
        settings.ALPACA_ENABLED = True
        settings.ALPACA_KEYS = f"{running.books.number}:{KEY}:{SECRET}"
        yield running
        registry.close()


@pytest.fixture
def operator(emulator, monkeypatch):
    monkeypatch.setattr("getpass.getpass", Terminal())
    return UserFactory.create(role=Role.OPERATOR)


def link(emulator, email, operator, *place):
    said = StringIO()
    place = place or (emulator.books.number, emulator.address)
    call_command("link_account", email, "alpaca", *place, "--as", operator.email, stdout=said)
    return said.getvalue()


@pytest.mark.django_db(transaction=True)
def test_links_what_the_venue_says_it_is_however_often_it_is_asked(emulator, operator, new_events):
    user = UserFactory.create()

    first, second = link(emulator, user.email, operator), link(emulator, user.email, operator)

    account = TradingAccount.objects.get(user=user)
    assert first == second
    assert str(account.public_id) in first
    assert (account.currency, account.mode, account.is_live, account.usd_symbol) == ("USD", "NETTING", False, "")
    linked = [event for event in new_events() if event.action == "trading.account_linked"]
    assert [event.actor_id for event in linked] == [str(operator.public_id)]


@pytest.mark.django_db(transaction=True)
def test_refuses_nobody_somebody_else_s_and_an_account_that_is_not_there(emulator, operator, settings):
    user, other = UserFactory.create(), UserFactory.create()
    link(emulator, user.email, operator)

    with pytest.raises(CommandError, match="Nobody"):
        link(emulator, "nobody@nexus.example", operator)
    with pytest.raises(CommandError, match="somebody else"):
        link(emulator, other.email, operator)
    with pytest.raises(CommandError, match="Live trading"):
        link(emulator, other.email, operator, "212121", "api.alpaca.markets", "--live")
    settings.ALPACA_ENABLED = False
    with pytest.raises(CommandError, match="ALPACA_ENABLED"):
        link(emulator, other.email, operator, "PA3NEXUS0009", emulator.address)
    with pytest.raises(CommandError, match="wrong"):
        link(emulator, other.email, other)
    assert TradingAccount.objects.get().user == user
