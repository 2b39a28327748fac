"""Who has a page open: commits about others tell nobody (migration 0013, docs/adr/0016)."""

from collections.abc import Iterable

from django.db import connection

HELD_S = 90  # several renewals; a listener that died is forgotten by then


def watch(user_ids: Iterable[int], *, listener: str) -> None:
    """Ask to be told of the orders and positions of some users from now on, for a while. Safe to repeat.

    The table is not logged: this waits for no disk, and after a crash the pages come back by themselves.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO news_watch (user_id, listener, until)"
            " SELECT each, %s, clock_timestamp() + make_interval(secs => %s)"
            " FROM unnest(%s::bigint[]) AS each ORDER BY each"
            " ON CONFLICT (user_id, listener) DO UPDATE SET until = excluded.until",
            [listener, HELD_S, sorted(set(user_ids))],
        )
        cursor.execute("DELETE FROM news_watch WHERE until < clock_timestamp() - make_interval(secs => %s)", [HELD_S])
