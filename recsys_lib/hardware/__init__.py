"""What this machine is and reaches (``machine``), how time and memory are measured (``measure``), latency
under load (``load_patterns``)."""
