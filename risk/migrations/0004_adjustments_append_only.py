from django.db import migrations

# Adjustments are history: a mistake is corrected by another row.
REFUSE = """
CREATE FUNCTION refuse_adjustment_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'append-only: % on % refused', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$
"""
PROTECT = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON risk_adjustments
FOR EACH ROW EXECUTE FUNCTION refuse_adjustment_change()
"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0003_changes_sights_and_adjustments")]

    operations = [
        migrations.RunSQL(REFUSE, "DROP FUNCTION refuse_adjustment_change()"),
        migrations.RunSQL(PROTECT, "DROP TRIGGER append_only ON risk_adjustments"),
    ]
