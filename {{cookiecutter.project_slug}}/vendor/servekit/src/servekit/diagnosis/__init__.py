"""What an operator sees of a running service: profiles of its workers, and what ails it."""
