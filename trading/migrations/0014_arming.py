"""Live trading is armed, account by account, and only for a while."""

from django.db import migrations, models

# Whether an account may take on exposure: one with real money while it is armed. What is asked after the stop lock was
# taken sees what was committed while it was waited for: a VOLATILE function looks anew.
IS_ARMED = """
CREATE FUNCTION trading_is_armed(p_account_id bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN EXISTS (SELECT FROM trading_account a
    WHERE a.id = p_account_id AND (NOT a.is_live OR a.armed_until > clock_timestamp()));
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("trading", "0013_what_the_books_explain")]

    operations = [
        migrations.AddField(
            model_name="tradingaccount",
            name="armed_until",
            field=models.DateTimeField(
                blank=True, null=True, help_text="of an account with real money: until when it takes orders"
            ),
        ),
        migrations.AddConstraint(
            model_name="tradingaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(("armed_until__isnull", True), ("is_live", True), _connector="OR"),
                name="trading_account_armed_is_live",
            ),
        ),
        migrations.RunSQL(IS_ARMED, "DROP FUNCTION trading_is_armed(bigint)"),
    ]
