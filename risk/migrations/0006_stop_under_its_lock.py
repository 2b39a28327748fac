from django.db import migrations

# The stop lock, shared, and then the strictest level of some scopes: the second statement of a VOLATILE function sees
# what was committed while the first one waited. A switch without its row for the system is a stop (2 is HALTED).
LEVEL = """
CREATE FUNCTION risk_stop_level(p_lock bigint, p_scopes text[], p_keys text[]) RETURNS smallint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE level smallint;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(p_lock);
  SELECT CASE WHEN bool_or(c.scope = 'SYSTEM') THEN max(c.level) ELSE 2 END INTO level
  FROM trading_control c JOIN unnest(p_scopes, p_keys) AS wanted (scope, key) USING (scope, key);
  RETURN level;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0005_take_the_day")]

    operations = [migrations.RunSQL(LEVEL, "DROP FUNCTION risk_stop_level(bigint, text[], text[])")]
