"""A worker: the process that imports the application once, and the workers forked from it."""
