"""What an operator watches live: a page on the admin port, its stream, and both in a terminal."""
