"""What the venue's own clock wrote of fills and money, who it shows as the one who asked, and when a cancel is repeated."""

from importlib import import_module

from django.db import migrations, models

BEFORE: str = import_module("trading.migrations.0007_settle_in_two_statements").BOOK
DROP_BEFORE = (
    "DROP FUNCTION fill_book(bigint, bigint, text, text, text, text, text, numeric, numeric, numeric, numeric,"
    " numeric, numeric, text, text, numeric, timestamptz, numeric, numeric)"
)
DROP = DROP_BEFORE.replace("numeric, numeric)", "numeric, numeric, bigint, bigint, boolean)")
BOOK = (
    BEFORE.replace(
        "p_take_profit numeric,\n",
        "p_take_profit numeric,\n    p_venue_time_ms bigint, p_venue_offset_s bigint, p_is_nameless boolean,\n",
    )
    .replace("filled_at, booked_at)", "filled_at, venue_time_ms, venue_offset_s, is_nameless, booked_at)")
    .replace(
        "p_filled_at, clock_timestamp())",
        "p_filled_at,\n       p_venue_time_ms, p_venue_offset_s, p_is_nameless, clock_timestamp())",
    )
)
TIME = "as the venue's own clock wrote it"


class Migration(migrations.Migration):
    dependencies = [("trading", "0019_restopped_loss_known")]

    operations = [
        *(
            migrations.AddField(model_name=model, name=name, field=field)
            for model in ("fill", "cashmovement")
            for name, field in (
                ("venue_time_ms", models.BigIntegerField(help_text=TIME, null=True)),
                ("venue_offset_s", models.IntegerField(help_text="taken off to get UTC", null=True)),
            )
        ),
        migrations.AddField(
            model_name="fill",
            name="is_nameless",
            field=models.BooleanField(
                db_default=False, default=False, help_text="the venue shows nobody as the one who asked for it"
            ),
        ),
        migrations.AddField(
            model_name="changerequest",
            name="retry_at",
            field=models.DateTimeField(
                help_text="of a cancel refused for the moment: when another is sent, by the database's clock", null=True
            ),
        ),
        migrations.RunSQL(DROP_BEFORE, BEFORE),
        migrations.RunSQL(BOOK, DROP),
    ]
