"""One OpenAPI 3.1 document for both doors."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.timezone import now
from drf_spectacular.generators import SchemaGenerator

from accounts.services import browsing, rates
from nexus.api import api
from nexus.core.http import PROBLEM_TYPE, TooManyRequests, answer

View = Callable[..., HttpResponseBase]

PREFIX = "/api/v1/"

_METHODS = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})
_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Why the request was not done (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "code"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:nexus:problem:not_found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "This very request; quote it when you ask about it."},
        "code": {"type": "string", "examples": ["not_found"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "examples": ["/quantity"]},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def canonical_routes(endpoints: list[Any], **_hook: Any) -> list[Any]:
    """Keep the routes under the canonical prefix; the shorter one answers the same. A hook of drf-spectacular."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(PREFIX)]


def document() -> dict[str, Any]:
    """Merge the DRF door's schema and the ninja door's into one document.

    Raises: ValueError when both doors claim one operation, or give one name to two shapes.
    """
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    merged: dict[str, Any] = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    machines: dict[str, Any] = api.get_openapi_schema(path_prefix=PREFIX)
    for route, operations in machines["paths"].items():
        _merge(merged["paths"].setdefault(route, {}), operations, place=route)
    components = merged.setdefault("components", {})
    for kind, entries in machines.get("components", {}).items():
        if kind != "securitySchemes":  # the bearer scheme is declared once, below
            _merge(components.setdefault(kind, {}), entries, place=kind)
    components.setdefault("schemas", {})["Problem"] = _PROBLEM_SCHEMA
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    for operations in merged["paths"].values():
        for method, operation in operations.items():
            if method in _METHODS:
                _finish(operation)
    return merged


def _merge(into: dict[str, Any], entries: dict[str, Any], *, place: str) -> None:
    for name, entry in entries.items():
        if into.setdefault(name, entry) != entry:
            raise ValueError(f"Both doors define {name} in {place}.")


def _finish(operation: dict[str, Any]) -> None:
    """Declare the problem answer, and the one bearer scheme where the operation asks for any."""
    operation["responses"] = {str(status): response for status, response in operation["responses"].items()}
    operation["responses"]["default"] = {
        "description": "A problem: nothing was done, or `detail` says what was.",
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if any(operation.get("security", [])):
        operation["security"] = [{"bearer": []}]
    else:
        operation["security"] = []


def for_staff(view: View) -> View:
    """Show a page to whom the console opens, and only in a session in which somebody is there."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if admin.site.has_permission(request) and not browsing.is_idle(request, at=now()):
            return view(request, *args, **kwargs)
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))

    return answer


def schema_view(request: HttpRequest) -> HttpResponse:
    """Answer the document, to strangers so many times a minute: it is made anew each time."""
    if not request.user.is_authenticated:
        try:
            rates.count_stranger(request)
        except TooManyRequests as exc:
            return answer(exc)
    return JsonResponse(document())
