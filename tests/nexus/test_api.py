"""The ninja door has the same strictness, the same face and the same locks as the other."""

import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.http import Http404, HttpRequest
from django.urls import path
from ninja import Router

from nexus.api import _door
from nexus.core.errors import Conflict
from nexus.core.wire import StrictSchema
from tests.client import ApiClient

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

RECEIVED: list[Any] = []


class Leg(StrictSchema):
    quantity: Decimal


class Stop(StrictSchema):
    reason: str
    legs: tuple[Leg, ...] = ()


router = Router()


@router.post("/stop")
def stop(request: HttpRequest, stop: Stop) -> dict[str, str]:
    """Note what arrived."""
    RECEIVED.append((request.user, stop))
    return {"status": "stopped"}


@router.get("/fails/{how}", auth=None)
def fails(request: HttpRequest, how: int) -> None:
    """Fail as asked."""
    failures: list[Exception] = [Conflict("Busy.", order_id="7"), Http404(), RuntimeError("SELECT hidden")]
    raise failures[how]


door = _door("tests")
door.add_router("", router)

from accounts.api import views  # noqa: E402

urlpatterns = [path("api/v1/auth/login", views.Login.as_view()), path("api/v1/", door.urls)]
handler500 = "nexus.core.http.server_error"


@pytest.fixture(autouse=True)
def _nothing_received():
    RECEIVED.clear()


def test_a_machine_is_known_by_the_same_token(user, api, anonymous):
    response = api.post("/stop", '{"reason": "drill", "legs": [{"quantity": 0.1}]}')

    assert response.status_code == 200
    (received,) = RECEIVED
    assert received[0] == user
    assert str(received[1].legs[0].quantity) == "0.1"
    for client in (anonymous, _with_token("nonsense"), _with_token(api.tokens["refresh_token"])):
        refused = client.post("/stop", {"reason": "drill"})
        assert (refused.status_code, refused["Content-Type"]) == (401, "application/problem+json")
        assert refused["WWW-Authenticate"].startswith("Bearer")
    assert len(RECEIVED) == 1


def _with_token(token: str) -> ApiClient:
    client = ApiClient()
    client.tokens = {"access_token": token}
    return client


@pytest.mark.parametrize(
    ("body", "status", "code", "pointers"),
    [
        ("{", 400, "malformed", []),
        ('{"reason": NaN}', 400, "malformed", ["/reason"]),
        ('{"reason": "a", "reason": "b"}', 400, "malformed", ["/reason"]),
        ('{"reason": "a", "force": true}', 400, "malformed", ["/force"]),
        ('{"legs": []}', 400, "malformed", ["/reason"]),
        ('{"reason": "a", "legs": [{"quantity": "x"}]}', 400, "malformed", ["/legs/0/quantity"]),
        ('{"reason": "a", "legs": [{"quantity": 1e400}]}', 400, "malformed", ["/legs/0/quantity"]),
        ('{"reason": "' + "a" * 70_000 + '"}', 413, "body_too_large", []),
    ],
)
def test_a_bad_body_is_named_exactly(api, body, status, code, pointers):
    response = api.post("/stop", body)

    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert [error["pointer"] for error in problem.get("errors", [])] == pointers
    assert not RECEIVED


def test_only_json_is_read(api):
    response = api.post("/stop", '{"reason": "a"}', content_type="text/plain")

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [("0", 409, "conflict"), ("1", 404, "not_found"), ("2", 500, "internal_error"), ("x", 400, "malformed")],
)
def test_every_failure_has_the_one_face(anonymous, how, status, code):
    response = anonymous.get(f"/fails/{how}")

    problem = json.loads(response.content)
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    assert problem["code"] == code
    assert uuid.UUID(problem["instance"].removeprefix("urn:uuid:"))
    assert "hidden" not in response.content.decode()
