"""What is measured of a worker: loop lag, memory, collector, CPU; and the watchdog."""
