"""The other index under `trading/services/reduction.py`: which orders close a position by another one."""

from django.db import migrations


class Migration(migrations.Migration):
    atomic = False  # indexes are built concurrently

    dependencies = [("trading", "0004_reductions_index")]

    operations = [
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY order_closing_by ON trade_ledger (account_id, other_position_id) "
            "WHERE other_position_id <> ''",
            "DROP INDEX CONCURRENTLY order_closing_by",
        )
    ]
