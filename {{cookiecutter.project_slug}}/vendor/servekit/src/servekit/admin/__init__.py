"""What is asked of the supervisor: the admin port, its client, and `reload`, `scale` and `stop`."""
