"""Which requests are let in: importance, places in flight, a bounded queue, pressure."""
