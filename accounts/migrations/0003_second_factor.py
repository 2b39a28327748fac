"""The second factor, and what people are told about their own accounts."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_login_gate'),
    ]

    operations = [
        migrations.AddField(
            model_name='tokenfamily',
            name='stepped_up_at',
            field=models.DateTimeField(blank=True, help_text='when a code was last accepted in it', null=True),
        ),
        migrations.CreateModel(
            name='Notice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.TextField(choices=[('NEW_ADDRESS', 'Login from a new address'), ('LOGIN_LOCKED', 'Logins are locked'), ('CODES_LOCKED', 'Codes are locked'), ('TOKEN_REUSED', 'A session token was used twice'), ('PASSWORD_CHANGED', 'The password was changed'), ('SECOND_FACTOR_ON', 'A second factor was set up'), ('SECOND_FACTOR_OFF', 'The second factor was removed'), ('RECOVERY_CODES_NEW', 'There are new recovery codes'), ('RECOVERY_CODE_USED', 'A recovery code was used'), ('API_KEY_CREATED', 'An API key was made'), ('LIVE_ARMED', 'Live trading was armed')])),
                ('text', models.TextField()),
                ('created_at', models.DateTimeField()),
                ('next_at', models.DateTimeField(help_text='when it is tried next')),
                ('attempts', models.IntegerField(default=0)),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
                ('fault', models.TextField(blank=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'account_notice',
                'indexes': [models.Index(condition=models.Q(('sent_at__isnull', True)), fields=['next_at'], name='account_notice_due'), models.Index(fields=['user', 'kind', 'created_at'], name='account_notice_of')],
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['NEW_ADDRESS', 'LOGIN_LOCKED', 'CODES_LOCKED', 'TOKEN_REUSED', 'PASSWORD_CHANGED', 'SECOND_FACTOR_ON', 'SECOND_FACTOR_OFF', 'RECOVERY_CODES_NEW', 'RECOVERY_CODE_USED', 'API_KEY_CREATED', 'LIVE_ARMED'])), name='account_notice_kind_known')],
            },
        ),
        migrations.CreateModel(
            name='RecoveryCode',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('selector', models.CharField(max_length=8)),
                ('code_hash', models.CharField(max_length=128)),
                ('used_at', models.DateTimeField(blank=True, null=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'recovery_code',
                'constraints': [models.UniqueConstraint(fields=('user', 'selector'), name='recovery_code_one_a_selector')],
            },
        ),
        migrations.CreateModel(
            name='TotpDevice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='The human-readable name of this device.', max_length=64)),
                ('confirmed', models.BooleanField(default=True, help_text='Is this device ready for use?')),
                ('seed', models.TextField(help_text='base32, encrypted')),
                ('last_step', models.BigIntegerField(default=-1, help_text='of the last code that was accepted; none before it is again')),
                ('created_at', models.DateTimeField()),
                ('confirmed_at', models.DateTimeField(blank=True, null=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'totp_device',
                'constraints': [models.UniqueConstraint(fields=('user', 'confirmed'), name='totp_device_one_of_each')],
            },
        ),
    ]
