from servekit.sessions.cookie import KNOWN_BYTES, SessionCookie, SessionSigner, SessionToken


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
    assert len(cookie._known) == 0


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

    assert cookie._known.current_size() <= KNOWN_BYTES
