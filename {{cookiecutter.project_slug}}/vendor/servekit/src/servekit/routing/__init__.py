"""The finished application compiled: an index of its routes, and a direct way to answer them."""
