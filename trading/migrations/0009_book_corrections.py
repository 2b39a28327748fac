import django.db.models.deletion
import trading.states
from django.db import migrations, models


PROTECT = (
    "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON book_correction FOR EACH ROW EXECUTE FUNCTION refuse_change()"
)


class Migration(migrations.Migration):

    dependencies = [
        ('trading', '0008_other_venues'),
    ]

    operations = [
        migrations.CreateModel(
            name='BookCorrection',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('correction_id', models.CharField(max_length=48, unique=True)),
                ('kind', models.CharField(choices=[(trading.states.CorrectionKind['OPENING'], trading.states.CorrectionKind['OPENING']), (trading.states.CorrectionKind['AUTOMATIC'], trading.states.CorrectionKind['AUTOMATIC']), (trading.states.CorrectionKind['DECIDED'], trading.states.CorrectionKind['DECIDED'])], max_length=9)),
                ('venue_position_id', models.CharField(blank=True, help_text='empty: it corrects the balance', max_length=32)),
                ('symbol', models.CharField(blank=True, max_length=32)),
                ('quantity', models.DecimalField(decimal_places=8, default=0, help_text='lots, signed: what is added to the position', max_digits=20)),
                ('price', models.DecimalField(decimal_places=10, help_text='at which it is added; of no quantity: the average that it sets', max_digits=24, null=True)),
                ('amount', models.DecimalField(decimal_places=8, default=0, help_text='account currency: what is added to the expected balance', max_digits=24)),
                ('as_of', models.CharField(blank=True, help_text="the newest deal that the broker's answer showed", max_length=64)),
                ('reason', models.CharField(max_length=500)),
                ('made_by', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField()),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='trading.tradingaccount')),
            ],
            options={
                'db_table': 'book_correction',
                'indexes': [models.Index(fields=['account', 'venue_position_id'], name='book_correction_of_position')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('quantity', 0), ('venue_position_id', '')), models.Q(models.Q(('venue_position_id', ''), _negated=True), ('amount', 0)), _connector='OR'), name='book_correction_of_one_thing')],
            },
        ),
        migrations.RunSQL(PROTECT, "DROP TRIGGER append_only ON book_correction"),
    ]
