"""The stop stands open whatever else is shut, and one person does not undo it."""

import pytest

from accounts.states import Role
from risk.models import TradingControl
from tests.accounts.test_lockout import attempt
from tests.client import ApiClient
from tests.factories.accounts import UserFactory
from tests.factories.second_factor import enrolled
from tests.trading.conftest import _always_true, floor

__all__ = ["_always_true", "floor"]


def level():
    return TradingControl.objects.get(scope="SYSTEM").get_level_display().upper()


@pytest.mark.threat(26)
def test_an_operator_who_is_locked_out_and_has_no_codes_left_stops_and_does_not_resume_alone(floor):
    operator, second = (UserFactory.create(role=Role.OPERATOR) for _ in range(2))
    enrolled(operator)
    client, other = ApiClient().login(operator), ApiClient().login(second)
    locked = [attempt(operator.email, ip="127.0.0.1").status_code for _ in range(6)]
    codes = [client.post("/auth/2fa/verify", {"code": "000000"}).status_code for _ in range(6)]

    answer = client.post("/system/emergency-stop", {"reason": "It runs away."})

    assert (locked[-1], codes[-1]) == (429, 429)
    assert (answer.status_code, answer.json()["level"]) == (200, "HALTED")
    proposed = other.post("/system/resume", {"reason": "It is over."})
    assert proposed.status_code == 202
    alone = other.post("/system/resume", {"proposal": proposed.json()["proposal"], "reason": "Agreed."})
    assert (alone.status_code, alone.json()["code"]) == (403, "second_person_needed")
    assert TradingControl.objects.get(scope="SYSTEM").level > 0
