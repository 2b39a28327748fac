"""One key, one effect: claimed by one of many, free again after a crash, kept while its object is open."""

import contextlib
import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.utils.timezone import now

from nexus.idempotency import tasks
from nexus.idempotency.models import IdempotencyRecord
from nexus.idempotency.services import records
from nexus.idempotency.services.records import KeyInProgress, KeyMismatch, KeyRequired, RequestKey
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


def request(key: str = "one-and-the-same", **body: str) -> RequestKey:
    return RequestKey(
        principal="p", account="a", key=key, fingerprint=records.fingerprint(method="POST", path="/x", body=body)
    )


def claim(asked: RequestKey) -> str | None:
    with transaction.atomic():
        return records.claim(asked, object_type="thing", object_id=uuid.uuid4().hex, at=now())


@pytest.mark.threat(15)
def test_30_who_claim_at_once_make_one_row_and_know_one_object():
    def act(_number: int) -> str:
        try:
            return "claimed" if claim(request()) is None else "known"
        except KeyInProgress as exc:
            return f"busy, come back in {exc.headers['Retry-After']} s"

    answers = together(30, act)

    assert answers.count("claimed") == 1
    assert set(answers) <= {"claimed", "known", "busy, come back in 1 s"}
    assert IdempotencyRecord.objects.count() == 1
    assert claim(request()) == IdempotencyRecord.objects.get().object_id


@pytest.mark.threat(16)
def test_the_key_of_another_request_is_refused():
    claim(request(amount="1"))

    with pytest.raises(KeyMismatch):
        claim(request(amount="2"))
    assert KeyMismatch.status == 422


def test_a_crash_leaves_nothing_and_the_key_can_be_used_again():
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        records.claim(request(), object_type="thing", object_id="1", at=now())
        raise ZeroDivisionError

    assert not IdempotencyRecord.objects.exists()
    assert claim(request()) is None


def test_the_fingerprint_is_of_what_was_asked_and_of_nothing_else():
    def of(query: list[tuple[str, str]] | None = None, **changes: object) -> bytes:
        body = {"b": Decimal("1.50"), "a": None} | changes
        return records.fingerprint(method="POST", path="/x", body=body, query=query or [])

    assert of() == records.fingerprint(method="POST", path="/x", body={"a": None, "b": Decimal("1.5")})
    assert of([("b", "1"), ("a", "2")]) == of([("a", "2"), ("b", "1")])
    others = [of(b=Decimal("1.51")), of(a="x"), of(c=1), of([("a", "2")])]
    others += [
        records.fingerprint(method=method, path=path, body={}) for method, path in (("PATCH", "/x"), ("POST", "/y"))
    ]
    assert len({of(), *others}) == 7


@pytest.mark.parametrize("header", [None, "", "short", "x" * 129, "with space", "ümlaut-key", "12345678\n"])
def test_a_key_is_8_to_128_plain_characters(header):
    with pytest.raises(KeyRequired) as refused:
        records.read_key(header)

    assert (refused.value.status, refused.value.code) == (400, "idempotency_key_required")
    assert records.read_key("A_z-09ab") == "A_z-09ab"


def test_what_is_closed_goes_after_48_hours_and_what_is_open_never(monkeypatch):
    monkeypatch.setattr(records, "PURGE_BATCH", 2)
    long_ago = now() - timedelta(hours=49)
    for number in range(5):
        IdempotencyRecord.objects.create(
            principal="p", account="a", key=f"closed-{number}", fingerprint=b"", object_type="thing",
            object_id=f"closed-{number}", created_at=long_ago,
        )  # fmt: skip
        records.close(object_id=f"closed-{number}", at=long_ago)
    IdempotencyRecord.objects.create(
        principal="p", account="a", key="open", fingerprint=b"", object_type="thing", object_id="o", created_at=long_ago
    )
    claim(request())
    records.close(object_id=IdempotencyRecord.objects.get(key="one-and-the-same").object_id, at=now())

    together(2, lambda _: tasks.purge_records())

    assert set(IdempotencyRecord.objects.values_list("key", flat=True)) == {"open", "one-and-the-same"}
