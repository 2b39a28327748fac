"""A log that others have begun, and three batches of ours."""

from typing import Any

import pytest

from nexus.audit.models import Leaf
from tests.nexus.audit.sealed import record, seal


@pytest.fixture
def log(db: None) -> dict[str, Any]:
    """Three batches of four events, the second one with personal data, in a log that others have begun."""
    record()
    seal()
    batches = []
    for number in range(3):
        ids = record(4, pii={"ip": "203.0.113.7"} if number == 1 else None)
        (done,) = seal()
        batches.append((done.header.batch_no, ids))
    (number, ids), first = batches[1], Leaf.objects.get(event_id=batches[1][1][0]).log_index
    return {"batch": number, "ids": ids, "index": first, "last": batches[2][0], "last_ids": batches[2][1]}
