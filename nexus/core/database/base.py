"""Django's PostgreSQL backend: it looks at the socket before it asks the server, and ends what its thread leaves."""

import os
import select
import socket
import threading
import weakref
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus

_thread = threading.local()


class _Opened:
    """A connection that ends with the thread that has opened it; one that a fork inherits is its parent's."""

    __slots__ = ("_connection", "_process")

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = weakref.ref(connection)  # one that was closed is gone, with what it had prepared
        self._process = os.getpid()

    @property
    def is_open(self) -> bool:
        """Tell whether it is still to be closed."""
        connection = self._connection()
        return connection is not None and not connection.closed

    def __del__(self) -> None:
        connection = self._connection()
        if connection is not None and self._process == os.getpid():
            connection.close()


class DatabaseWrapper(base.DatabaseWrapper):
    """The backend that `ENGINE` names. Docs: docs/adr/0009."""

    def get_new_connection(self, conn_params: Any) -> Any:
        """Open a connection for this thread, and for no longer than it lives.

        Django's wrapper refers to itself: when its thread ends, it stays with its connection until Python looks for
        rings of rubbish among all that is old, which is rare. A web server ends its idle threads, and took connections
        more at each awakening until the database had none left, not for an emergency stop either.

        It bears the name of its process, for whoever has to find out which one has so many.
        """
        named = f"{conn_params['application_name']} {os.getpid()}@{socket.gethostname()}"
        connection = super().get_new_connection(conn_params | {"application_name": named})
        known = [each for each in getattr(_thread, "opened", ()) if each.is_open]
        _thread.opened = [*known, _Opened(connection)]
        return connection

    def is_usable(self) -> bool:
        """Tell whether the connection lives. A server that is gone, or has said good-bye, leaves something to read.

        Django asks `SELECT 1` at the start of every request: a round trip of a dozen. Silence on the socket says the
        same; anything else is asked about as Django does.
        """
        if self.connection is None or self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        status = self.connection.info.transaction_status
        if status == TransactionStatus.ACTIVE:  # whoever has asked was interrupted, and the answer is still to come
            return False
        return (status != TransactionStatus.INERROR and not poll.poll(0)) or super().is_usable()
