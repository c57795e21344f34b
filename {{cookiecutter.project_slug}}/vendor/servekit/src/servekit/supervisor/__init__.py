"""The supervisor: decisions about workers without I/O, and who carries them out."""
