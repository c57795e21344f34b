import pytest

from service.accounts import passwords


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch):
    monkeypatch.setattr(passwords, "COST", 2)
