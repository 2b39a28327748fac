import django.db.models.deletion
import uuid
from django.db import migrations, models


PROTECT = (
    "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON reconciliation_log"
    " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
)


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('trading', '0009_book_corrections'),
    ]

    operations = [
        migrations.CreateModel(
            name='Cycle',
            fields=[
                ('account', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='+', serialize=False, to='trading.tradingaccount')),
                ('due_at', models.DateTimeField()),
                ('handed_at', models.DateTimeField(help_text='when its slot was last handed to a worker', null=True)),
                ('ran_at', models.DateTimeField(help_text='when a run last ended, however it did', null=True)),
                ('succeeded_at', models.DateTimeField(help_text='when a complete run last ended', null=True)),
                ('full_at', models.DateTimeField(help_text='when its whole history was last read', null=True)),
                ('last_run', models.UUIDField(help_text='the newest complete run', null=True)),
                ('failures', models.PositiveIntegerField(default=0, help_text='in a row')),
                ('discrepancy_usd', models.DecimalField(decimal_places=8, default=0, help_text='D of the newest complete run, as far as it can be valued', max_digits=24)),
                ('is_unvalued', models.BooleanField(default=False)),
            ],
            options={
                'db_table': 'reconciliation_cycle',
                'indexes': [models.Index(fields=['due_at'], name='reconciliation_due')],
            },
        ),
        migrations.CreateModel(
            name='ReconciliationLog',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run_id', models.UUIDField()),
                ('entry', models.CharField(choices=[('RUN', 'RUN'), ('DIFFERENCE', 'DIFFERENCE'), ('DECISION', 'DECISION')], max_length=10)),
                ('trigger', models.CharField(choices=[('CLOCK', 'CLOCK'), ('LINK', 'LINK'), ('REQUEST', 'REQUEST'), ('COMMAND', 'COMMAND'), ('REVIEW', 'REVIEW')], max_length=8)),
                ('status', models.CharField(choices=[('CLEAN', 'CLEAN'), ('DIFFERENT', 'DIFFERENT'), ('FAILED', 'FAILED'), ('BUSY', 'BUSY')], max_length=9)),
                ('key', models.CharField(blank=True, help_text='symbol (netting), identifier (hedging), or CASH', max_length=32)),
                ('symbol', models.CharField(blank=True, max_length=32)),
                ('our_quantity', models.DecimalField(decimal_places=8, help_text='lots, negative when short', max_digits=20, null=True)),
                ('broker_quantity', models.DecimalField(decimal_places=8, max_digits=20, null=True)),
                ('quantity_discrepancy', models.DecimalField(decimal_places=8, default=0, help_text="lots: the broker's less ours; of a run, their absolute sum", max_digits=20)),
                ('our_price', models.DecimalField(decimal_places=10, max_digits=24, null=True)),
                ('broker_price', models.DecimalField(decimal_places=10, max_digits=24, null=True)),
                ('cash_discrepancy', models.DecimalField(decimal_places=8, default=0, help_text="account currency: the broker's balance less what our books explain", max_digits=24)),
                ('value_usd', models.DecimalField(decimal_places=8, help_text='of a run, D; empty when it cannot be valued', max_digits=24, null=True)),
                ('risk_impact', models.CharField(choices=[('LOW', 'LOW'), ('MEDIUM', 'MEDIUM'), ('HIGH', 'HIGH')], max_length=6)),
                ('action', models.CharField(choices=[('NONE', 'NONE'), ('OPENED', 'OPENED'), ('EXCLUDED', 'EXCLUDED'), ('OBSERVED', 'OBSERVED'), ('BROKER_SYNCED', 'BROKER_SYNCED'), ('REVIEW', 'REVIEW'), ('KEPT', 'KEPT'), ('TRADING_STOPPED', 'TRADING_STOPPED'), ('RUN_AGAIN', 'RUN_AGAIN')], max_length=16)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('evidence', models.JSONField(default=dict)),
                ('made_by', models.CharField(max_length=64)),
                ('at', models.DateTimeField()),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='trading.tradingaccount')),
            ],
            options={
                'db_table': 'reconciliation_log',
                'indexes': [models.Index(fields=['account', 'at'], name='reconciliation_log_recent'), models.Index(fields=['at'], name='reconciliation_log_by_time')],
            },
        ),
        migrations.CreateModel(
            name='Review',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('key', models.CharField(max_length=32)),
                ('symbol', models.CharField(blank=True, max_length=32)),
                ('state', models.CharField(choices=[('OPEN', 'OPEN'), ('SYNCED', 'SYNCED'), ('KEPT', 'KEPT'), ('GONE', 'GONE')], default='OPEN', max_length=6)),
                ('version', models.PositiveIntegerField(default=1, help_text='goes up when a run sees other figures')),
                ('signature', models.CharField(max_length=200)),
                ('evidence', models.JSONField()),
                ('value_usd', models.DecimalField(decimal_places=8, max_digits=24, null=True)),
                ('risk_impact', models.CharField(choices=[('LOW', 'LOW'), ('MEDIUM', 'MEDIUM'), ('HIGH', 'HIGH')], max_length=6)),
                ('owner', models.CharField(blank=True, help_text='who looks at it', max_length=64)),
                ('leased_until', models.DateTimeField(null=True)),
                ('opened_at', models.DateTimeField()),
                ('seen_run', models.UUIDField(help_text='the newest run that saw it')),
                ('seen_at', models.DateTimeField()),
                ('decision', models.CharField(blank=True, choices=[('ACCEPT_BROKER', 'ACCEPT_BROKER'), ('KEEP_OURS', 'KEEP_OURS'), ('RUN_AGAIN', 'RUN_AGAIN')], max_length=13)),
                ('decided_by', models.CharField(blank=True, max_length=64)),
                ('decided_at', models.DateTimeField(null=True)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='trading.tradingaccount')),
            ],
            options={
                'db_table': 'reconciliation_review',
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'OPEN')), fields=('account', 'key'), name='reconciliation_review_one_open'), models.CheckConstraint(condition=models.Q(('state__in', ['OPEN', 'GONE']), models.Q(models.Q(('decided_by', ''), _negated=True), ('decided_at__isnull', False)), _connector='OR'), name='reconciliation_review_decided_by_someone')],
            },
        ),
        migrations.CreateModel(
            name='Sighting',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=32)),
                ('signature', models.CharField(blank=True, max_length=200)),
                ('sightings', models.PositiveIntegerField(default=0)),
                ('excluded', models.PositiveIntegerField(default=0, help_text='runs in a row that left it out')),
                ('kept', models.CharField(blank=True, help_text='the signature that an operator keeps', max_length=200)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='trading.tradingaccount')),
            ],
            options={
                'db_table': 'reconciliation_sighting',
                'constraints': [models.UniqueConstraint(fields=('account', 'key'), name='reconciliation_sighting_one_a_key')],
            },
        ),
        migrations.RunSQL(PROTECT, "DROP TRIGGER append_only ON reconciliation_log"),
    ]
