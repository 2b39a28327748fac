"""One event a minute, whatever happens: silence in the log means that the log was silenced."""

from django.conf import settings
from django.db import transaction

from nexus.audit.services import trail
from nexus.audit.services.keys import SEALER
from nexus.audit.types import Target


@transaction.atomic(durable=True)
def beat() -> None:
    """Append the heartbeat."""
    trail.record(action="system.heartbeat", actor=SEALER, target=Target("deployment", settings.DEPLOYMENT_ID))
