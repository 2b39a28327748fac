"""Which channels hear of what, by the settings."""

from collections.abc import Sequence

from django.conf import settings

from nexus.alerts.providers import Channel
from nexus.alerts.states import Severity, Word


def hearing(severity: Severity, word: Word) -> tuple[Channel, ...]:
    """Return the channels of a message, each once. What has none of its own goes where the next louder goes."""
    critical, warning = _named("CRITICAL"), _named("WARNING")
    if word is Word.ESCALATED:
        return _named("ESCALATION")
    if severity is Severity.CRITICAL:
        return critical or warning
    return (() if severity is Severity.WARNING else _named("DIGEST")) or warning or critical


def named(name: str) -> Channel | None:
    """Return the channel that goes by this name; None when the settings do not hold it any more."""
    return next((channel for channel in every() if channel.name == name), None)


def every() -> tuple[Channel, ...]:
    """Return all channels, each once."""
    return tuple(dict.fromkeys(channel for group in settings.ALERT_CHANNELS for channel in _named(group)))


def _named(group: str) -> tuple[Channel, ...]:
    addresses: Sequence[str] = settings.ALERT_CHANNELS[group]
    return tuple(dict.fromkeys(Channel(address) for address in addresses))
