"""Bundles of the audit log: asked for by compliance, written by a worker while the page shows how far, and taken."""

from typing import Any, ClassVar

from django import forms
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import selectors as people
from accounts.rules import Action
from nexus.audit import selectors
from nexus.audit.services import exports
from nexus.audit.states import ExportState
from nexus.audit.types import Actor, Selection
from nexus.console.acts import Act, ActForm, Done, Plan, version_of
from nexus.console.audit import UtcField, text_field
from nexus.console.pages import Page

SHOWN = 50
FILTERS = (
    ("from_at", gettext_lazy("From")),
    ("to_at", gettext_lazy("Before")),
    ("action", gettext_lazy("Action")),
    ("actor_id", gettext_lazy("Actor")),
    ("object_type", gettext_lazy("Kind of object")),
    ("object_id", gettext_lazy("Id of the object")),
)


class ExportsPage(Page):
    """The newest exports: who asked for what and why, and how far each is."""

    action: ClassVar = Action.AUDIT_READ
    template = "console/exports.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the exports."""
        rows = selectors.exports(limit=SHOWN)
        who = people.names([row.asked_by for row in rows])
        return {
            "title": _("Exports of the audit log"),
            "rows": [(row, who.get(row.asked_by, row.asked_by), filter_of(row)) for row in rows],
            "at": now(),
            "may_export": self.may(Action.AUDIT_EXPORT),
        }


class ExportPage(Page):
    """One export, with its progress, and the way to its file once it is there."""

    action: ClassVar = Action.AUDIT_READ
    template = "console/export.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the export."""
        row = selectors.export(kwargs["export_id"])
        return {
            "title": _("Export %(id)s") % {"id": row.pk},
            "row": row,
            "who": people.names([row.asked_by]).get(row.asked_by, row.asked_by),
            "filters": filter_of(row),
            "percent": int(row.progress * 100),
            "is_over": row.state not in (ExportState.QUEUED, ExportState.RUNNING),
            "is_ready": row.state == ExportState.READY,
            "may_export": self.may(Action.AUDIT_EXPORT),
            "at": now(),
        }


class ExportPart(ExportPage):
    """The part of it that the page's script reads anew. It counts as no act of the person's."""

    template = "console/export_live.html"
    is_act: ClassVar = False


class AskForm(ActForm):
    """What the bundle holds, in which forms, and what it is for."""

    from_at = UtcField(label=gettext_lazy("From (UTC)"))
    to_at = UtcField(label=gettext_lazy("Before (UTC)"))
    act = text_field(gettext_lazy("Action"))
    actor = text_field(gettext_lazy("Actor"), help_text=gettext_lazy("Email address, id, or name of a process."))
    object_type = text_field(gettext_lazy("Kind of object"))
    object_id = text_field(gettext_lazy("Id of the object"))
    with_csv = forms.BooleanField(label=gettext_lazy("A table (CSV) beside it"), required=False)
    with_parquet = forms.BooleanField(
        label=gettext_lazy("A table as Parquet"),
        required=False,
        help_text=gettext_lazy("Only where the worker has the packages of requirements-parquet.txt."),
    )
    with_pii = forms.BooleanField(
        label=gettext_lazy("Personal data too"),
        required=False,
        help_text=gettext_lazy("Addresses, user agents and unknown names. Only where the auditor's role is set up."),
    )
    field_order = (
        "from_at", "to_at", "act", "actor", "object_type", "object_id", "with_csv", "with_parquet", "with_pii",
        "reason",
    )  # fmt: skip


class AskPage(Act):
    """Ask for a bundle. It is written in the background."""

    action: ClassVar = Action.AUDIT_EXPORT
    form_class: ClassVar = AskForm

    def plan(self, **kwargs: Any) -> Plan:
        """Say what a bundle proves. It rests on the person's last export: a form that is sent twice makes one."""
        me = str(self.person.public_id)
        own = next((row.pk for row in selectors.exports(limit=SHOWN) if row.asked_by == me), 0)
        return Plan(
            title=_("Export the audit log"),
            version=version_of(newest=own),
            button=_("Export"),
            before=_("Nothing has left the log."),
            after=_("A worker writes a bundle of what you choose. You take it from its page, with another code."),
            consequences=(
                _("Only a time, and nothing else: the bundle proves that nothing is missing in between."),
                _("With an action, actor or object: it proves each event, and not that none was left out."),
                _("What you ask for, its reason, and every taking of the file stand in the log."),
                _("One export at a time, and five an hour."),
            ),
            back=reverse("admin:console_exports"),
        )

    def form(self, plan: Plan, *, data: Any = None, initial: dict[str, Any] | None = None) -> ActForm:
        """Begin with what the search that led here has looked for."""
        asked = self.request.GET
        names = ("from_at", "to_at", "act", "actor", "object_type", "object_id")
        begun = {name: asked.get(name, "") for name in names}
        return super().form(plan, data=data, initial={**begun, **(initial or {})})

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Ask for it."""
        actor = words["actor"]
        found = people.user_by_email(actor) if "@" in actor else None
        selection = Selection(
            action=words["act"], actor_id=str(found.public_id) if found else actor,
            **{name: words[name] for name in ("from_at", "to_at", "object_type", "object_id")},
            **{name: words[name] for name in ("with_csv", "with_parquet", "with_pii")},
        )  # fmt: skip
        by = Actor.user(self.person.public_id)
        row = exports.request(selection=selection, asked_by=by, reason=words["reason"], at=now())
        return Done(_("Asked for. This page shows how far it is."), reverse("admin:console_export", args=[row.pk]))


class TakePage(Act):
    """Take a finished bundle: the answer is the file, and the log says who took it."""

    action: ClassVar = Action.AUDIT_EXPORT
    asks_reason: ClassVar = False

    def plan(self, **kwargs: Any) -> Plan:
        """Show what is taken."""
        row = selectors.export(kwargs["export_id"])
        is_ready = row.state == ExportState.READY
        return Plan(
            title=_("Take export %(id)s") % {"id": row.pk},
            version=version_of(export=row.pk, state=row.state, manifest=row.manifest_sha256),
            button=_("Take the file"),
            facts=(
                (_("State"), row.state),
                (_("Events"), row.events),
                (_("Size"), _("%(bytes)s bytes") % {"bytes": row.size}),
                (_("Personal data"), _("yes") if row.with_pii else _("no")),
                (_("SHA-256 of its manifest"), row.manifest_sha256 or "–"),
                *filter_of(row),
            ),
            before=_("The file lies on the server."),
            after=_("You have the file, the server has it no more, and the log says so."),
            consequences=(
                _("It is taken once. If it does not arrive whole, ask for another one."),
                _("Whoever has it can read it. Keep it where only those do who may."),
            ),
            back=reverse("admin:console_export", args=[row.pk]),
            barred="" if is_ready else _("It has no file: it is %(state)s.") % {"state": row.state},
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Hand it over."""
        file = exports.take(export_id=kwargs["export_id"], by=Actor.user(self.person.public_id))
        return Done("", plan.back, file=file)


def filter_of(row: Any) -> list[tuple[str, object]]:
    """Return what an export was asked to hold, in words."""
    return [(str(words), getattr(row, name)) for name, words in FILTERS if getattr(row, name)]
