import pytest

from service.example.csv_import import ROW_LIMIT_BYTES, ProductReader
from service.example.models import RowError

HEADER = b"id,name,price,tags,description\n"


def read(data, step=None):
    reader = ProductReader()
    step = step or len(data) or 1
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    outcomes = [outcome for piece in pieces for outcome in reader.feed(piece)]
    return outcomes + list(reader.finish())


def errors(data, step=None):
    return [(error.row, error.field) for error in read(data, step) if isinstance(error, RowError)]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
def test_pieces_may_be_cut_anywhere(step):
    text = (
        '1,"a ""quoted"" name, with ünïcode",9.5,oak;new,"two\r\nlines"\r\n2,b,0,,\r\n3,c,1e3,x,y'
    )
    rows = read(HEADER + text.encode(), step)
    assert rows == [
        {
            "row": 1,
            "id": 1,
            "name": 'a "quoted" name, with ünïcode',
            "price": 9.5,
            "tags": ["oak", "new"],
            "description": "two\r\nlines",
        },
        {"row": 2, "id": 2, "name": "b", "price": 0, "tags": [], "description": ""},
        {"row": 3, "id": 3, "name": "c", "price": 1000, "tags": ["x"], "description": "y"},
    ]


def test_columns_come_in_any_order_and_behind_a_byte_order_mark():
    data = b"\xef\xbb\xbfname,id,tags,description,price\nchair,7,,,2\n"
    assert [row["id"] for row in read(data)] == [7]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"x,a,1,,", "id"),
        (b"0,a,1,,", "id"),
        (b"9223372036854775808,a,1,,", "id"),
        (b"1,,1,,", "name"),
        (b"1," + b"n" * 201 + b",1,,", "name"),
        (b"1,a\x00b,1,,", "name"),
        (b"1,caf\xe9,1,,", "name"),
        (b"1,a,free,,", "price"),
        (b"1,a,-1,,", "price"),
        (b"1,a,nan,,", "price"),
        (b"1,a,1e999,,", "price"),
        (b"1,a,1,x;;y,", "tags.1"),
        (b"1,a,1," + b";".join([b"t"] * 21) + b",", "tags"),
        (b"1,a,1,," + b"d" * 4001, "description"),
        (b"1,a,1", ""),
        (b"1,a,1,,,", ""),
        (b'1,"a"b,1,,', ""),
        (b"1,a\rb,1,,", ""),
    ],
)
def test_a_bad_row_is_named_with_its_field_and_the_rows_around_it_are_read(line, field):
    outcomes = read(HEADER + b"5,before,1,,\n" + line + b"\n6,after,1,,\n")
    assert [getattr(outcome, "field", None) for outcome in outcomes] == [None, field, None]
    assert outcomes[1].row == 2
    assert outcomes[2]["row"] == 3


def test_a_header_that_lacks_a_column_ends_the_reading():
    assert errors(b"id,name,price,tags\n1,a,1,\n") == [(0, "header")]


def test_an_empty_file_is_an_error():
    assert errors(b"") == [(0, "")]


def test_a_quote_that_is_never_closed_is_an_error():
    assert errors(HEADER + b'1,"a,1,,\n2,b,1,,\n', 5) == [(1, "")]


@pytest.mark.parametrize("filler", [b"x", b"x\n"])
def test_a_row_without_an_end_is_given_up_at_the_limit(filler):
    reader = ProductReader()
    piece = filler * 1000
    list(reader.feed(HEADER + b'1,"'))
    fed = 0
    while not any(isinstance(outcome, RowError) for outcome in reader.feed(piece)):
        fed += len(piece)
        assert fed <= ROW_LIMIT_BYTES
    for _ in range(100):
        assert list(reader.feed(piece)) == list(reader.finish()) == []
    assert len(reader._rest) + sum(map(len, reader._lines)) <= ROW_LIMIT_BYTES + len(piece)
