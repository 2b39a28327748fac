"""Operators, a compliance officer and a trader at the console, on a system that is installed."""

import pytest
from django.test import Client

from accounts.models import User
from accounts.states import Role
from tests.factories.accounts import UserFactory
from tests.nexus.console.people import enter
from tests.trading.conftest import _always_true, account, execute, floor, paper, trader

__all__ = ["_always_true", "account", "execute", "floor", "paper", "trader"]


@pytest.fixture
def operators(floor: None) -> tuple[User, User]:
    """Two operators."""
    return UserFactory.create(role=Role.OPERATOR), UserFactory.create(role=Role.OPERATOR)


@pytest.fixture
def operator(operators: tuple[User, User]) -> User:
    """The first of them."""
    return operators[0]


@pytest.fixture
def console(operators: tuple[User, User]) -> Client:
    """The first operator's console."""
    return enter(operators[0])


@pytest.fixture
def other_console(operators: tuple[User, User]) -> Client:
    """The second operator's console."""
    return enter(operators[1])


@pytest.fixture
def officer(floor: None) -> Client:
    """A compliance officer's console."""
    return enter(UserFactory.create(role=Role.COMPLIANCE))
