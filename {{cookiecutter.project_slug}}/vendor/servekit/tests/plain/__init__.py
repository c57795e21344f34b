"""Small applications in plain FastAPI, and what is asked of each; `python -m plain` runs one."""
