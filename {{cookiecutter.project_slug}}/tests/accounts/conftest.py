import pytest

from service.accounts import passwords, users


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch):
    monkeypatch.setattr(passwords, "COST", 2)
    monkeypatch.setattr(users, "UNMATCHED_HASH", passwords.unmatched_hash())
