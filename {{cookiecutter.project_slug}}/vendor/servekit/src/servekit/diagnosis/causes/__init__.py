"""The rules, by what they look at: each looks for one cause, and for nothing else."""
