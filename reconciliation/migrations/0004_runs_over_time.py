"""Charts look at the runs of an account over a month: an index that holds all that they read (docs/adr/0021)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reconciliation", "0003_clean_runs_may_go")]

    operations = [
        migrations.AddIndex(
            model_name="reconciliationlog",
            index=models.Index(
                condition=models.Q(("entry", "RUN")),
                fields=["account", "at"],
                include=("value_usd", "status"),
                name="reconciliation_log_runs",
            ),
        ),
    ]
