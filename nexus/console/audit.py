"""The black box on the console: searched by what is indexed, read event by event, and how it verifies."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar

from django import forms
from django.urls import reverse
from django.utils import timezone
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import selectors as people
from accounts.rules import Action
from nexus.audit import selectors
from nexus.audit.services import searching, verdicts
from nexus.audit.services.searching import Found, Row, Search
from nexus.audit.types import Actor, Outcome
from nexus.console.acts import Act, Done, Plan, version_of
from nexus.console.pages import Page, keyset, older

SHOWN = 30
TEXT_LENGTH_MAX = 200
YEAR_MIN, YEAR_MAX = 1970, 9000


class UtcField(forms.DateTimeField):
    """A time in UTC, whatever zone the person's clock shows: events are named by it."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")
        super().__init__(required=False, widget=widget, **kwargs)

    def to_python(self, value: Any) -> datetime | None:
        """Read a time. Raises: ValidationError, also for one with which nobody can reckon."""
        with timezone.override(UTC):
            found = super().to_python(value)
        if found is not None and not YEAR_MIN <= found.year <= YEAR_MAX:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return found

    def prepare_value(self, value: Any) -> Any:
        """Show a time as it was typed."""
        return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value


def text_field(label: Any, **kwargs: Any) -> forms.CharField:
    """Return a field for a short text that may be left empty."""
    widget = forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    return forms.CharField(label=label, required=False, max_length=TEXT_LENGTH_MAX, widget=widget, **kwargs)


class SearchForm(forms.Form):
    """What is looked for. Words are exact: only whole ones are indexed."""

    actor = text_field(gettext_lazy("Actor"), help_text=gettext_lazy("Email address, id, or name of a process."))
    act = text_field(gettext_lazy("Action"), help_text=gettext_lazy("Exactly, as auth.login.succeeded."))
    object_type = text_field(gettext_lazy("Kind of object"), help_text=gettext_lazy("As order, user, trading_account."))
    object_id = text_field(gettext_lazy("Id of the object"))
    outcome = forms.ChoiceField(
        label=gettext_lazy("Outcome"), required=False, choices=[("", "–"), *((each, each) for each in Outcome)]
    )
    from_at = UtcField(label=gettext_lazy("From (UTC)"))
    to_at = UtcField(label=gettext_lazy("Before (UTC)"))

    def clean(self) -> dict[str, Any]:
        """Hold the criteria to what can be looked up."""
        cleaned = super().clean() or {}
        if bool(cleaned.get("object_type")) != bool(cleaned.get("object_id")):
            self.add_error("object_id", _("An object is named by its kind and its id, both."))
        start, end = cleaned.get("from_at"), cleaned.get("to_at")
        if start and end and start >= end:
            self.add_error("to_at", _("The end must come after the beginning."))
        return cleaned

    def search(self) -> Search:
        """Return what is looked for, with an email address as the id that events hold."""
        given = dict(self.cleaned_data)
        actor = given.pop("actor")
        if "@" in actor:
            found = people.user_by_email(actor)
            actor = str(found.public_id) if found else actor
        return Search(actor_id=actor, action=given.pop("act"), **given)


class AuditPage(Page):
    """Search the log, a page at a time."""

    action: ClassVar = Action.AUDIT_READ
    template = "console/audit.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read one page of what is looked for."""
        form, found = SearchForm(self.request.GET), Found((), None, is_cut=False)
        if form.is_valid():
            found = searching.search(form.search(), before=keyset(self.request))
        return {
            "title": _("Audit"),
            "form": form,
            "rows": named(found.rows),
            "found": found,
            "older": older(self.request, found.before),
            "is_first": "before" not in self.request.GET,
            "may_export": self.may(Action.AUDIT_EXPORT),
            "at": now(),
            "last": selectors.last_verification(),
            "lag": selectors.seal_lag(at=now()),
        }


class EventPage(Page):
    """One event whole: its exact words, and what seals it."""

    action: ClassVar = Action.AUDIT_READ
    template = "console/event.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the event."""
        whole = searching.whole(kwargs["event_id"])
        ((event, who),) = named([whole.event])
        return {
            "title": _("Event %(id)s: %(action)s") % {"id": event.pk, "action": event.action},
            "event": event,
            "who": who,
            "whole": whole,
            "detail": lines(whole.document.get("detail") or {}),
            "occurred_at": whole.document.get("occurred_at"),
            "db_user": whole.document.get("db_user"),
            "leaf_hash": bytes(whole.leaf.leaf_hash).hex() if whole.leaf else "",
            "root": bytes(whole.batch.merkle_root).hex() if whole.batch else "",
            "older": searching.older_than(event.pk),
            "pii_sha256": whole.document.get("pii_sha256"),
            "is_erased": selectors.is_erased(event.pk),
            "may_reveal": self.may(Action.PII_REVEAL),
        }


class VerifyPage(Act):
    """Have the whole log verified now, by the worker that does so every night."""

    action: ClassVar = Action.AUDIT_VERIFY

    def plan(self, **kwargs: Any) -> Plan:
        """Say what it does, and when it was done last."""
        last, asked = selectors.last_verification(), selectors.verification_asked()
        is_under_way = asked is not None and now() - asked.recorded_at < verdicts.GIVEN_UP_AFTER
        shown = f"{last.finished_at:%Y-%m-%d %H:%M:%S} UTC: {last.verdict}" if last else _("never")
        return Plan(
            title=_("Verify the audit log now"),
            version=version_of(last=last.pk if last else 0, asked=asked.pk if asked else 0),
            button=_("Verify now"),
            facts=((_("Last verified"), shown),),
            before=_("It is verified every night after 02:00 UTC."),
            after=_("The worker of the queue audit reads the whole log once and compares every seal, key and anchor."),
            consequences=(
                _("Nothing in the log is changed. A million events take about a minute."),
                _("What it finds stands on the page of verifications, and a finding wakes people."),
            ),
            back=reverse("admin:console_verification"),
            barred=_("Somebody has asked for it already. Wait for the answer.") if is_under_way else "",
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Ask for it."""
        verdicts.request(asked_by=Actor.user(self.person.public_id), reason=words["reason"], at=now())
        return Done(_("Asked for. The verdict comes on this page."), plan.back)


class VerificationPage(Page):
    """How the log verifies: the last verdicts, how far the sealer is, and where its seals are kept."""

    action: ClassVar = Action.AUDIT_READ
    template = "console/verification.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the verdicts, the head and the anchors."""
        asked = selectors.verification_asked()  # first: of one that ends meanwhile the verdict is among the rows
        rows = selectors.verifications(limit=SHOWN)
        found = rows[0].findings[:SHOWN] if rows else []
        who = people.names([*([asked.actor_id] if asked else []), *(row.asked_by for row in rows)])
        return {
            "title": _("Verification of the audit log"),
            "rows": [(row, who.get(row.asked_by, row.asked_by)) for row in rows],
            "asked": asked,
            "asker": who.get(asked.actor_id, asked.actor_id) if asked else "",
            "is_lost": asked is not None and now() - asked.recorded_at > verdicts.GIVEN_UP_AFTER,
            "may_verify": self.may(Action.AUDIT_VERIFY),
            "findings": [" ".join(f"{name}: {text}" for name, text in each.items()) for each in found],
            **standing(at=now(), last=rows[0] if rows else None),
        }


class VerificationPart(VerificationPage):
    """The part of it that the page's script reads anew while a verification is under way."""

    template = "console/verification_live.html"


def standing(*, at: datetime, last: Any) -> dict[str, Any]:
    """Return how the log stands, as the front page says it too. Takes: the `last` verification of all of it."""
    return {
        "at": at,
        "head": selectors.head(),
        "lag": selectors.seal_lag(at=at),
        "anchors": selectors.anchor_lags(at=at),
        "last": last,
    }


def named(events: Iterable[Row]) -> list[tuple[Row, str]]:
    """Put each event beside its actor as operators know it."""
    rows = list(events)
    who = people.names([row.actor_id for row in rows])
    return [(row, who.get(row.actor_id, row.actor_id)) for row in rows]


def lines(document: Any, *, under: str = "") -> list[tuple[str, str]]:
    """Write a document as lines of a name and a value, the inner ones under their outer names."""
    if not isinstance(document, (dict, list)) or not document:
        return [(under, "–" if document in (None, "", {}, []) else str(document))]
    pairs = document.items() if isinstance(document, dict) else enumerate(document, start=1)
    found: list[tuple[str, str]] = []
    for name, value in pairs:
        found += lines(value, under=f"{under} › {name}" if under else str(name))
    return found
