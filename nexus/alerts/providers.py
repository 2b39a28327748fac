"""The outside world of alerts: each channel is an address of apprise, which speaks e-mail, Slack, SMS and much more."""

import hashlib
import logging
import threading
from dataclasses import dataclass

import apprise

from nexus.alerts.states import Severity
from nexus.core.errors import OutsideError

TYPES = {
    Severity.INFO: apprise.NotifyType.INFO,
    Severity.WARNING: apprise.NotifyType.WARNING,
    Severity.CRITICAL: apprise.NotifyType.FAILURE,
}


class NotDelivered(OutsideError):
    """The channel did not take the message, or may have and did not say so."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Where messages go. The address holds passwords: it is neither stored, shown nor logged, its name is."""

    address: str

    @property
    def name(self) -> str:
        """Return what the channel is called: its kind, and a mark that changes with the address."""
        kind = self.address.partition(":")[0].lower()
        return f"{kind[:30]}-{hashlib.sha256(self.address.encode()).hexdigest()[:8]}"

    def is_known(self) -> bool:
        """Tell whether the address is one that can be spoken to."""
        return apprise.Apprise.instantiate(self.address, suppress_exceptions=True) is not None

    def send(self, *, title: str, body: str, severity: Severity) -> None:
        """Send one message. It waits for seconds, never for minutes. Raises: NotDelivered."""
        way = apprise.Apprise.instantiate(self.address, suppress_exceptions=True)
        if way is None:
            raise NotDelivered("the address of this channel is not understood; see ALERT_* in the settings")
        with _Words() as words:
            is_sent = way.notify(body=body, title=title, notify_type=TYPES[severity])
        if not is_sent:
            raise NotDelivered(words.last.replace(self.address, self.name) or "the channel did not take it")


class _Words(logging.Handler):
    """Hear what apprise says when it fails: it answers False, and tells the reason to its log alone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self._thread = threading.get_ident()

    def __enter__(self) -> "_Words":
        apprise.logger.addHandler(self)
        return self

    def __exit__(self, *_raised: object) -> None:
        apprise.logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the last words of this thread's sending."""
        if record.thread == self._thread:
            self.last = record.getMessage()[:300]
