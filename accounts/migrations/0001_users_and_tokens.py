"""Users, families of tokens and the deny list."""

import django.db.models.deletion
import django.db.models.lookups
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='User',
            fields=[
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('email', models.EmailField(max_length=254, unique=True)),
                ('full_name', models.CharField(blank=True, max_length=150)),
                ('role', models.CharField(choices=[('TRADER', 'Trader'), ('BOT', 'Bot'), ('OPERATOR', 'Operator'), ('COMPLIANCE', 'Compliance')], max_length=16)),
                ('is_active', models.BooleanField(default=True)),
                ('is_superuser', models.BooleanField(default=False)),
                ('token_version', models.PositiveIntegerField(default=1)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                'db_table': 'users',
                'constraints': [models.CheckConstraint(condition=models.Q(('role__in', ['TRADER', 'BOT', 'OPERATOR', 'COMPLIANCE'])), name='users_role_known'), models.CheckConstraint(condition=models.Q(('email', ''), _negated=True), name='users_email_present'), models.CheckConstraint(condition=models.Q(('is_superuser', False), ('role', 'OPERATOR'), _connector='OR'), name='users_superuser_is_operator')],
            },
        ),
        migrations.CreateModel(
            name='RevokedToken',
            fields=[
                ('jti_hash', models.BinaryField(max_length=32, primary_key=True, serialize=False)),
                ('token_type', models.TextField(choices=[('ACCESS', 'Access'), ('REFRESH', 'Refresh')])),
                ('user_id', models.BigIntegerField()),
                ('family_id', models.UUIDField(blank=True, null=True)),
                ('expires_at', models.DateTimeField(db_index=True)),
                ('revoked_at', models.DateTimeField(db_default=models.Func(function='clock_timestamp', output_field=models.DateTimeField()))),
                ('reason', models.TextField(choices=[('ROTATED', 'Rotated'), ('LOGOUT', 'Logout'), ('REFRESH_REUSE', 'Refresh token used twice'), ('EVICTED', 'Too many sessions'), ('REVOKE_ALL', 'All sessions ended')])),
            ],
            options={
                'db_table': 'revoked_tokens',
                'constraints': [models.CheckConstraint(condition=django.db.models.lookups.Exact(models.Func('jti_hash', function='octet_length', output_field=models.IntegerField()), 32), name='revoked_tokens_hash_is_sha256'), models.CheckConstraint(condition=models.Q(('token_type__in', ['ACCESS', 'REFRESH'])), name='revoked_tokens_type_known'), models.CheckConstraint(condition=models.Q(('reason__in', ['ROTATED', 'LOGOUT', 'REFRESH_REUSE', 'EVICTED', 'REVOKE_ALL'])), name='revoked_tokens_reason_known')],
            },
        ),
        migrations.CreateModel(
            name='TokenFamily',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField()),
                ('absolute_expires_at', models.DateTimeField()),
                ('last_seen_at', models.DateTimeField(blank=True, null=True)),
                ('ip', models.GenericIPAddressField(blank=True, null=True)),
                ('user_agent', models.TextField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('revoke_reason', models.TextField(blank=True, choices=[('ROTATED', 'Rotated'), ('LOGOUT', 'Logout'), ('REFRESH_REUSE', 'Refresh token used twice'), ('EVICTED', 'Too many sessions'), ('REVOKE_ALL', 'All sessions ended')], null=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name_plural': 'token families',
                'db_table': 'token_family',
                'indexes': [models.Index(fields=['absolute_expires_at'], name='token_family_expiry')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('revoke_reason__isnull', True), ('revoked_at__isnull', True)), models.Q(('revoke_reason__in', ['ROTATED', 'LOGOUT', 'REFRESH_REUSE', 'EVICTED', 'REVOKE_ALL']), ('revoked_at__isnull', False)), _connector='OR'), name='token_family_revoked_with_reason')],
            },
        ),
    ]
