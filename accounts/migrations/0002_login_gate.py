"""What is charged before a login is tried, and who is known where."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_users_and_tokens'),
    ]

    operations = [
        migrations.CreateModel(
            name='KnownPair',
            fields=[
                ('bucket', models.BinaryField(max_length=32, primary_key=True, serialize=False)),
                ('last_success_at', models.DateTimeField()),
            ],
            options={
                'db_table': 'login_known_pair',
            },
        ),
        migrations.CreateModel(
            name='LoginGate',
            fields=[
                ('bucket', models.BinaryField(help_text='SHA-256 of what is counted', max_length=32, primary_key=True, serialize=False)),
                ('kind', models.TextField()),
                ('subject', models.BinaryField(help_text='SHA-256 of whom it is about, to unlock by', max_length=32, null=True)),
                ('failures', models.IntegerField()),
                ('max_failures', models.IntegerField()),
                ('window_s', models.IntegerField()),
                ('lock_s', models.IntegerField()),
                ('window_started_at', models.DateTimeField()),
                ('locked_until', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'db_table': 'login_gate',
                'indexes': [models.Index(condition=models.Q(('subject__isnull', False)), fields=['subject'], name='login_gate_subject')],
            },
        ),
    ]
