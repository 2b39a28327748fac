"""The one face of every answer that is not a success: problem documents (RFC 9457), from both doors and beyond."""

import ipaddress
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from psycopg.errors import IdleInTransactionSessionTimeout
from rest_framework import exceptions

from nexus.core.errors import Denied, FieldError, NexusError, NotFound, Unauthenticated, Unavailable, problem
from nexus.core.logs import correlation_id

PROBLEM_TYPE = "application/problem+json"

log = structlog.get_logger(__name__)


class BodyTooLarge(NexusError):
    """The request's body passes what this door reads."""

    status = 413
    code = "body_too_large"
    title = "The request body is too large"


class Malformed(NexusError):
    """The request cannot be read as it stands: broken JSON, or fields that are missing, unknown or of a wrong kind."""

    status = 400
    code = "malformed"
    title = "The request cannot be read"


class UnsupportedContent(NexusError):
    """The body is not JSON."""

    status = 415
    code = "unsupported_media_type"
    title = "The content type is not supported"


class TooManyRequests(NexusError):
    """Too often; `Retry-After` says when to come back."""

    status = 429
    code = "rate_limited"
    title = "Too many requests"

    @classmethod
    def until(cls, detail: str, *, policy: str, most: int, window: timedelta, wait: timedelta) -> Self:
        """Say how many are allowed in which window, and for how long there are none."""
        wait_s = max(1, math.ceil(wait.total_seconds()))
        headers = {
            "Retry-After": str(wait_s),
            "RateLimit-Policy": f'"{policy}";q={most};w={int(window.total_seconds())}',
            "RateLimit": f'"{policy}";r=0;t={wait_s}',
        }
        return cls(detail, headers=headers)


class TlsRequired(Denied):
    """The API is spoken to in clear."""

    code = "tls_required"
    title = "Plain HTTP is refused"


class MethodNotAllowed(NexusError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"
    title = "The method is not allowed here"


class NotAcceptable(NexusError):
    """The client accepts nothing that we can say."""

    status = 406
    code = "not_acceptable"
    title = "No acceptable representation"


def answer(error: NexusError) -> HttpResponse:
    """Turn a refusal into its answer."""
    document = error.as_problem(request_id=_request_id())
    return JsonResponse(document, status=error.status, headers=error.headers, content_type=PROBLEM_TYPE)


def answer_exception(exc: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Answer an exception of a DRF view, or return None so that it is logged and becomes a bare 500."""
    error = as_error(exc)
    return None if error is None else answer(error)


def as_error(exc: Exception) -> NexusError | None:
    """Say an exception in our words, or return None when it is nobody's fault but ours."""
    match exc:
        case NexusError():
            return exc
        case exceptions.ValidationError():
            return Malformed("Some fields are not valid.", errors=tuple(_field_errors(exc.detail, exc.get_codes())))
        case exceptions.APIException():
            return _from_drf(exc)
        case Http404():
            return NotFound("There is nothing here for you.")
        case PermissionDenied():
            return Denied("You may not do this.")
        case RequestDataTooBig():
            return BodyTooLarge("The body may hold 64 KiB at most.")
        case OperationalError() | InterfaceError() | InternalError() if _is_down(exc):
            log.error("http.database.unavailable", error=type(exc).__name__, detail=str(exc))
            return Unavailable("The database did not answer in time. Try again.", headers={"Retry-After": "1"})
    return None


def _is_down(exc: Exception) -> bool:
    """Tell whether the database is away; a transaction that stood too long it ends too, by a word of its own."""
    return not isinstance(exc, InternalError) or isinstance(exc.__cause__, IdleInTransactionSessionTimeout)


def _from_drf(exc: exceptions.APIException) -> NexusError:
    match exc:
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return Unauthenticated("Send a valid access token as `Authorization: Bearer`.")
        case exceptions.PermissionDenied():
            return Denied("You may not do this.")
        case exceptions.NotFound():
            return NotFound("There is nothing here for you.")
        case exceptions.UnsupportedMediaType():
            return UnsupportedContent("Send the body as `application/json`.")
        case exceptions.MethodNotAllowed():
            return MethodNotAllowed("This path does not know that method.")
        case exceptions.NotAcceptable():
            return NotAcceptable("This path answers with `application/json` only.")
        case exceptions.Throttled():
            wait = max(1, int(getattr(exc, "wait", None) or 1))
            return TooManyRequests("Slow down.", headers={"Retry-After": str(wait)})
        case exceptions.ParseError():
            return Malformed("The body is not valid JSON.")
    error = NexusError("The request failed.")
    error.status = exc.status_code
    error.code = str(exc.default_code)
    return error


def _field_errors(detail: Any, codes: Any, pointer: str = "") -> Iterator[FieldError]:
    """Flatten a serializer's errors, however nested, into one entry for each refused field."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            step = "" if name == "non_field_errors" else "/" + str(name).replace("~", "~0").replace("/", "~1")
            yield from _field_errors(inner, codes[name], pointer + step)
    elif isinstance(detail, Sequence) and not isinstance(detail, str):
        for index, inner in enumerate(detail):
            step = f"/{index}" if isinstance(inner, Mapping | list) else ""
            yield from _field_errors(inner, codes[index], pointer + step)
    else:
        yield FieldError(pointer=pointer, code=str(codes), detail=str(detail))


def _request_id() -> str:
    """Return the correlation id as a UUID; an answer outside any request gets one of its own."""
    known = correlation_id()
    try:
        return str(uuid.UUID(known))
    except ValueError:
        return str(uuid.uuid4())


# --- The exits outside DRF and ninja, named in urls.py and settings.py ------------------------------------------------
def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer what Django itself refuses to read."""
    if isinstance(exception, RequestDataTooBig):
        return answer(BodyTooLarge("The body may hold 64 KiB at most."))
    return answer(Malformed("The request cannot be read."))


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a refusal outside the API."""
    return answer(Denied("You may not do this."))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a path that does not exist."""
    return answer(NotFound("There is nothing here for you."))


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer our own failure without a word about its inside; the log has the rest under the same id."""
    document = problem(
        status=500,
        code=NexusError.code,
        title=NexusError.title,
        detail="The failure is recorded. Quote `instance` when you ask about it.",
        request_id=_request_id(),
    )
    return JsonResponse(document, status=500, content_type=PROBLEM_TYPE)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without its token."""
    log.warning("http.csrf.refused", reason=reason)
    refusal = Denied("The form has expired or did not come from this site. Load the page again.")
    refusal.code = "csrf_failed"
    return answer(refusal)


class ProblemMiddleware:
    """Give the one face to refusals that Django writes itself: a 405 outside DRF."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer as the inner layers do, but for a bare 405."""
        response = self.get_response(request)
        if isinstance(response, HttpResponseNotAllowed):
            return answer(
                MethodNotAllowed("This path does not know that method.", headers={"Allow": response["Allow"]})
            )
        return response


class SizeMiddleware:
    """Refuse a body that is too large before a byte of it is read.

    Django counts what a form writes, but not the files in it: it would store them, of anybody and however large.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer 413; a body without its length is read by nobody: Django takes it for empty."""
        length = request.META.get("CONTENT_LENGTH") or "0"
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if limit is not None and length.isdecimal() and int(length[:20]) > limit:
            return answer(BodyTooLarge("The body may hold 64 KiB at most."))
        return self.get_response(request)


class TlsMiddleware:
    """Refuse the API over plain HTTP, where TLS is asked for: a redirect would have let the token travel in clear."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer 403 to what came in clear; the health probe and the metrics never left the machine."""
        if settings.SECURE_SSL_REDIRECT and not request.is_secure() and request.path.startswith("/api/"):
            return answer(TlsRequired("Use https. Whatever this request carried was sent in clear: change it."))
        return self.get_response(request)


# --- Who is at the door -----------------------------------------------------------------------------------------------
def client_ip(request: HttpRequest) -> str | None:
    """Find the client's address: the first hop, from the right, that is not a proxy of ours. None when unreadable.

    Never the left-most entry of `X-Forwarded-For`, which the client writes itself.
    """
    trusted = [ipaddress.ip_network(cidr) for cidr in settings.TRUSTED_PROXY_CIDRS]
    forwarded = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    address = _address(request.META.get("REMOTE_ADDR", ""))
    while address is not None and forwarded and any(address in network for network in trusted):
        address = _address(forwarded.pop())
    return None if address is None else str(address)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))  # without its zone
    return address
