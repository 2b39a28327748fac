"""What every test stands on: a real database, closed sockets, people who log in for real."""

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import pytest_socket
from django.conf import settings
from django.db.models import Max
from django.test import override_settings

from accounts.models import User
from nexus.audit.models import Event
from tests import emptying
from tests.client import ApiClient
from tests.factories.accounts import UserFactory

# A busy machine makes nothing wrong: what is asserted is what happened, never how long it took.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

collect_ignore = ["browser"]  # needs a browser and a `make run` of its own: `make test-browser`


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup() -> None:
    """Close the sockets of the outside world."""
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)


PATIENCE = "idle_in_transaction_session_timeout"


def _be_patient() -> None:
    """Let a test's transaction, which is as long as the test, stay open on a busy machine.

    As connections open, and not by SET: migrations, and each flush after a test, RESET to what a connection began with.
    """
    options: Any = settings.DATABASES["default"]["OPTIONS"]
    patient = options["options"].replace(f"{PATIENCE}=5s", f"{PATIENCE}=120s")
    assert PATIENCE + "=120s" in patient
    options["options"] = patient


_be_patient()
emptying.use()


@pytest.fixture(autouse=True, scope="session")
def _cheap_passwords() -> Iterator[None]:
    with override_settings(PASSWORD_HASHERS=["tests.hashers.CountedArgon2"]):
        yield


@pytest.fixture
def user(db: None) -> User:
    """A trader."""
    return UserFactory.create()


@pytest.fixture
def api(user: User) -> ApiClient:
    """The trader's own client, logged in."""
    return ApiClient().login(user)


@pytest.fixture
def anonymous(db: None) -> ApiClient:
    """A client of nobody."""
    return ApiClient()


@pytest.fixture
def new_events(db: None) -> Callable[[], list[Event]]:
    """Return the audit events since the test began; the log itself is never emptied."""
    start = Event.objects.aggregate(last=Max("id"))["last"] or 0
    return lambda: list(Event.objects.filter(id__gt=start).order_by("id"))
