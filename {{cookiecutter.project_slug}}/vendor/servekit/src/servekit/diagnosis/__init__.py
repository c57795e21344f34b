"""What an operator sees of a running service: profiles of its workers, as pages and files."""
