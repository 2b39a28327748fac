"""The way out of a stop: one operator proposes, another approves or refuses, and every precondition is shown."""

from typing import Any, ClassVar

from django import forms
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.rules import Action
from nexus.console.acts import Act, ActForm, Done, Plan
from nexus.console.words import stamp
from nexus.core.errors import NotFound
from risk.services import releases
from risk.services.releases import Release
from risk.states import ChangeState, ControlScope, StopLevel
from risk.types import Precondition
from trading.services import overview, resuming

LEVELS = (
    (StopLevel.ACTIVE.name, _("ACTIVE: trade as before")),
    (StopLevel.REDUCE_ONLY.name, _("REDUCE ONLY: only make positions smaller")),
)


class ProposeForm(ActForm):
    """To what the stop is eased, and why that is right now."""

    level = forms.ChoiceField(label=_("Ease it to"), choices=LEVELS, initial=LEVELS[0][0], widget=forms.RadioSelect)
    field_order = ("level", "reason", "otp")


class ProposePage(Act):
    """Propose to ease a stop. Nothing changes until another operator approves."""

    action: ClassVar = Action.TRADING_RESUME
    template = "console/release.html"
    form_class: ClassVar = ProposeForm

    def plan(self, **kwargs: Any) -> Plan:
        """Show the stop as it stands, and what stands against easing it."""
        at, stop = now(), overview.one(kwargs["control_id"])
        return Plan(
            title=gettext("Propose to ease the stop of %(target)s") % {"target": stop.target},
            version=str(stop.switch.version),
            button=gettext("Propose"),
            facts=_facts_of(stop),
            before=gettext("%(level)s, and it stays so.") % {"level": stop.level},
            after=gettext("A proposal waits for another operator. Who has set the stop cannot approve it either."),
            consequences=(
                gettext("Nothing is eased by this."),
                gettext("The proposal ends by itself when nobody decides it in time."),
            ),
            back=reverse("admin:console_one_stop", args=[stop.switch.pk]),
            more={"checks": resuming.look(stop.switch, level=StopLevel.ACTIVE, at=at)},
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Propose it."""
        switch = overview.one(kwargs["control_id"]).switch
        release, checks = resuming.propose(
            scope=ControlScope(switch.scope), key=switch.key, level=StopLevel[words["level"]], reason=words["reason"],
            by=self.person, at=now(), version=int(words["version"]),
        )  # fmt: skip
        failed = sum(not check.passed for check in checks)
        left = " " + gettext("Preconditions that do not hold yet: %(count)s.") % {"count": failed} if failed else ""
        url = reverse("admin:console_one_stop", args=[switch.pk])
        return Done(
            gettext("Proposed. Another operator decides until %(until)s UTC.")
            % {"until": f"{release.expires_at:%H:%M}"}
            + left,
            url,
        )


class _Decide(Act):
    """What approving and refusing share: the proposal, the stop that it is about, and what is looked at."""

    action: ClassVar = Action.TRADING_RESUME
    template = "console/release.html"

    def _read(self, release_id: int) -> Release:
        release = releases.newest_of(release_id)
        if release is None:
            raise NotFound("There is no such proposal.")
        return release

    def _plan(self, release: Release, *, checks: tuple[Precondition, ...], **words: Any) -> Plan:
        stop, level = release.control, StopLevel(release.level).name
        return Plan(
            version=f"{release.pk}.{release.state}.{stop.version}",
            facts=(
                (gettext("The stop"), f"{overview.targets_of([stop])[stop.pk]}: {StopLevel(stop.level).name}"),
                (gettext("Stopped because"), stop.reason),
                (gettext("Proposed by"), f"{release.proposed_by.full_name} ({release.proposed_by.email})"),
                (gettext("Proposed because"), release.reason),
                (gettext("Ends"), f"{stamp(release.expires_at)} UTC"),
                (gettext("State"), release.state),
            ),
            before=StopLevel(stop.level).name,
            back=reverse("admin:console_one_stop", args=[stop.pk]) if stop.level else reverse("admin:console_stops"),
            more={"checks": checks, "level": level},
            **words,
        )

    def _barred(self, release: Release, *, is_approval: bool) -> str:
        if release.state != ChangeState.PROPOSED or release.expires_at <= now():
            return gettext("This proposal is no longer open.")
        if release.proposed_by_id == self.person.pk:
            return gettext("You proposed this. Another operator decides it.")
        if is_approval and release.control.set_by == str(self.person.public_id):
            return gettext("You set this stop. Another operator decides on its release.")
        return ""


class ApprovePage(_Decide):
    """Ease the stop, as a second operator."""

    def plan(self, **kwargs: Any) -> Plan:
        """Show what is proposed, and every precondition as it is now."""
        release = self._read(kwargs["release_id"])
        level = StopLevel(release.level)
        return self._plan(
            release,
            checks=resuming.look(release.control, level=level, at=now()),
            title=gettext("Approve: ease a stop"),
            button=gettext("Approve: %(level)s") % {"level": level.name},
            after=level.name,
            consequences=(
                gettext(
                    "Orders are sent to brokers again as soon as you confirm, as far as no other stop covers them."
                ),
                gettext(
                    "While a precondition does not hold, nothing is eased: that is recorded, and the proposal stays "
                    "open."
                ),
            ),
            is_grave=True,
            barred=self._barred(release, is_approval=True),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Approve it."""
        release, switch = resuming.approve(
            release_id=kwargs["release_id"], by=self.person, reason=words["reason"], at=now()
        )
        words_done = gettext("Eased: %(place)s is %(level)s.") % {
            "place": release.control.place,
            "level": StopLevel(switch.level).name,
        }
        return Done(words_done, reverse("admin:console_stops"))


class RefusePage(_Decide):
    """Let the stop stay, as a second operator."""

    def plan(self, **kwargs: Any) -> Plan:
        """Show what is proposed."""
        release = self._read(kwargs["release_id"])
        level = StopLevel(release.level)
        return self._plan(
            release,
            checks=resuming.look(release.control, level=level, at=now()),
            title=gettext("Refuse: a stop stays"),
            button=gettext("Refuse"),
            after=gettext("%(level)s: the stop stays, and the proposal is closed.")
            % {"level": StopLevel(release.control.level).name},
            barred=self._barred(release, is_approval=False),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Refuse it."""
        resuming.refuse(release_id=kwargs["release_id"], by=self.person, reason=words["reason"], at=now())
        return Done(gettext("Refused: the stop stays."), reverse("admin:console_stops"))


def _facts_of(stop: overview.Standing) -> tuple[tuple[str, object], ...]:
    return (
        (gettext("The stop"), f"{stop.target}: {stop.level}"),
        (gettext("Since"), f"{stamp(stop.switch.set_at)} UTC"),
        (gettext("By"), stop.set_by),
        (gettext("Why"), stop.switch.reason),
    )
