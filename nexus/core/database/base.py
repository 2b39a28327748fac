"""Django's PostgreSQL backend, with a look at the socket where it would ask the server whether it is there."""

import select

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus


class DatabaseWrapper(base.DatabaseWrapper):
    """The backend that `ENGINE` names. Docs: docs/adr/0009."""

    def is_usable(self) -> bool:
        """Tell whether the connection lives. A server that is gone, or has said good-bye, leaves something to read.

        Django asks `SELECT 1` at the start of every request: a round trip of a dozen. Silence on the socket says the
        same; anything else is asked about as Django does.
        """
        if self.connection is None or self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        is_well = self.connection.info.transaction_status != TransactionStatus.INERROR and not poll.poll(0)
        return is_well or super().is_usable()
