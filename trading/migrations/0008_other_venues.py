from importlib import import_module

from django.db import migrations, models

# A venue may name a position by its symbol, so that the next one has the name of the last: it begins anew.
TAKE_POSITION = """
CREATE OR REPLACE FUNCTION position_take(p_account_id bigint, p_venue_position_id text, p_symbol text, p_price numeric,
    p_stop_loss numeric, p_take_profit numeric, p_opened_at timestamptz,
    OUT id bigint, OUT quantity numeric, OUT price_open numeric)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  was_closed boolean;
BEGIN
  FOR attempt IN 1..2 LOOP
    SELECT p.id, p.quantity, p.price_open, p.closed_at IS NOT NULL INTO id, quantity, price_open, was_closed
    FROM broker_positions p
    WHERE p.account_id = p_account_id AND p.venue_position_id = p_venue_position_id FOR NO KEY UPDATE;
    EXIT WHEN FOUND;
    INSERT INTO broker_positions (public_id, account_id, venue_position_id, symbol, quantity, price_open, stop_loss,
      take_profit, opened_at)
    VALUES (gen_random_uuid(), p_account_id, p_venue_position_id, p_symbol, 0, p_price, p_stop_loss, p_take_profit,
      p_opened_at)
    ON CONFLICT (account_id, venue_position_id) DO NOTHING;
  END LOOP;
  IF was_closed THEN
    UPDATE broker_positions p SET opened_at = p_opened_at, stop_loss = p_stop_loss, take_profit = p_take_profit
    WHERE p.id = position_take.id;
  END IF;
END $$
"""
BEFORE = import_module("trading.migrations.0006_begin_in_one_statement").TAKE_POSITION.replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)


class Migration(migrations.Migration):

    dependencies = [
        ('trading', '0007_settle_in_two_statements'),
    ]

    operations = [
        migrations.RunSQL(TAKE_POSITION, BEFORE),
        migrations.AddField(
            model_name='tradableinstrument',
            name='commission_per_lot',
            field=models.DecimalField(decimal_places=8, help_text='USD, round trip; empty where the setting counts', max_digits=24, null=True),
        ),
        migrations.AddField(
            model_name='tradableinstrument',
            name='takes_stops',
            field=models.BooleanField(default=True, help_text='its positions carry a stop and a target'),
        ),
        migrations.AlterField(
            model_name='brokerposition',
            name='venue_position_id',
            field=models.CharField(max_length=64),
        ),
        migrations.AlterField(
            model_name='cashmovement',
            name='venue_cash_id',
            field=models.CharField(max_length=64),
        ),
        migrations.AlterField(
            model_name='fill',
            name='reverses',
            field=models.CharField(blank=True, help_text='the fill that this one takes back', max_length=64),
        ),
        migrations.AlterField(
            model_name='fill',
            name='venue_fill_id',
            field=models.CharField(max_length=64),
        ),
        migrations.AlterField(
            model_name='fill',
            name='venue_order_id',
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AlterField(
            model_name='fill',
            name='venue_position_id',
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AlterField(
            model_name='tradeledger',
            name='other_position_id',
            field=models.CharField(blank=True, help_text='the opposite one that it closes it by', max_length=64),
        ),
        migrations.AlterField(
            model_name='tradeledger',
            name='venue_order_id',
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AlterField(
            model_name='tradeledger',
            name='venue_position_id',
            field=models.CharField(blank=True, help_text='the position that it only reduces', max_length=64),
        ),
    ]
