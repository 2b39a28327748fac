"""The brake on the console: stop, what stands stopped, and the two persons' way out of it."""

from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import selectors as people
from accounts.rules import Action
from nexus.audit.types import Actor
from nexus.console.acts import Act, ActForm, Done, Plan
from nexus.console.pages import Page
from risk.states import ControlScope, StopLevel, Sweep
from trading.brokers.registry import BROKERS
from trading.services import brakes, emergency, overview, resuming

SCOPES = (
    (ControlScope.SYSTEM.value, _("Everything")),
    (ControlScope.ACCOUNT.value, _("One account")),
    (ControlScope.BROKER.value, _("One broker")),
    (ControlScope.INSTRUMENT.value, _("One instrument")),
    (ControlScope.USER.value, _("One user")),
)
LEVELS = (
    (StopLevel.HALTED.name, _("HALTED: no order is sent any more, not even one that would close a position")),
    (StopLevel.REDUCE_ONLY.name, _("REDUCE ONLY: only what makes a position smaller is sent")),
)
SWEEPS = (
    (Sweep.NONE.value, _("Leave what stands at the broker as it is")),
    (Sweep.CANCEL.value, _("Cancel every working order")),
    (Sweep.FLATTEN.value, _("Cancel every working order and close every position at the market")),
)


class StopForm(ActForm):
    """What is stopped, how far, what happens to what stands, and why."""

    scope = forms.ChoiceField(label=_("What"), choices=SCOPES, initial=SCOPES[0][0], widget=forms.RadioSelect)
    account = forms.ChoiceField(label=_("Account"), required=False)
    broker = forms.ChoiceField(label=_("Broker"), required=False)
    instrument = forms.CharField(
        label=_("Instrument"), required=False, max_length=32, help_text=_("As its broker names it.")
    )
    user = forms.CharField(label=_("User"), required=False, max_length=254, help_text=_("Email address, or id."))
    level = forms.ChoiceField(label=_("How far"), choices=LEVELS, initial=LEVELS[0][0], widget=forms.RadioSelect)
    sweep = forms.ChoiceField(label=_("What stands"), choices=SWEEPS, initial=SWEEPS[0][0], widget=forms.RadioSelect)

    field_order = ("scope", "account", "broker", "instrument", "user", "level", "sweep", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        accounts: Any = self.fields["account"]
        accounts.choices = [("", "–"), *((str(key), words) for key, words in overview.accounts_by_name())]
        brokers: Any = self.fields["broker"]
        brokers.choices = [("", "–"), *((name, name) for name in BROKERS)]

    def clean(self) -> dict[str, Any]:
        """Find what the scope is about in its own field; a target that is not of the scope would stop another thing."""
        cleaned = super().clean() or {}
        scope = cleaned.get("scope", "")
        named = {name: str(cleaned.get(name) or "").strip() for name in ("account", "broker", "instrument", "user")}
        wanted = scope.lower()
        if wanted in named and not named[wanted]:
            self.add_error(wanted, gettext("Say which one."))
        if any(text and name != wanted for name, text in named.items()):
            self.add_error(
                "scope", gettext("You have named something else too. Choose what is meant, or leave that empty.")
            )
        cleaned["target"] = named.get(wanted, "")
        if wanted == "user" and "@" in cleaned["target"]:
            found = people.user_by_email(cleaned["target"])
            cleaned["target"] = str(found.public_id) if found else cleaned["target"]
        return cleaned


class StopPage(Act):
    """Stop trading. One person's act, and safe to repeat: it carries no version, for nothing may stand in its way."""

    action: ClassVar = Action.TRADING_STOP
    template = "console/stop.html"
    form_class: ClassVar = StopForm

    def plan(self, **kwargs: Any) -> Plan:
        """Show what stands stopped already, and what a stop does."""
        stands = [f"{each.switch.scope} {each.target}: {each.level}" for each in overview.standing()]
        return Plan(
            title=gettext("Stop trading"),
            version="",
            button=gettext("STOP"),
            before="; ".join(stands) or gettext("Nothing is stopped: trading is ACTIVE everywhere."),
            after=gettext("What you choose is stopped as soon as you confirm, and stays so until two people ease it."),
            consequences=(
                gettext("From the moment this page answers, nothing that the stop covers is sent to a broker."),
                gettext("Orders on their way are listed; what a broker already works on goes on unless you sweep it."),
                gettext("A stop never makes another one milder: the stricter one stays."),
                gettext("To trade again, one operator proposes and another approves, when every precondition holds."),
            ),
            back=reverse("admin:index"),
            is_grave=True,
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Stop. What follows it is picked up by the worker of stops if it cannot be done here."""
        scope, key = brakes.aim(self.person, scope=ControlScope(words["scope"]), target=words["target"])
        stopped = emergency.stop(
            scope=scope, key=key, level=StopLevel[words["level"]], sweep=Sweep(words["sweep"]),
            reason=words["reason"], actor=Actor.user(self.person.public_id), at=now(),
        )  # fmt: skip
        level, url = StopLevel(stopped.switch.level).name, reverse("admin:console_stops")
        words_done = gettext("STOPPED: %(place)s is %(level)s.") % {"place": stopped.switch.place, "level": level}
        if stopped.is_listed:
            return Done(words_done, url)
        words_left = gettext("What was on its way is not listed yet: the worker of stops does it. Watch this page.")
        return Done(f"{words_done} {words_left}", url, messages.WARNING)


class StopsPage(Page):
    """Every stop that stands, with its sweeps."""

    action: ClassVar = Action.STATUS_READ
    template = "console/stops.html"
    title = _("Stops")

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the stops."""
        return {"stops": overview.standing(), "may_resume": self.may(Action.TRADING_RESUME)}


class OneStopPage(Page):
    """One stop with everything that belongs to it, and what stands against easing it."""

    action: ClassVar = Action.STATUS_READ
    template = "console/one_stop.html"

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read the stop, what was and is on its way, its sweeps, its proposal and every precondition."""
        at, stop = now(), overview.one(kwargs["control_id"])
        brake = brakes.show(stop.switch, at=at)
        return {
            "title": gettext("Stop: %(target)s") % {"target": stop.target},
            "stop": stop,
            "shown": brake,
            "release": brake.release,
            "level": StopLevel(brake.release.level).name if brake.release else "",
            "checks": resuming.look(stop.switch, level=StopLevel.ACTIVE, at=at),
            "may_resume": self.may(Action.TRADING_RESUME),
            "is_mine": brake.release is not None and brake.release.proposed_by_id == self.person.pk,
            "has_set_it": stop.switch.set_by == str(self.person.public_id),
        }
