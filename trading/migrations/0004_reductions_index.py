"""The index under `trading/services/reduction.py`: what already closes a position is found without scanning orders."""

from django.db import migrations


class Migration(migrations.Migration):
    atomic = False  # indexes are built concurrently

    dependencies = [("trading", "0003_risk_indexes")]

    operations = [
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY order_reducing ON trade_ledger (account_id, venue_position_id) "
            "WHERE venue_position_id <> ''",
            "DROP INDEX CONCURRENTLY order_reducing",
        )
    ]
