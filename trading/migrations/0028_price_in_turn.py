from django.db import migrations

# `position_price`, unless a fill that was executed later is booked already: then the average is made of all fills, which
# is not this statement's to do, and it fails as a whole (class 23, as a broken constraint does). It is called with the
# position locked, and looks at what is committed by then, not at what was when its statement began. Whatever was
# executed after an order's fill was booked after the order was sent, both by the database's clock.
PRICE_IN_TURN = """
CREATE FUNCTION position_price_in_turn(held numeric, price numeric, fill numeric, fill_price numeric,
    p_account_id bigint, p_venue_position_id text, p_filled_at timestamptz, p_sent_at timestamptz) RETURNS numeric
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF EXISTS (
    SELECT FROM fill f WHERE f.account_id = p_account_id AND f.booked_at >= p_sent_at
      AND f.venue_position_id = p_venue_position_id AND f.filled_at > p_filled_at
  ) THEN
    RAISE EXCEPTION 'a later fill of the position % is booked', p_venue_position_id USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN position_price(held, price, fill, fill_price);
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("trading", "0027_change_decisions")]

    operations = [
        migrations.RunSQL(
            PRICE_IN_TURN,
            "DROP FUNCTION position_price_in_turn(numeric, numeric, numeric, numeric, bigint, text, timestamptz,"
            " timestamptz)",
        ),
    ]
