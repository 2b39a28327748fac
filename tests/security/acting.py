"""What Nexus does in a day, in short: run by `test_database_roles` in a process whose database role is production's.

People are made, log in, show codes, trade on paper, reconcile, stop, and are refused; the database refuses nothing.
"""

import json
import tempfile
import uuid
from pathlib import Path
from typing import Any


def main() -> dict[str, Any]:
    """Do all of it, and return what came of it."""
    from django.conf import settings  # noqa: PLC0415 - Django is set up below
    from django.db import connection  # noqa: PLC0415
    from django.utils.timezone import now  # noqa: PLC0415

    from accounts.services import sessions  # noqa: PLC0415
    from accounts.states import Role  # noqa: PLC0415
    from nexus.audit.services import heartbeat  # noqa: PLC0415
    from tests.client import ApiClient  # noqa: PLC0415
    from tests.factories.accounts import UserFactory  # noqa: PLC0415
    from tests.fakes import paper as paper_broker  # noqa: PLC0415
    from tests.trading.conftest import link  # noqa: PLC0415
    from trading.brokers import registry  # noqa: PLC0415
    from trading.brokers.mt5 import session  # noqa: PLC0415
    from trading.models import SweepRun  # noqa: PLC0415
    from trading.services import accounts, sweeping  # noqa: PLC0415

    settings.PASSWORD_HASHERS = ["tests.hashers.CountedArgon2"]
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.GATEWAY_TOKEN = paper_broker.TOKEN
    session.CLOCK_WAIT_S = 0
    said: dict[str, Any] = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        said["role"] = cursor.fetchone()[0]
    operator, trader = UserFactory.create(role=Role.OPERATOR), UserFactory.create(role=Role.TRADER)
    said["wrong"] = ApiClient().post("/auth/login", {"email": trader.email, "password": "wrong"}).status_code
    client, chief = ApiClient().login(trader), ApiClient().login(operator)
    refreshed = client.post("/auth/refresh", {"refresh_token": client.tokens["refresh_token"]})
    said["refreshed"], client.tokens = refreshed.status_code, refreshed.json()
    with tempfile.TemporaryDirectory() as folder, paper_broker.paper(Path(folder)) as running:
        settings.MT5_GATEWAY_URL = running.url
        running.quote("EURUSD", "1.08490", "1.08500")
        account = link(trader)
        for _ in range(2):
            accounts.broker_of(account).snapshot(symbols=["EURUSD"])
            running.quote("EURUSD", "1.08490", "1.08500")
        order = {
            "symbol": "EURUSD", "action": "BUY", "quantity": 0.1, "entry_price": 1.0850, "stop_loss": 1.0800,
            "take_profit": 1.0900,
        }  # fmt: skip
        placed = client.post("/trading/execute", order, idempotency_key=uuid.uuid4().hex)
        said["order"] = (placed.status_code, placed.json().get("status"))
        said["reconciled"] = client.post("/trading/reconcile", {}).status_code
        bot = {"name": "My bot", "mode": "paper", "scopes": ["orders:read"]}
        key = client.post("/auth/api-keys", bot, idempotency_key=uuid.uuid4().hex)
        said["key"] = (key.status_code, key.json().get("code"))
        said["stop"] = chief.post("/system/emergency-stop", {"reason": "A drill."}).status_code
        for sweep in SweepRun.objects.all():
            sweeping.run(sweep_id=sweep.pk, at=now())
        said["denied"] = client.post("/system/resume", {"reason": "Please."}).status_code
        registry.close()
    heartbeat.beat()
    sessions.purge(at=now())
    said["events"] = _events()
    return said


def _events() -> list[str]:
    from nexus.audit.models import Event  # noqa: PLC0415

    return sorted(set(Event.objects.values_list("action", flat=True)))


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(main()))
