"""Routes that misbehave on request, for any application with a Service."""
