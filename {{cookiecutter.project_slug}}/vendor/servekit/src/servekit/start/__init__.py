"""How a service starts: command line, launch, program of a worker, other servers."""
