"""The ninja door, for machines: each app's `machine.py` is mounted here, behind the same authentication and errors."""

from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI, Router, Schema
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser

from accounts.machine import bearer
from nexus.core.errors import Denied, FieldError, NexusError, NotFound, Unauthenticated
from nexus.core.http import Malformed, TooManyRequests, answer, as_error
from nexus.core.wire import read_body
from trading.machine import router as brake


class ExactParser(Parser):
    """Read bodies with the same strictness as the DRF door."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Return the body's value. Raises: NexusError."""
        return read_body(request)


class Health(Schema):
    """The process answers, and so does its database."""

    status: str
    database: str


system = Router(tags=["system"])


@system.get("/health", auth=None, response=Health, operation_id="health")
def health(request: HttpRequest) -> dict[str, str]:
    """Tell whether this process and its database answer; 503 when the database does not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {"status": "ok", "database": "ok"}


def _door(name: str) -> NinjaAPI:
    """Build a ninja API without pages of its own: closed unless a route says `auth=None`, one face for errors."""
    door = NinjaAPI(
        title="Nexus", version="1", docs_url=None, openapi_url=None, urls_namespace=name, auth=bearer,
        parser=ExactParser(),
    )  # fmt: skip
    for kind in (Exception, Http404, HttpError, ValidationError, RequestDataTooBig):
        door.add_exception_handler(kind, _answer)
    return door


def _answer(request: HttpRequest, exc: Any) -> HttpResponse:
    error = _as_error(exc)
    if error is None:
        raise exc
    return answer(error)


def _as_error(exc: Exception) -> NexusError | None:
    match exc:
        case HttpError() if isinstance(exc.__cause__, NexusError):  # ninja wraps what the parser refuses
            return exc.__cause__
        case ValidationError():
            return Malformed("Some fields are not valid.", errors=[_field_error(item) for item in exc.errors])
        case HttpError(status_code=401):
            return Unauthenticated("Send a valid access token as `Authorization: Bearer`.")
        case HttpError(status_code=403):
            return Denied("You may not do this.")
        case HttpError(status_code=404):
            return NotFound("There is nothing here for you.")
        case HttpError(status_code=429):
            wait = max(1, int(getattr(exc, "wait", None) or 1))
            return TooManyRequests("Slow down.", headers={"Retry-After": str(wait)})
        case HttpError():
            return Malformed("The request cannot be read.")
    return as_error(exc)


def _field_error(item: dict[str, Any]) -> FieldError:
    """Turn one of ninja's errors into ours. Its place is ("body", parameter, field, …) or ("query", field, …)."""
    place = [str(step) for step in item.get("loc", ())]
    steps = place[2:] if place[:1] == ["body"] else place[1:]
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    return FieldError(pointer=pointer, code=str(item.get("type", "invalid")), detail=str(item.get("msg", "")))


# Under both API prefixes. An app adds its router here.
api = _door("machines")
api.add_router("", system)
api.add_router("", brake)

# At the root, for probes that know no prefix.
probe = _door("probe")
probe.add_router("", system)
