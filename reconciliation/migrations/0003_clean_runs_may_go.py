"""Runs that found nothing may be deleted once they are old: one an account a minute would fill the disk. All else stays."""

from django.db import migrations

# Thirty days are the least whatever the setting says, so that nobody who can write here can make a bad day look quiet.
GUARD = """
CREATE FUNCTION reconciliation_log_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' AND OLD.entry = 'RUN' AND OLD.status = 'CLEAN' AND OLD.at < clock_timestamp() - interval '30 days'
  THEN RETURN OLD; END IF;
  RAISE EXCEPTION 'append-only: % on % refused', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$;
DROP TRIGGER append_only ON reconciliation_log;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON reconciliation_log
  FOR EACH ROW EXECUTE FUNCTION reconciliation_log_keep()
"""
BACK = """
DROP TRIGGER append_only ON reconciliation_log;
DROP FUNCTION reconciliation_log_keep();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON reconciliation_log
  FOR EACH ROW EXECUTE FUNCTION refuse_change()
"""


class Migration(migrations.Migration):
    dependencies = [("reconciliation", "0002_sightings_apart")]

    operations = [migrations.RunSQL(GUARD, BACK)]
