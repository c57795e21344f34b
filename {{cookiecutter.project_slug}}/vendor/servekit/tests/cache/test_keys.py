import pytest
from hypothesis import given, strategies as st

from servekit.cache.keys.space import KeySpace


@given(st.text())
def test_redis_keys_give_their_names_back(name):
    keys = KeySpace("shop:cache:")
    for kind in ("entry", "lease", "tag"):
        raw = getattr(keys, kind)(name).encode(errors="replace")
        if "?" not in raw.decode() and name and name[0] != "}":
            assert keys.split(raw) == (kind[0], name)


@pytest.mark.parametrize("prefix", ["", "a{b:", "a*:"])
def test_a_prefix_with_signs_of_patterns_is_refused(prefix):
    with pytest.raises(ValueError, match="prefix"):
        KeySpace(prefix)


@pytest.mark.parametrize("name", [7, None, False, b"a"])
def test_a_key_that_is_no_text_is_refused(name):
    for kind in ("entry", "lease", "tag"):
        with pytest.raises(TypeError, match="is text, not"):
            getattr(KeySpace("cache:"), kind)(name)
