"""How values are written: words, numbers, addresses, places, database URLs."""
