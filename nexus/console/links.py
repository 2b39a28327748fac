"""A link that two have agreed to: its second half for who asked, and sending it to its owner again."""

import uuid
from typing import Any, ClassVar

from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext

from accounts.rules import Action
from accounts.services import links
from nexus.console.acts import Act, Done, Plan, version_of
from nexus.console.words import stamp
from nexus.core.errors import NotFound


class _OfLink(Act):
    """What both share: they rest on how far the link has come."""

    action: ClassVar = Action.APPROVAL_DECIDE

    def _plan(self, approval_id: uuid.UUID, **words_of: Any) -> Plan:
        link = links.delivery(approval_id)
        if link is None:
            raise NotFound(gettext("There is no link of this request."))
        return Plan(
            version=version_of(
                expires_at=link.expires_at, half=link.is_half_kept, used=link.is_used, sent_at=link.sent_at
            ),
            facts=(
                (gettext("Whose link"), f"{link.owner.full_name} ({link.owner.email})"),
                (gettext("Ends"), f"{stamp(link.expires_at)} UTC"),
                *([(gettext("Why it did not arrive"), link.fault)] if link.fault else []),
            ),
            back=reverse("admin:console_approval", args=[approval_id]),
            **words_of,
        )


class ShowHalfPage(_OfLink):
    """See the second half of a token, which is for who asked, once."""

    asks_reason = False

    def plan(self, **kwargs: Any) -> Plan:
        """Show whose half it is."""
        return self._plan(
            kwargs["agreed_id"],
            title=gettext("Show your half"),
            button=gettext("Show it"),
            before=gettext("Nobody has seen the second half."),
            after=gettext("You see the second half, once. Who agreed has seen the first."),
            consequences=(
                gettext("Hand it to its owner yourself. Never put the two halves together for somebody else."),
            ),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Show it."""
        half = links.show_half(approval_id=kwargs["agreed_id"], by=self.person, at=now())
        return Done(
            gettext("The second half of the token"), plan.back, shown_once={gettext("Second half"): half},
            advice=gettext("This is shown once. Hand it over yourself; its owner puts it behind the first half."),
        )  # fmt: skip


class SendAgainPage(_OfLink):
    """Send the owner a new token in place of the one that did not arrive."""

    def plan(self, **kwargs: Any) -> Plan:
        """Show whose link it is, and what went wrong."""
        return self._plan(
            kwargs["agreed_id"],
            title=gettext("Send the link again"),
            button=gettext("Send it"),
            before=gettext("The message that was sent before counts, if it arrived."),
            after=gettext("A new token goes to the same address, and the one before is void."),
        )

    def act(self, words: dict[str, Any], plan: Plan, **kwargs: Any) -> Done:
        """Send it."""
        links.send_again(approval_id=kwargs["agreed_id"], reason=words["reason"], by=self.person, at=now())
        return Done(gettext("It is on its way."), plan.back)
