"""Indexes under the counts of `trading/services/usage.py`: each limit's usage is found without scanning the ledger."""

from django.db import migrations

INDEXES = {
    "order_by_account_time": "ON trade_ledger (account_id, created_at)",
    "order_ended": (
        "ON trade_ledger (user_id, closed_at DESC, id DESC) "
        "WHERE attempts = 1 AND delivery = 'DONE' AND rejected_by <> 'LOCAL'"
    ),
    "order_undone": (
        "ON trade_ledger (user_id, created_at) "
        "WHERE value > 0 AND (status IN ('CANCELED', 'EXPIRED', 'REJECTED') OR overfill_quantity > 0)"
    ),
    "order_carried": (
        "ON trade_ledger (user_id, closed_at) "
        "WHERE (closed_at AT TIME ZONE 'UTC')::date > (created_at AT TIME ZONE 'UTC')::date"
    ),
    "fill_of_strangers": "ON fill (account_id, filled_at) WHERE order_id IS NULL",
}


class Migration(migrations.Migration):
    atomic = False  # indexes are built concurrently

    dependencies = [("trading", "0002_order_number_and_append_only")]

    operations = [
        migrations.RunSQL(f"CREATE INDEX CONCURRENTLY {name} {body}", f"DROP INDEX CONCURRENTLY {name}")
        for name, body in INDEXES.items()
    ]
