from django.db import migrations, models


class Migration(migrations.Migration):
    """A link may stand for a lost password, too."""

    dependencies = [("accounts", "0011_four_eyes_in_the_database")]
    operations = [
        migrations.AddField("enrolment", "is_reset", models.BooleanField(default=False)),
    ]
