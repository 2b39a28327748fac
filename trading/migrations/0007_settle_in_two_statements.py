from django.db import migrations

# One fill, booked once, and the position that it belongs to, locked: nothing but the fill is changed, and a fill that is
# known comes back empty. What the position is afterwards is arithmetic of the caller, who writes it.
BOOK = """
CREATE FUNCTION fill_book(p_account_id bigint, p_order_id bigint, p_venue_fill_id text, p_venue_order_id text,
    p_venue_position_id text, p_symbol text, p_side text, p_quantity numeric, p_price numeric, p_commission numeric,
    p_swap numeric, p_fee numeric, p_profit numeric, p_kind text, p_reverses text, p_slippage numeric,
    p_filled_at timestamptz, p_stop_loss numeric, p_take_profit numeric,
    OUT fill_id bigint, OUT booked_at timestamptz, OUT position_id bigint, OUT quantity numeric, OUT price_open numeric)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  INSERT INTO fill AS f
      (account_id, order_id, venue_fill_id, venue_order_id, venue_position_id, symbol, side, quantity, price,
       commission, swap, fee, profit, kind, reverses, slippage, filled_at, booked_at)
  VALUES
      (p_account_id, p_order_id, p_venue_fill_id, p_venue_order_id, p_venue_position_id, p_symbol, p_side, p_quantity,
       p_price, p_commission, p_swap, p_fee, p_profit, p_kind, p_reverses, p_slippage, p_filled_at, clock_timestamp())
  ON CONFLICT (account_id, venue_fill_id) DO NOTHING RETURNING f.id, f.booked_at INTO fill_id, booked_at;
  IF fill_id IS NOT NULL THEN
    SELECT t.id, t.quantity, t.price_open INTO position_id, quantity, price_open
    FROM position_take(p_account_id, p_venue_position_id, p_symbol, p_price, p_stop_loss, p_take_profit, p_filled_at) t;
  END IF;
END $$
"""

# What `rules.apply_fill` says of a position's price, for the statement that settles a plain order by itself: adding
# averages, to the tenth place and half to even as `settling` writes it; reducing keeps the price, flipping takes the new.
PRICE = """
CREATE FUNCTION position_price(held numeric, price numeric, fill numeric, fill_price numeric) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE averaged numeric; cut numeric;
BEGIN
  IF held * fill < 0 THEN
    RETURN CASE WHEN held + fill = 0 OR (held + fill) * held > 0 THEN price ELSE fill_price END;
  END IF;
  averaged := round(abs(held) * price + abs(fill) * fill_price, 40) / abs(held + fill);
  cut := trunc(averaged, 10);
  IF averaged - cut = 0.00000000005 THEN
    RETURN CASE WHEN mod(cut * 10000000000, 2) = 0 THEN cut ELSE cut + 0.0000000001 END;
  END IF;
  RETURN round(averaged, 10);
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("trading", "0006_begin_in_one_statement"), ("risk", "0006_stop_under_its_lock")]

    operations = [
        migrations.RunSQL(
            BOOK,
            "DROP FUNCTION fill_book(bigint, bigint, text, text, text, text, text, numeric, numeric, numeric, numeric,"
            " numeric, numeric, text, text, numeric, timestamptz, numeric, numeric)",
        ),
        migrations.RunSQL(PRICE, "DROP FUNCTION position_price(numeric, numeric, numeric, numeric)"),
    ]
