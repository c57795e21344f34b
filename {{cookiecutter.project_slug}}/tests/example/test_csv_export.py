from service.example.csv_export import csv_pieces
from service.example.csv_import import ProductReader
from service.example.models import Product


async def pages():
    yield [Product(id=1, name='a "b", c', price=1.5, tags=["x", "y"], description="two\nlines")]
    yield [Product(id=2, name="=1+1", price=0)]


async def test_what_is_exported_can_be_imported():
    pieces = [piece async for piece in csv_pieces(pages())]
    assert pieces[0] == "id,name,price,tags,description\r\n"
    reader = ProductReader()
    rows = [row for piece in pieces for row in reader.feed(piece.encode())]
    products = [product async for page in pages() for product in page]
    assert rows == [
        {"row": number} | product.model_dump() for number, product in enumerate(products, start=1)
    ]
