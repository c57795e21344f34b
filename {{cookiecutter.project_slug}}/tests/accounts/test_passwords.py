from service.accounts import passwords
from service.accounts.passwords import hash_password, unmatched_hash, verify_password

COSTLY = passwords.COST


def test_hashing_is_as_costly_as_owasp_asks():
    assert (COSTLY, passwords.BLOCK, passwords.PARALLEL) == (2**14, 8, 5)


def test_raising_the_cost_leaves_old_hashes_readable(monkeypatch):
    old = passwords.hash_password("correct horse")
    monkeypatch.setattr(passwords, "COST", passwords.COST * 2)
    assert verify_password("correct horse", old)


def test_only_the_right_password_verifies_and_the_hash_does_not_hold_it():
    encoded = hash_password("correct horse")
    assert "correct" not in encoded
    assert verify_password("correct horse", encoded)
    assert not verify_password("correct horsf", encoded)


def test_an_unmatched_hash_verifies_nothing_at_the_same_cost():
    encoded = unmatched_hash()
    assert not verify_password("", encoded)
    assert encoded.split("$")[:4] == hash_password("x").split("$")[:4]
