from django.db import migrations

# The stop lock, exclusive, waited for no longer than `p_wait_ms`: a stop is written all the same. What the function
# raises inside is undone to there and no further. `at` is the clock once the wait is over.
TAKE = """
CREATE FUNCTION risk_take_stop_lock(p_lock bigint, p_wait_ms integer, OUT has_lock boolean, OUT at timestamptz)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE before text := current_setting('lock_timeout');
BEGIN
  PERFORM set_config('lock_timeout', p_wait_ms || 'ms', true);
  BEGIN
    PERFORM pg_advisory_xact_lock(p_lock);
    has_lock := true;
  EXCEPTION WHEN lock_not_available THEN
    has_lock := false;
  END;
  PERFORM set_config('lock_timeout', before, true);
  at := clock_timestamp();
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0007_stops_and_releases")]

    operations = [migrations.RunSQL(TAKE, "DROP FUNCTION risk_take_stop_lock(bigint, integer)")]
