"""The most lots that a venue lets stand on one side of an instrument."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trading", "0016_readings")]

    operations = [
        migrations.AddField(
            model_name="tradableinstrument",
            name="one_way_max",
            field=models.DecimalField(
                decimal_places=8, help_text="lots held and waiting on one side; empty for no limit", max_digits=20, null=True
            ),
        ),
    ]
