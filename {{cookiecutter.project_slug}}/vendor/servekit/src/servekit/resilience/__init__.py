"""What a call to another system needs: time left, a breaker, few retries, a back-off."""
