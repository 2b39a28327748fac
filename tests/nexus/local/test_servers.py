"""What the servers are told, and the port that they need."""

import socket

import pytest

from nexus.local import gateway, servers
from nexus.local.folder import SECRET_BYTES, open_folder
from nexus.local.servers import PortTaken

KNOWN = {name: f"secret of {name}" for name in SECRET_BYTES}

pytestmark = pytest.mark.enable_socket


def test_says_in_one_line_that_the_port_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(PortTaken, match=f"Port {port} is taken") as refusal:
            servers.port_from({"NEXUS_PORT": str(port)})

    assert "\n" not in str(refusal.value)
    assert servers.port_from({"NEXUS_PORT": str(port)}) == port


@pytest.mark.parametrize("text", ["0", "65535", "eighty", "-1", "8000.0"])
def test_refuses_what_is_no_port(text):
    with pytest.raises(PortTaken, match="NEXUS_PORT must be"):
        servers.port_from({"NEXUS_PORT": text})


def test_lets_the_persons_own_settings_win(tmp_path):
    env = servers.django_environment(
        {"REDIS_URL": "redis://mine", "SECRET_KEY": "mine", "DEBUG": ""},
        folder=tmp_path,
        known=KNOWN,
        database="postgresql://x",
        broker="redis://mine",
    )

    assert env["SECRET_KEY"] == "mine"
    assert env["DEBUG"] == "0"
    assert env["CELERY_BROKER_URL"] == "redis://mine"
    assert not any(name.startswith("POSTGRES_") for name in env)


def test_tells_the_gateway_its_own_secrets_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "not for the gateway")
    folder = open_folder({"NEXUS_DATA_DIR": str(tmp_path)})

    config = gateway.write_config(folder, gateway.PaperAccount(), port=1234, control_port=1235, known=KNOWN)

    assert config.stat().st_mode & 0o777 == 0o600
    assert KNOWN["SECRET_KEY"] not in config.read_text()
    assert "SECRET_KEY" not in servers.child_environment({"SECRET_KEY": "x", "PATH": "/bin"})
