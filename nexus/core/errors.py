"""The error tree and its HTTP face (RFC 9457).

An exception means that nothing was written; an outcome is a row. `NexusError` has five faces, and the outside world
fails in three ways and no others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that was refused. `pointer` is a JSON pointer into the request's body, such as `/quantity`."""

    pointer: str
    code: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        """Return the entry as it stands in the problem document."""
        return {"pointer": self.pointer, "code": self.code, "detail": self.detail}


class NexusError(Exception):
    """A refusal that a person or a program can act on. Subclasses set `code`; the five faces set `status`."""

    status = 500
    code = "internal_error"
    title = "Something failed on our side"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.members = members

    def as_problem(self, *, request_id: str) -> dict[str, Any]:
        """Return the problem document of RFC 9457 §3, with our `code` and, for bad fields, `errors`."""
        return problem(
            status=self.status, code=self.code, title=self.title, detail=self.detail,
            request_id=request_id, errors=self.errors, **self.members,
        )  # fmt: skip


class Invalid(NexusError):
    """Understood, and refused as it stands."""

    status = 422
    code = "invalid"
    title = "The request is not valid"


class Unauthenticated(NexusError):
    """Nobody we know. The answer names how to authenticate."""

    status = 401
    code = "not_authenticated"
    title = "Authentication is required"

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="nexus"'}, **members)


class Denied(NexusError):
    """Known, and not allowed."""

    status = 403
    code = "denied"
    title = "You may not do this"


class NotFound(NexusError):
    """Absent, or somebody else's: the two look the same from outside."""

    status = 404
    code = "not_found"
    title = "Not found"


class Conflict(NexusError):
    """True, but not now: the state has moved on."""

    status = 409
    code = "conflict"
    title = "The state does not allow this"


class Unavailable(NexusError):
    """Something we depend on is down; nothing was executed."""

    status = 503
    code = "unavailable"
    title = "A service we depend on is not available"


class OutsideError(Exception):
    """A broker or provider did not do what we asked. Only its three children are raised."""


class Refused(OutsideError):
    """The other side said no, for certain and for good. `code` is its own code, as text.

    `halts` when it said more than that: nothing will be accepted until a person acts, so the account must be stopped.
    `retry_s` when what stands in the way passes by itself: another request, with another id and made from what is true
    then, may be accepted after so many seconds; 0 when the market has to move first. `is_defect` when the request
    was not valid as such: whoever made it, which is us, has to be mended. `is_local` when we said it ourselves, adapter
    or gateway, and the other side was not asked.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        halts: bool = False,
        is_defect: bool = False,
        retry_s: float | None = None,
        is_local: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.is_local = is_local
        self.halts = halts
        self.is_defect = is_defect
        self.retry_s = retry_s


class Unreachable(OutsideError):
    """Nothing left us: asking again is safe."""


class OutcomeUnknown(OutsideError):
    """It may have arrived: never resend, ask."""


def problem(
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    request_id: str,
    errors: Sequence[FieldError] = (),
    **members: Any,
) -> dict[str, Any]:
    """Build a problem document (RFC 9457 §3); `type` is a stable name, `instance` is this very request."""
    document: dict[str, Any] = {
        "type": f"urn:nexus:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"urn:uuid:{request_id}",
        "code": code,
        **members,
    }
    if errors:
        document["errors"] = [error.as_dict() for error in errors]
    return document
