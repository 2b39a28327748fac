"""Runs that failed may be deleted after a year: an account whose broker is gone for good leaves one a minute."""

from django.db import migrations

# A year is the least whatever the setting says, so that nobody who can write here can make a bad day look quiet.
GUARD = """
CREATE OR REPLACE FUNCTION reconciliation_log_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' AND OLD.entry = 'RUN' AND (
       OLD.status = 'CLEAN' AND OLD.at < clock_timestamp() - interval '30 days'
    OR OLD.status = 'FAILED' AND OLD.at < clock_timestamp() - interval '365 days')
  THEN RETURN OLD; END IF;
  RAISE EXCEPTION 'append-only: % on % refused', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$
"""
BACK = """
CREATE OR REPLACE FUNCTION reconciliation_log_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' AND OLD.entry = 'RUN' AND OLD.status = 'CLEAN' AND OLD.at < clock_timestamp() - interval '30 days'
  THEN RETURN OLD; END IF;
  RAISE EXCEPTION 'append-only: % on % refused', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("reconciliation", "0004_runs_over_time")]

    operations = [migrations.RunSQL(GUARD, BACK)]
