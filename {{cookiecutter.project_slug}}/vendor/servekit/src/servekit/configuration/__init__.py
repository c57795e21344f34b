"""What a service is set to, where it is read from, and how it is said."""
