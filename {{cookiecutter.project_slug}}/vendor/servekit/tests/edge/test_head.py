import pytest

from servekit.edge.head import LINES_LIMIT, NAMES_LIMIT, REPEATED_BYTES, HeadWriter


def test_a_field_becomes_a_line_with_its_name_in_lower_case():
    assert HeadWriter([]).line(b"X-Name", b"a value") == b"x-name: a value\r\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\nb"),
        (b"x", b"\x00"),
        (b"x y", b"a"),
        (b"x:", b"a"),
        (b"", b"a"),
        (b"x\r\n", b"a"),
    ],
)
def test_what_could_end_a_line_early_is_refused(name, value):
    with pytest.raises(RuntimeError):
        HeadWriter([]).line(name, value)


def test_constant_fields_are_refused_at_the_start():
    with pytest.raises(RuntimeError):
        HeadWriter([(b"x", b"a\r\nb")])


def test_names_that_never_come_again_do_not_fill_the_memory():
    writer = HeadWriter([])
    for number in range(NAMES_LIMIT + 10):
        writer.line(b"x-%d" % number, b"a")

    assert len(writer._names) == NAMES_LIMIT


def test_lines_that_come_again_are_remembered_up_to_a_bound():
    writer = HeadWriter([])
    for number in range(2 * LINES_LIMIT):
        field = (b"etag", b"%d" % number)
        writer.remember(field, writer.line(*field))
    writer.remember((b"vary", b"a" * REPEATED_BYTES), b"vary: " + b"a" * REPEATED_BYTES)

    assert len(writer.lines) == LINES_LIMIT
    assert writer.lines[b"etag", b"7"] == b"etag: 7\r\n"
    assert all(len(line) <= REPEATED_BYTES for line in writer.lines.values())
