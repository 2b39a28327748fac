from django.db import migrations

# The beginning of an admission in one round trip, in the one order of locks: the idempotency key, the user's day. The
# stop lock is the last lock of all and not among them (docs/adr/0006). A key that has made an order already takes no further lock. It judges nothing and reads nothing that
# the locks guard: that happens in later statements of the caller.
BEGIN = """
CREATE FUNCTION order_begin(p_principal text, p_account text, p_key text, p_fingerprint bytea, p_public_id text,
    p_at timestamptz, p_user_lock integer, p_user_id bigint, p_date date,
    OUT outcome text, OUT made text, OUT number bigint, OUT day user_daily_stats)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  SELECT c.outcome, c.made INTO outcome, made
  FROM idempotency_claim(p_principal, p_account, p_key, p_fingerprint, 'order', p_public_id, p_at) c;
  IF outcome = 'CLAIMED' THEN
    day := risk_take_day(p_user_lock, p_user_id, p_date);
    number := nextval('order_number');
  END IF;
END $$
"""

# The position that a fill belongs to, locked, and made when it is the first of its identifier.
TAKE_POSITION = """
CREATE FUNCTION position_take(p_account_id bigint, p_venue_position_id text, p_symbol text, p_price numeric,
    p_stop_loss numeric, p_take_profit numeric, p_opened_at timestamptz,
    OUT id bigint, OUT quantity numeric, OUT price_open numeric)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  FOR attempt IN 1..2 LOOP
    SELECT p.id, p.quantity, p.price_open INTO id, quantity, price_open FROM broker_positions p
    WHERE p.account_id = p_account_id AND p.venue_position_id = p_venue_position_id FOR NO KEY UPDATE;
    EXIT WHEN FOUND;
    INSERT INTO broker_positions (public_id, account_id, venue_position_id, symbol, quantity, price_open, stop_loss,
      take_profit, opened_at)
    VALUES (gen_random_uuid(), p_account_id, p_venue_position_id, p_symbol, 0, p_price, p_stop_loss, p_take_profit,
      p_opened_at)
    ON CONFLICT (account_id, venue_position_id) DO NOTHING;
  END LOOP;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("trading", "0005_close_by_index"),
        ("idempotency", "0002_claim_in_one_statement"),
        ("risk", "0005_take_the_day"),
    ]

    operations = [
        migrations.RunSQL(
            BEGIN,
            "DROP FUNCTION order_begin(text, text, text, bytea, text, timestamptz, integer, bigint, date)",
        ),
        migrations.RunSQL(
            TAKE_POSITION,
            "DROP FUNCTION position_take(bigint, text, text, numeric, numeric, numeric, timestamptz)",
        ),
    ]
