"""All that is known of one order, on one line of time: asked, judged, sent, answered, filled, put right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q

from accounts import selectors as people
from accounts.types import Principal
from nexus.alerts import selectors as alerts
from nexus.audit.services import looking
from nexus.core import money
from trading import selectors
from trading.models import BookCorrection, ChangeRequest, Fill, TradeLedger
from trading.states import Delivery

EVENTS_MAX = 500
RANKS = ("request", "checks", "state", "sent", "answer", "fill", "change", "correction", "decision", "alert", "audit")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. `facts` are names and values; `table` holds the checks, with their figures."""

    at: datetime
    kind: str
    words: str
    who: str = ""
    why: str = ""
    facts: Sequence[tuple[str, object]] = ()
    table: Sequence[Mapping[str, Any]] = field(default=())


@dataclass(frozen=True, slots=True)
class History:
    """An order, its line of time, and the fills on its instrument that no order of ours explains.

    `look_alikes` are those that may be the order itself, without its mark.
    """

    order: TradeLedger
    lines: tuple[Line, ...]
    unexplained: tuple[Fill, ...]
    has_more: bool
    look_alikes: tuple[Fill, ...] = ()


def of(order: TradeLedger) -> History:
    """Return the history of an order, the oldest first, in a fixed number of statements."""
    fills = selectors.fills_of(order)
    changes = list(ChangeRequest.objects.filter(order=order).order_by("pk"))
    decisions = list(order.decisions.order_by("pk"))
    events = looking.about(object_type="order", object_id=str(order.public_id), limit=EVENTS_MAX)
    ids = [event.actor_id for event, _ in events] + [change.requested_by for change in changes]
    corrections = _corrections(order, fills)
    ids += (
        [each.made_by for each in corrections] + [d.proposed_by for d in decisions] + [d.decided_by for d in decisions]
    )
    names = people.names(ids)
    lines = [
        *_asked(order), *_moves(order), *_fills(fills), *_changes(changes, names), *_put_right(corrections, names),
        *_decisions(decisions, names), *_alerts(order), *_audit(events, names),
    ]  # fmt: skip
    lines.sort(key=lambda line: (line.at, RANKS.index(line.kind)))
    is_open = order.sent_at and order.delivery != Delivery.DONE
    unexplained = list(selectors.unexplained_fills(order)[:20]) if is_open else []
    return History(order, tuple(lines), tuple(unexplained), len(events) == EVENTS_MAX, tuple(_alike(order)))


def look_alikes_for(person: Principal, order: TradeLedger) -> list[Fill] | None:
    """Return what may be an order that is not over, to those who see everybody's orders; None to its owner."""
    return _alike(order) if person.role in selectors.READS_ALL else None


def _alike(order: TradeLedger) -> list[Fill]:
    is_open = order.sent_at and order.delivery != Delivery.DONE
    return selectors.look_alikes([order]).get(order.pk, []) if is_open else []


def _asked(order: TradeLedger) -> Iterator[Line]:
    prices = {
        "entry price": order.entry_price, "limit": order.limit_price, "trigger": order.stop_price,
        "stop loss": order.stop_loss, "take profit": order.take_profit,
    }  # fmt: skip
    yield Line(
        order.created_at, "request", f"{order.order_type} {order.side} {money.as_text(order.quantity)} {order.symbol}",
        who=f"{order.user.full_name} ({order.user.email})",
        facts=[
            *((name, money.as_text(price)) for name, price in prices.items() if price is not None),
            ("worst case", f"{money.as_text(order.risk)} USD"), ("value", f"{money.as_text(order.value)} USD"),
            ("account", order.account), ("request", order.correlation_id or "–"),
        ],
    )  # fmt: skip
    if order.checks:
        failed = [check["name"] for check in order.checks if not check["passed"]]
        words = f"{len(order.checks)} checks, all passed" if not failed else f"refused by {', '.join(failed)}"
        yield Line(
            order.created_at, "checks", words, table=sorted(order.checks, key=lambda check: bool(check["passed"]))
        )
    if order.sent_at is not None:
        reference = {"bid": order.reference_bid, "ask": order.reference_ask}
        shown = [(f"reference {name}", money.as_text(price)) for name, price in reference.items() if price is not None]
        yield Line(
            order.sent_at, "sent", "marked as sent, once and for all", facts=[*shown, ("attempts", order.attempts)]
        )


def _moves(order: TradeLedger) -> Iterator[Line]:
    for event in order.events.order_by("pk"):
        words = f"{event.came_from or 'nothing'} → {event.to}"
        is_ours = not event.came_from or event.came_from.endswith(Delivery.QUEUED)
        yield Line(event.at, "state" if is_ours else "answer", words, why=event.reason, facts=_flat(event.evidence))


def _fills(fills: Sequence[Fill]) -> Iterator[Line]:
    for fill in fills:
        money_of = {"commission": fill.commission, "swap": fill.swap, "fee": fill.fee, "profit": fill.profit}
        yield Line(
            fill.filled_at, "fill", f"{fill.kind}: {fill}",
            facts=[
                ("deal", fill.venue_fill_id), ("position", fill.venue_position_id or "–"),
                *((name, money.as_text(amount)) for name, amount in money_of.items() if amount),
                *([("slippage", money.as_text(fill.slippage))] if fill.slippage is not None else []),
                *([("takes back", fill.reverses)] if fill.reverses else []),
                ("booked", f"{fill.booked_at:%Y-%m-%d %H:%M:%S.%f} UTC"),
            ],
        )  # fmt: skip


def _changes(changes: Sequence[ChangeRequest], names: Mapping[str, str]) -> Iterator[Line]:
    for change in changes:
        who = names.get(change.requested_by, change.requested_by)
        facts = [
            *((f"before: {name}", value) for name, value in _flat(change.before)),
            *((f"after: {name}", value) for name, value in _flat(change.after)),
        ]
        yield Line(change.requested_at, "change", f"{change.kind} asked for", who, change.reason, facts)
        yield Line(change.sent_at, "change", f"{change.kind} sent")
        if change.settled_at is not None:
            yield Line(
                change.settled_at, "change", f"{change.kind} {change.state}", facts=[("answer", change.answer or "–")]
            )


def _corrections(order: TradeLedger, fills: Sequence[Fill]) -> list[BookCorrection]:
    """Return what was put right on the order's positions since it was asked for."""
    positions = {fill.venue_position_id for fill in fills} | {order.venue_position_id} - {""}
    if not positions:
        return []
    since = Q(created_at__gte=order.created_at)
    rows = BookCorrection.objects.filter(since, account=order.account_id, venue_position_id__in=positions)
    return list(rows.order_by("pk")[:EVENTS_MAX])


def _put_right(corrections: Sequence[BookCorrection], names: Mapping[str, str]) -> Iterator[Line]:
    for each in corrections:
        price = "–" if each.price is None else money.as_text(each.price)
        who = names.get(each.made_by, each.made_by)
        facts = [("position", each.venue_position_id), ("price", price)]
        yield Line(each.created_at, "correction", str(each), who, each.reason, facts)


def _decisions(decisions: Sequence[Any], names: Mapping[str, str]) -> Iterator[Line]:
    for each in decisions:
        proposer = names.get(each.proposed_by, each.proposed_by)
        yield Line(each.proposed_at, "decision", f"proposed to be {each.to}", proposer, each.evidence)
        if each.decided_at is not None:
            who = names.get(each.decided_by, each.decided_by)
            yield Line(each.decided_at, "decision", f"the proposal is {each.state}", who)


def _alerts(order: TradeLedger) -> Iterator[Line]:
    for alert in alerts.about(object_type="order", object_id=str(order.public_id), limit=EVENTS_MAX):
        yield Line(alert.opened_at, "alert", f"{alert.severity} {alert.kind}", why=alert.text)
        if alert.closed_at is not None:
            yield Line(alert.closed_at, "alert", f"{alert.kind} is over")


def _audit(events: Sequence[tuple[Any, Mapping[str, Any]]], names: Mapping[str, str]) -> Iterator[Line]:
    for event, detail in events:
        who = names.get(event.actor_id, event.actor_id or event.actor_type)
        rest = {name: value for name, value in detail.items() if name not in ("reason", "checks")}
        outcome = "" if event.outcome == "success" else f" {event.outcome}"
        facts = [*_flat(rest), ("event", event.pk)]
        yield Line(event.recorded_at, "audit", f"{event.action}{outcome}", who, str(detail.get("reason") or ""), facts)


def _flat(found: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Write nested words and figures as one list; what is empty says nothing."""
    rows: list[tuple[str, object]] = []
    for name, value in found.items():
        words = f"{prefix}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{words}: ")
        elif value not in (None, "", [], {}):
            rows.append((words, ", ".join(map(str, value)) if isinstance(value, list) else value))
    return rows
