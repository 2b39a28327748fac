from django.db import migrations
from django.db.models.functions import Now


def switch_on(apps, schema_editor):
    """Give the system its row in the stop switch: without one, everything is stopped."""
    apps.get_model("risk", "TradingControl").objects.get_or_create(
        scope="SYSTEM", key="", defaults={"level": 0, "reason": "Installed.", "set_by": "install", "set_at": Now()}
    )


def forget(apps, schema_editor):
    apps.get_model("risk", "TradingControl").objects.filter(scope="SYSTEM", key="").delete()


class Migration(migrations.Migration):
    dependencies = [("risk", "0001_limits_days_and_control")]

    operations = [migrations.RunPython(switch_on, forget)]
