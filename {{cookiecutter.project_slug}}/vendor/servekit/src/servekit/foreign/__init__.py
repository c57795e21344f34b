"""Names that FastAPI, uvicorn and redis-py keep private: one module for each, nowhere else."""
