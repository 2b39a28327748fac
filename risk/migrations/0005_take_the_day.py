from django.db import migrations

# What `stats.lock` does, in one round trip and in the same order: the user, then the user's day. It reads nothing else:
# what the locks guard is read in later statements of the caller. A day that is new comes back empty, and its maker is
# `stats.lock`.
TAKE = """
CREATE FUNCTION risk_take_day(p_user_lock integer, p_user_id bigint, p_date date)
RETURNS user_daily_stats LANGUAGE plpgsql VOLATILE AS $$
DECLARE day user_daily_stats;
BEGIN
  PERFORM pg_advisory_xact_lock(p_user_lock, p_user_id::integer);
  SELECT * INTO day FROM user_daily_stats WHERE user_id = p_user_id AND trading_date = p_date FOR NO KEY UPDATE;
  RETURN day;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0004_adjustments_append_only")]

    operations = [migrations.RunSQL(TAKE, "DROP FUNCTION risk_take_day(integer, bigint, date)")]
