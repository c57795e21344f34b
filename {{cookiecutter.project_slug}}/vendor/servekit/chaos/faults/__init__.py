"""What stands around the service and fails on purpose: Redis, its proxy, an upstream."""
