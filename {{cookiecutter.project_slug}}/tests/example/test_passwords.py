from service.example.passwords import hash_password, unmatched_hash, verify_password


def test_only_the_right_password_verifies_and_the_hash_does_not_hold_it():
    encoded = hash_password("correct horse")
    assert "correct" not in encoded
    assert verify_password("correct horse", encoded)
    assert not verify_password("correct horsf", encoded)


def test_an_unmatched_hash_verifies_nothing_at_the_same_cost():
    encoded = unmatched_hash()
    assert not verify_password("", encoded)
    assert encoded.split("$")[:4] == hash_password("x").split("$")[:4]
