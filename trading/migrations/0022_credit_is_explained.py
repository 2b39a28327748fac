"""Credit counts among what our books explain: the sums of before left it out, and the next look makes them anew."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("trading", "0021_fills_at_any_price")]

    operations = [
        migrations.RunSQL("UPDATE account_figures SET explained_until = NULL", migrations.RunSQL.noop),
    ]
