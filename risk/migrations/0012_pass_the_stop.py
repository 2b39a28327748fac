"""Pass the stop, or fail: a statement that marks an order is committed with it, so it may not just store nothing."""

from django.db import migrations

PASS = """
CREATE FUNCTION risk_pass_stop(p_lock bigint, p_scopes text[], p_keys text[], p_most smallint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF risk_stop_level(p_lock, p_scopes, p_keys) > p_most THEN
    RAISE EXCEPTION 'a stop covers this order' USING ERRCODE = 'NX001';
  END IF;
  RETURN true;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0011_what_the_books_differ_by")]

    operations = [
        migrations.RunSQL(PASS, "DROP FUNCTION risk_pass_stop(bigint, text[], text[], smallint)"),
    ]
