"""What every request passes on its way to the application, one thing a layer."""
