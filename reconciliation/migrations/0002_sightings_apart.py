from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reconciliation", "0001_cycles_log_and_reviews")]

    operations = [
        migrations.AddField(
            model_name="sighting",
            name="counted_at",
            field=models.DateTimeField(
                help_text="the newest run that counted: those just after it do not", null=True
            ),
        ),
    ]
