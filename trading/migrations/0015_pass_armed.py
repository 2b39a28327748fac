"""Be armed, or fail: a statement that marks an order is committed with it, so it may not just store nothing."""

from django.db import migrations

PASS = """
CREATE FUNCTION trading_pass_armed(p_account_id bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF NOT trading_is_armed(p_account_id) THEN
    RAISE EXCEPTION 'the account is not armed' USING ERRCODE = 'NX001';
  END IF;
  RETURN true;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("trading", "0014_arming")]

    operations = [migrations.RunSQL(PASS, "DROP FUNCTION trading_pass_armed(bigint)")]
