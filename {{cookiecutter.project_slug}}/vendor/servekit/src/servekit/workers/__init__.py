"""The processes: supervisor, zygotes, workers; decisions without I/O, and who carries them out."""
