"""Keep that something was refused: each of the first sixty of one caller in a minute, and of the rest none.

The audit log is never emptied. Whoever is refused asks again as fast as the line carries, and what the sixtieth of a
minute does not tell, the thousandth does not either. The answer stays what it is. docs/adr/0026.
"""

from collections.abc import Mapping
from typing import Any

from accounts.services import rates
from nexus.audit.services import trail
from nexus.audit.types import Actor, Outcome, Target

KEPT_A_MINUTE = 60
LAST = "more_this_minute_are_not_kept"  # in the detail of the sixtieth


def keep(
    *,
    action: str,
    actor: Actor,
    target: Target,
    outcome: Outcome = Outcome.DENIED,
    detail: Mapping[str, Any] | None = None,
    pii: Mapping[str, Any] | None = None,
    of: str = "",
) -> bool:
    """Append a refusal in a transaction of its own, and return whether it was kept. No transaction may be open.

    Takes: `of`, whose refusals are counted together, where `actor` does not say it: an address, or a key.
    """
    number = count(of or f"{actor.type} {actor.id}")
    if number > KEPT_A_MINUTE:
        return False
    told = {**(detail or {}), **closing(number)}
    trail.record_denied(action=action, actor=actor, target=target, outcome=outcome, detail=told, pii=pii)
    return True


def count(of: str) -> int:
    """Count a refusal, and return the how many-th of this minute it is: above `KEPT_A_MINUTE` it is not kept."""
    return rates.used("refusals", of, most=KEPT_A_MINUTE)


def closing(number: int) -> dict[str, bool]:
    """Return what the event of the last one that is kept says besides."""
    return {LAST: True} if number == KEPT_A_MINUTE else {}
