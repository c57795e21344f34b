"""How values are written: words, addresses, places, database URLs."""
