"""Who has looked at personal data of others: each look is an event, and nothing is shown whose event cannot be kept.

Personal data are where somebody came from and with what (addresses, user agents), and names that strangers typed.
Who works here, by which name and address, every page says; that is no event.
"""

from collections.abc import Sequence

from django.db import transaction

from accounts.types import Principal
from nexus.audit.services import trail
from nexus.audit.types import Actor, Target

NAMED_MAX = 100


@transaction.atomic(durable=True)
def note(*, by: Principal, target: Target, fields: Sequence[str], ids: Sequence[object]) -> None:
    """Keep that somebody was shown these fields of these records."""
    trail.record(
        action="personal_data.read",
        actor=Actor.user(by.public_id),
        target=target,
        detail={"fields": list(fields), "records": [str(each) for each in ids[:NAMED_MAX]], "count": len(ids)},
    )
