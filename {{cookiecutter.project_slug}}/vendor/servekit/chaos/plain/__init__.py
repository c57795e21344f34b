"""The plain service that every case is held against: fastapi, uvicorn, what people add."""
