import gzip
import sys

import httpx2
import pytest

if sys.version_info >= (3, 14):
    from compression.zstd import decompress
else:
    from zstandard import ZstdDecompressor

    def decompress(data):
        return ZstdDecompressor().decompressobj().decompress(data)


@pytest.fixture
def service(start_service):
    return start_service(WORKERS=1)


def ask(service, accept: str) -> tuple[httpx2.Headers, bytes]:
    """Return the headers and the body as it came, still encoded."""
    url = f"{service.base_url}/products?page=1"
    with httpx2.stream("GET", url, headers={"Accept-Encoding": accept}) as answer:
        return answer.headers, b"".join(answer.iter_raw())


def test_the_coding_is_negotiated_and_every_variant_is_the_same_page(service):
    plain_headers, plain = ask(service, "identity")
    gzip_headers, gzipped = ask(service, "gzip")
    zstd_headers, packed = ask(service, "br;q=0, gzip;q=0.5, zstd")

    assert "content-encoding" not in plain_headers
    assert gzip_headers["content-encoding"] == "gzip"
    assert zstd_headers["content-encoding"] == "zstd"
    assert gzip.decompress(gzipped) == plain
    assert decompress(packed) == plain
    assert len(gzipped) < len(plain) / 2
    assert "accept-encoding" in gzip_headers["vary"].lower()


def test_a_page_that_did_not_change_is_not_sent_again(service):
    first, _ = ask(service, "gzip")
    again = httpx2.get(
        f"{service.base_url}/products?page=1",
        headers={"Accept-Encoding": "gzip", "If-None-Match": first["etag"]},
    )

    assert again.status_code == 304
    assert again.content == b""


def test_a_small_answer_is_left_as_it_is(service):
    answer = httpx2.get(f"{service.base_url}/", headers={"Accept-Encoding": "gzip"})

    assert "content-encoding" not in answer.headers
