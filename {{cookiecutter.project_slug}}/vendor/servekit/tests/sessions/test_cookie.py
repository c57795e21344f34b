import pytest

from servekit.sessions.cookie import (
    COOKIE_LENGTH,
    KNOWN_BYTES,
    SessionCookie,
    SessionSigner,
    SessionToken,
    VerifiedCookie,
)


class CountingSigner(SessionSigner):
    checks = 0

    def verify(self, cookie):
        self.checks += 1
        return super().verify(cookie)


def make_cookie():
    signer = CountingSigner(["key-of-the-tests"])
    return SessionCookie(signer), signer


def header(signer, rest=""):
    token = SessionToken.new()
    return token, (b"cookie", f"__Host-session={signer.sign(token)}{rest}".encode())


def test_a_good_signature_is_checked_once():
    cookie, signer = make_cookie()
    token, field = header(signer, "; theme=dark")

    for _ in range(10):
        given, verified = cookie.read([(b"host", b"shop.test"), field])
        assert (given, verified.token) == (True, token)
    assert signer.checks == 1


def test_a_bad_one_is_refused_every_time_and_remembered_never():
    cookie, signer = make_cookie()
    _, (name, value) = header(signer)

    for _ in range(3):
        assert cookie.read([(name, value[:-1] + b"!")]) == (True, None)
    assert signer.checks == 3
    assert len(cookie._verified_fields) == 0


def test_a_known_cookie_beside_another_one_is_not_believed():
    cookie, signer = make_cookie()
    (_, good), (_, planted) = header(signer), header(signer)
    assert cookie.read([good])[1]
    assert cookie.read([planted])[1]

    assert cookie.read([good, planted]) == (True, None)
    assert cookie.read([(b"cookie", good[1] + b"; " + planted[1])]) == (True, None)


def test_what_is_remembered_is_bounded():
    cookie, signer = make_cookie()
    for _ in range(200):
        _, field = header(signer, "; x=" + "x" * 20_000)
        assert cookie.read([field])[1]

    assert cookie._verified_fields.current_size() <= KNOWN_BYTES


OLD, NEW = "old-key-0123456789", "new-key-0123456789"


def test_a_signed_cookie_is_verified_and_names_the_same_session():
    token = SessionToken.new()
    signer = SessionSigner([NEW])

    verified = signer.verify(signer.sign(token).encode())

    assert verified == VerifiedCookie(token, outdated=False)


def test_ids_do_not_repeat_and_carry_256_random_bits():
    tokens = [SessionToken.new() for _ in range(100_000)]

    assert len({token.secret for token in tokens}) == len(tokens)
    assert {len(token.secret) for token in tokens} == {32}
    ones = sum(int.from_bytes(token.secret).bit_count() for token in tokens)
    assert 0.499 < ones / (256 * len(tokens)) < 0.501


def test_an_old_key_still_verifies_and_says_so_and_a_removed_one_does_not():
    token = SessionToken.new()
    cookie = SessionSigner([OLD]).sign(token).encode()

    assert SessionSigner([NEW, OLD]).verify(cookie) == VerifiedCookie(token, outdated=True)
    assert SessionSigner([NEW]).verify(cookie) is None


def test_every_changed_byte_is_refused():
    signer = SessionSigner([NEW])
    cookie = signer.sign(SessionToken.new()).encode()

    for position in range(len(cookie)):
        for other in (b"A", b"B", b".", b"=", b"\xff"):
            forged = cookie[:position] + other + cookie[position + 1 :]
            assert (signer.verify(forged) is not None) == (forged == cookie)


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b".",
        b"attackerchosen",
        b"A" * COOKIE_LENGTH,
        b"A" * 64 + b"." + b"A" * 43,
        b"A" * 8192,
        "é".encode() * 54,
    ],
)
def test_what_was_never_signed_is_refused(forged):
    assert SessionSigner([NEW]).verify(forged) is None


def test_truncated_and_prolonged_cookies_are_refused():
    signer = SessionSigner([NEW])
    cookie = signer.sign(SessionToken.new()).encode()

    assert not any(signer.verify(cookie[:length]) for length in range(len(cookie)))
    assert signer.verify(cookie + b"=") is None


def test_without_a_key_there_is_no_signer():
    for keys in ([], [""], [NEW, ""]):
        with pytest.raises(ValueError, match="key"):
            SessionSigner(keys)
