"""Set the scene, fire, and judge."""

from pathlib import Path

from django.conf import settings
from django.utils.timezone import now

from nexus.audit.types import Actor
from risk.services import sights
from tests.crash import ground
from tests.factories.accounts import UserFactory
from tests.fakes.paper import SERVER
from tests.storm import limits, stops
from tests.storm.brinks import BRINKS
from tests.storm.brokers import Brokers
from tests.storm.clients import Clients, place
from trading.brokers import registry
from trading.brokers.mt5 import session
from trading.models import TradingAccount
from trading.services import accounts
from trading.states import OrderStatus

PROCESSES, THREADS = 4, 16
STOPPED = 20  # users who trade while a stop comes


def run(folder: Path, *, users: int, requests: int, rounds: int) -> int:
    """Fire at every limit and stop amid the fire; print the tables and return the exit code."""
    session.CLOCK_WAIT_S = 0.0  # no price moves by itself here
    context = ground.nursery("tests.storm.clients", "tests.storm.brokers")
    brokers = Brokers(context, folder, count=1 + STOPPED + len(BRINKS) + users)
    people = [_link(url, login=brokers.login + number) for number, url in enumerate(brokers.urls)]
    for each in people:  # the gateways learn the server's clock from a price that moves
        accounts.broker_of(each).snapshot(symbols=["EURUSD"])
    brokers.tick()
    for each in people:
        accounts.broker_of(each).snapshot(symbols=["EURUSD"])
    registry.close()
    one = place(people[0])
    assert one.status == OrderStatus.FILLED, (one.status, one.reason)
    clients = Clients(context, processes=PROCESSES, threads=THREADS)
    faults = limits.run(clients, brokers, people[1 + STOPPED :], one=one, requests=requests)
    faults += stops.run(clients, people[1 : 1 + STOPPED], requests=2 * requests, rounds=rounds)
    print(f"faults {faults}", flush=True)
    return 1 if faults else 0


def _link(url: str, *, login: int) -> TradingAccount:
    settings.MT5_GATEWAY_URL = url
    account = accounts.link(
        user_id=UserFactory.create().pk,
        name="Paper",
        venue="mt5",
        venue_account=str(login),
        server=SERVER,
        is_live=False,
        actor=Actor.system("tests"),
        at=now(),
    )
    sights.note(account_id=account.pk)
    account.gateway_url = url
    account.save()
    return account
