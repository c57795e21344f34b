"""What keys are made of: text of values, their types, templates, and their place in Redis."""
