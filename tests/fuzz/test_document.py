"""Every operation of the published document, asked by every role with what schemathesis makes up.

No answer is a 5xx, each is one that the document declares, and what the document forbids is refused. `make fuzz` asks
thousands of times, the normal run a few; `FUZZ_CASES` says how many for each operation, role and way (0 to skip).
"""

import contextlib
import os
from collections import Counter
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import schemathesis
from django.conf import LazySettings
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import AcceptedNegativeData, Failure, FailureGroup
from schemathesis.specs.openapi import checks

from accounts.services import step_up
from accounts.states import Role
from nexus.openapi import document
from tests.client import ApiClient
from tests.factories.accounts import UserFactory

CASES = int(os.environ.get("FUZZ_CASES", "2"))
CHECKS = (
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
)
ENDS_SESSIONS = {
    "/api/v1/auth/logout",
    "/api/v1/auth/revoke-all",
    "/api/v1/users/{user_id}/end-sessions",
}  # of whoever asks: asked by nobody here


@pytest.mark.parametrize("role", ["", *Role.values])
def test_every_answer_is_one_that_the_document_declares(
    trader: Any, role: str, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    settings.READS_PER_MINUTE = settings.ANONYMOUS_PER_MINUTE = 1_000_000  # thousands are asked; one more is no answer
    token = ""
    monkeypatch.setattr(step_up, "require", lambda *_, **__: None)  # a code a request is no matter of shapes
    if role:
        user = trader if role == Role.TRADER else UserFactory.create(role=role)
        token = ApiClient().login(user).tokens["access_token"]
    schema = schemathesis.openapi.from_dict(_without_security(document()))
    schema.app = get_wsgi_application()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    failures: list[str] = []
    statuses: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation: Any = cast("Any", result).ok()
        if operation.path in ENDS_SESSIONS and role:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            found = _ask(operation, mode, headers, statuses=statuses)
            failures.extend(f"{operation.label} as {role or 'nobody'}: {each}" for each in found)

    assert not failures, "\n".join(failures)
    print(f"{role or 'nobody'}: {sum(statuses.values())} requests, {dict(sorted(statuses.items()))}")
    assert sum(statuses.values()) > 20 * CASES
    assert not role or statuses[200]


def _without_security(published: dict[str, Any]) -> dict[str, Any]:
    """Leave out who may ask: the header is set here, and a made-up one would be set in its place."""
    for operations in published["paths"].values():
        for operation in operations.values():
            operation["security"] = []
    return published


def _ask(operation: Any, mode: GenerationMode, headers: dict[str, str], *, statuses: Counter[int]) -> list[str]:
    """Ask an operation with made-up cases, and return what was wrong with the answers."""
    found: list[str] = []

    @how(
        max_examples=CASES, deadline=None, derandomize=CASES < 10, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call(headers=headers)
        statuses[response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except (Failure, FailureGroup) as exc:
            wrong = exc.exceptions if isinstance(exc, FailureGroup) else [exc]
            found.extend(
                f"{response.status_code} {type(each).__name__}: {each.message} {case.as_curl_command()}"[:900]
                for each in wrong
                if not _was_lost_on_the_wire(each, response)
            )

    with contextlib.suppress(Unsatisfiable):  # an operation without parameters has nothing to be wrong in
        ask()
    return found[:3]


def _was_lost_on_the_wire(failure: Failure, response: Any) -> bool:
    """Tell whether what was wrong in a case, such as a parameter that is an empty list, was not sent at all."""
    sent = urlsplit(response.request.url).query or response.request.body
    return isinstance(failure, AcceptedNegativeData) and not sent
