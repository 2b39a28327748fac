"""One adapter for each link and process."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from trading.brokers import registry
from trading.brokers.base import Link


@pytest.fixture(autouse=True)
def fresh():
    registry.forget()
    yield
    registry.forget()


def link(**settings):
    usual = {"url": "http://127.0.0.1:9", "token": "t", "login": "1", "server": "Paper-1", "mode": "paper", "tag": "1"}
    return Link(venue="mt5", account="1", settings=usual | settings)


def test_makes_one_adapter_for_one_link_however_many_ask():
    with ThreadPoolExecutor(8) as pool:
        brokers = set(pool.map(lambda _: registry.get(link()), range(40)))

    assert len(brokers) == 1


def test_makes_another_for_other_settings():
    assert registry.get(link()) is registry.get(link())
    assert registry.get(link(token="other")) is not registry.get(link())


def test_does_not_know_other_venues():
    with pytest.raises(registry.UnknownVenue):
        registry.get(Link(venue="nyse", account="1", settings={}))


def test_every_venue_can_be_loaded():
    for path in registry.BROKERS.values():
        module, _, name = path.rpartition(".")
        assert hasattr(__import__(module, fromlist=[name]), name)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_does_not_speak_over_its_parent_s_connections():
    broker = registry.get(link())
    child = os.fork()
    if child == 0:
        os._exit(0 if registry.get(link()) is not broker else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert registry.get(link()) is broker
