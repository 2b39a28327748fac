"""Names for what we send: drawn once, never used for a second send."""

from django.conf import settings
from django.db import connection

from trading.brokers import ids


def of(number: int) -> str:
    """Return the client order id of a drawn number."""
    return ids.client_order_id(tag=settings.BROKER_TAG, number=number)


def draw() -> str:
    """Draw the next client order id. A rollback leaves a gap, and no id is ever drawn twice."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('order_number')")
        number: int = cursor.fetchone()[0]
    return of(number)
