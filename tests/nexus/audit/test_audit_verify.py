"""`manage.py audit_verify`: its codes and its words."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from nexus.audit.models import Batch
from nexus.audit.services import keys, verification
from tests.nexus.audit.sealed import SIGNER, record, tamper

pytestmark = pytest.mark.django_db


# --- The command ------------------------------------------------------------------------------------------------------
@pytest.fixture
def command(tmp_path, capsys):
    """Run the command; return its exit code and what it said."""
    public = tmp_path / "public.pem"
    public.write_text(keys.as_public_pem(SIGNER.public))

    def act(*arguments: str) -> tuple[int, str]:
        try:
            call_command("audit_verify", "--public-key", str(public), *arguments)
        except SystemExit as exc:
            return int(exc.code or 0), capsys.readouterr().out
        except CommandError as exc:
            return exc.returncode, str(exc)
        return 0, capsys.readouterr().out

    return act


def test_the_commands_codes(log, command, tmp_path, monkeypatch):
    assert command()[0] == 0
    assert "CLEAN" in command()[1]
    assert command("--from-batch", "99999")[0] == 3
    assert command("--from-batch", "2", "--to-batch", "1")[0] == 3
    assert command("--from-batch", "x")[0] == 3
    assert command("--anchor", str(tmp_path / "absent"))[0] == 3
    assert command("--public-key", str(tmp_path / "absent"))[0] == 3

    monkeypatch.setattr(verification, "STALE_AFTER", timedelta(seconds=-1))
    record()
    assert command()[0] == 2
    tamper("DELETE FROM audit.event WHERE id = %s", [log["ids"][3]])
    code, said = command()
    assert code == 1
    assert f"event_missing: batch {log['batch']}, index {log['index'] + 3}, event {log['ids'][3]}" in said


def test_the_commands_document(log, command):
    tamper("DELETE FROM audit.event WHERE id = %s", [log["ids"][3]])

    code, said = command("--json", "--from-batch", str(log["batch"]))

    document = json.loads(said)
    assert code == 1
    assert document["verdict"] == "tampered"
    assert document["counts"] == {"event_missing": 1}
    assert document["findings"] == [
        {"kind": "event_missing", "detail": "the leaf is there, its event is not", "batch_no": log["batch"],
         "log_index": log["index"] + 3, "event_id": log["ids"][3]}
    ]  # fmt: skip
    assert (document["from_batch"], document["to_batch"]) == (log["batch"], log["last"])


def test_an_empty_log_is_clean(command):
    assert not Batch.objects.exists()

    assert command()[0] == 0
