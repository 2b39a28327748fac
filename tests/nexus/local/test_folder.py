"""The data folder: secrets made once and kept private; one run at a time."""

import pytest

from nexus.local import folder as folders
from nexus.local.folder import FolderUnusable


def test_makes_the_secrets_once_and_keeps_them_private(tmp_path):
    folder = folders.open_folder({"NEXUS_DATA_DIR": str(tmp_path / "data")})

    first = folders.secrets_of(folder)

    path = folder.path / "secrets.env"
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o066 == 0
    assert folders.secrets_of(folder) == first
    assert len(first["JWT_SIGNING_KEYS"]) >= 128
    assert len(set(first.values())) == len(first)


def test_refuses_a_database_without_its_secrets(tmp_path):
    folder = folders.open_folder({"NEXUS_DATA_DIR": str(tmp_path)})
    (folder.postgres / "data").mkdir(parents=True)

    with pytest.raises(FolderUnusable, match=r"Restore secrets\.env"):
        folders.secrets_of(folder)

    assert not (folder.path / "secrets.env").exists()


def test_lets_only_one_run_have_the_folder(tmp_path):
    folder = folders.open_folder({"NEXUS_DATA_DIR": str(tmp_path)})

    with (
        folders.held(folder),
        pytest.raises(FolderUnusable, match=r"already runs on .* \(process \d+\)"),
        folders.held(folder),
    ):
        pass

    with folders.held(folder):
        pass
