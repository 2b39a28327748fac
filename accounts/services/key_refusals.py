"""What is kept of API keys that let nobody in, and who is told."""

from datetime import datetime

from django.db import transaction

from accounts.models import ApiKey, User
from accounts.services import refusals
from nexus.alerts.services import alerts
from nexus.alerts.states import Severity
from nexus.audit.types import ANONYMOUS, Actor, ActorType, Outcome, Target


def note_failure(key: ApiKey, user: User, *, is_right: bool, ip: str | None) -> None:
    """Keep that a key of somebody's let nobody in; without its secret, who came is nobody we know."""
    key_id = str(key.public_id)
    refusals.keep(
        action="auth.api_key.failed",
        actor=Actor(ActorType.API_KEY, key_id) if is_right else ANONYMOUS,
        target=Target("api_key", key_id),
        outcome=Outcome.FAILURE,
        detail={"owner": user.public_id, "knew_the_secret": is_right},
        pii={"ip": ip or "unknown"},
        of=f"api_key {key_id}",
    )


def note_address(key: ApiKey, user: User, *, ip: str | None, at: datetime) -> None:
    """Keep that a key came from where it may not, and tell people: it may have leaked."""
    is_kept = refusals.keep(
        action="auth.api_key.address_denied",
        actor=Actor(ActorType.API_KEY, str(key.public_id)),
        target=Target("api_key", str(key.public_id)),
        detail={"owner": user.public_id},
        pii={"ip": ip or "unknown"},
    )
    if is_kept:
        _tell_operators(key, at=at)


@transaction.atomic(durable=True)
def _tell_operators(key: ApiKey, *, at: datetime) -> None:
    alerts.open_alert(
        severity=Severity.WARNING,
        kind="API_KEY_ADDRESS",
        dedupe_key=f"api-key-address:{key.public_id}",
        text=f"The API key {key.name!r} was used from an address that is not allowed. It may have leaked.",
        object_type="api_key",
        object_id=str(key.public_id),
        at=at,
    )
