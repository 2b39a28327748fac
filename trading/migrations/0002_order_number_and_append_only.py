from django.db import migrations

SEQUENCE = "CREATE SEQUENCE order_number AS bigint MINVALUE 1 MAXVALUE 4398046511103 NO CYCLE"

# Fills and order events are history: a mistake is corrected by another row.
REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'append-only: % on % refused', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$
"""


def _protect(table: str) -> str:
    return f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()"


def _release(table: str) -> str:
    return f"DROP TRIGGER append_only ON {table}"


class Migration(migrations.Migration):
    dependencies = [("trading", "0001_orders_fills_positions")]

    operations = [
        migrations.RunSQL(SEQUENCE, "DROP SEQUENCE order_number"),
        migrations.RunSQL(REFUSE, "DROP FUNCTION refuse_change()"),
        migrations.RunSQL(_protect("fill"), _release("fill")),
        migrations.RunSQL(_protect("order_event"), _release("order_event")),
        migrations.RunSQL(_protect("cash_movement"), _release("cash_movement")),
    ]
