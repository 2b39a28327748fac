"""A deal at zero or below is a fact like any other: oil has traded there."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("trading", "0020_raw_times_and_pauses")]

    operations = [migrations.RemoveConstraint(model_name="fill", name="fill_price_above_zero")]
