"""Equity and losses over time: one row a minute and account, written by the watch (docs/adr/0021)."""

import django.db.models.deletion
from django.db import migrations, models


def money(**options):
    return models.DecimalField(max_digits=24, decimal_places=8, **options)


class Migration(migrations.Migration):
    dependencies = [("trading", "0013_dash_news")]

    operations = [
        migrations.AddField(
            model_name="accountfigures",
            name="exposure",
            field=models.JSONField(
                default=dict, help_text="by symbol: lots and USD, long and short, at the broker's mark"
            ),
        ),
        migrations.CreateModel(
            name="AccountReading",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("minute", models.DateTimeField()),
                ("equity", money(help_text="account currency, the last of the minute", null=True)),
                ("equity_low", money(help_text="account currency, the lowest of the minute", null=True)),
                ("loss_today", money(help_text="USD, of this account, the most of the minute", null=True)),
                ("lost", money(help_text="USD, of all accounts of its owner: what the limit is held against")),
                (
                    "loss_limit",
                    money(help_text="USD, the tightest that was in force; empty without one", null=True),
                ),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="trading.tradingaccount",
                    ),
                ),
            ],
            options={
                "db_table": "account_reading",
                "constraints": [
                    models.UniqueConstraint(fields=["account", "minute"], name="account_reading_one_a_minute")
                ],
            },
        ),
    ]
