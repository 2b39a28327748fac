"""What a difference is worth and what is done about it. Pure arithmetic, no I/O.

Source: execution reference §6, steps 5 and 6.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from reconciliation.states import Action, Impact
from reconciliation.types import Finding, Policy, Verdict
from trading.types import Difference

ZERO = Decimal(0)
EXCLUDED_MAX = 3  # runs in a row that a busy key may sit out


def value(difference: Difference, *, mark: Decimal | None, usd: Decimal | None) -> Decimal | None:
    """Return what a difference of a position is worth in USD, or None when that cannot be said.

    d = |dq|·CS·mark·FX, and |da|·|q|·CS·FX for what both sides hold at different averages; q is the smaller holding.
    """
    if difference.contract_size is None or usd is None:
        return None
    worth = ZERO
    if difference.missing:
        if mark is None or mark <= 0:
            return None
        worth += abs(difference.missing) * mark
    is_same_side = difference.quantity * difference.venue_quantity > 0
    if is_same_side and difference.price is not None and difference.venue_price is not None:
        shared = min(abs(difference.quantity), abs(difference.venue_quantity))
        worth += abs(difference.venue_price - difference.price) * shared
    return worth * difference.contract_size * usd


def equity_missing(findings: Iterable[Finding]) -> Decimal | None:
    """Return what our equity lacks, both sides marked with the same prices, in profit currency times contract size.

    Only differences move it: what both sides hold alike is marked alike. None where something has no mark.
    """
    total = ZERO
    for position in (each.position for each in findings if each.position is not None):
        if position.mark is None or position.contract_size is None:
            return None
        theirs = position.venue_quantity * (position.mark - (position.venue_price or ZERO))
        ours = position.quantity * (position.mark - (position.price or ZERO))
        total += (theirs - ours) * position.contract_size
    return total


def sighted(
    finding: Finding, *, seen: str, sightings: int, excluded: int, kept: str, is_busy: bool, is_apart: bool = True
) -> Finding:
    """Return the finding with what earlier runs know of it.

    Takes: the signature that the run before saw under this key and how often in a row, how many runs in a row it was
    left out, the signature that an operator keeps, and whether the run that counted last is long enough ago: two that
    people ask for within seconds are one sighting. What was left out as often as it may be counts from then on, until
    it is busy no more or is another difference: it would seem to be gone for all but every fourth run.
    """
    is_new = seen != finding.signature
    is_spent = excluded >= EXCLUDED_MAX and (not seen or not is_new)
    is_excluded = is_busy and not is_spent
    return replace(
        finding,
        is_busy=is_busy,
        sightings=1 if is_new else sightings + is_apart,
        is_apart=is_apart or (is_new and not is_excluded),
        is_excluded=is_excluded,
        is_kept=bool(kept) and kept == finding.signature,
    )


def judge(findings: Sequence[Finding], *, synced: Decimal, policy: Policy) -> Verdict:
    """Return D and what is done about each finding.

    D is the sum of absolute values: differences never cancel. Below the band each is corrected once it was seen twice,
    as long as the corrections of 24 h stay within their maximum. What cannot be valued stops, like what is too much.
    Takes: `synced`, the USD that were corrected automatically in the last 24 h.
    """
    counted = [each for each in findings if not (each.is_excluded or each.is_kept)]
    total = sum((each.value for each in counted if each.value is not None), start=ZERO)
    is_unvalued = any(each.value is None for each in counted)
    stops = is_unvalued or total > policy.stop_above
    actions = []
    for each in findings:
        if each.is_excluded or each.is_kept:
            action = Action.EXCLUDED if each.is_excluded else Action.KEPT
        elif stops:
            action = Action.TRADING_STOPPED
        elif total >= policy.review_from:
            action = Action.REVIEW
        else:
            action, synced = _small(each, synced=synced, policy=policy)
        actions.append(action)
    return Verdict(total, is_unvalued, tuple(actions), stops)


def _small(finding: Finding, *, synced: Decimal, policy: Policy) -> tuple[Action, Decimal]:
    after = synced + (finding.value or ZERO)
    if after > policy.synced_max:
        return Action.REVIEW, synced
    if finding.sightings < 2:
        return Action.OBSERVED, synced
    return Action.BROKER_SYNCED, after


def impact(worth: Decimal | None, *, policy: Policy) -> Impact:
    """Return how much a value in USD is; what cannot be valued is the most."""
    if worth is None or worth > policy.stop_above:
        return Impact.HIGH
    return Impact.MEDIUM if worth >= policy.review_from else Impact.LOW
