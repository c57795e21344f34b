"""A small application for each cause that the doctor knows, a twin for each, and what it says."""
