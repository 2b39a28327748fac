"""Whoever has a page open hears of orders, positions and stops with the commit that changes them: docs/adr/0016.

A commit that notifies holds PostgreSQL's one lock of notifications while it is made durable. So only those commits do
whose user is watched: orders of nobody's open page pay one look into a small table.
"""

from django.db import migrations

FORTH = """
CREATE UNLOGGED TABLE news_watch (
    user_id bigint NOT NULL,
    listener text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (user_id, listener)
);

CREATE FUNCTION news_of_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM news_watch WHERE user_id = NEW.user_id AND until > clock_timestamp()) THEN
        PERFORM pg_notify('nexus_news', 'orders ' || NEW.user_id);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION news_of_position() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owner bigint := (SELECT user_id FROM trading_account WHERE id = NEW.account_id);
BEGIN
    IF EXISTS (SELECT FROM news_watch WHERE user_id = owner AND until > clock_timestamp()) THEN
        PERFORM pg_notify('nexus_news', 'positions ' || owner);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION news_of_stop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('nexus_news', 'stops');
    RETURN NULL;
END $$;

CREATE TRIGGER news AFTER INSERT OR UPDATE ON trade_ledger FOR EACH ROW EXECUTE FUNCTION news_of_order();
CREATE TRIGGER news AFTER INSERT OR UPDATE ON broker_positions FOR EACH ROW EXECUTE FUNCTION news_of_position();
CREATE TRIGGER news AFTER INSERT OR UPDATE ON trading_control FOR EACH ROW EXECUTE FUNCTION news_of_stop();
"""
BACK = """
DROP TRIGGER news ON trading_control;
DROP TRIGGER news ON broker_positions;
DROP TRIGGER news ON trade_ledger;
DROP FUNCTION news_of_stop();
DROP FUNCTION news_of_position();
DROP FUNCTION news_of_order();
DROP TABLE news_watch;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("trading", "0015_pass_armed"),
        ("risk", "0009_no_index_twice"),
    ]

    operations = [migrations.RunSQL(FORTH, BACK)]
