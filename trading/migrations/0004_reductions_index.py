"""Indexes under `trading/services/reduction.py`: what already closes a position is found without scanning orders."""

from django.db import migrations

INDEXES = {"order_reducing": "venue_position_id", "order_reducing_other": "other_position_id"}


class Migration(migrations.Migration):
    atomic = False  # indexes are built concurrently

    dependencies = [("trading", "0003_risk_indexes")]

    operations = [
        migrations.RunSQL(
            f"CREATE INDEX CONCURRENTLY {name} ON trade_ledger (account_id, {column}) WHERE {column} <> ''",
            f"DROP INDEX CONCURRENTLY {name}",
        )
        for name, column in INDEXES.items()
    ]
