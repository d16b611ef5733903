"""What the embedded runtime needs of this machine: locks, ports, processes, limits, a supervisor."""
