"""What this machine is and reaches (``machine``), how time and memory are measured (``timing``), latency
under load (``load_patterns``)."""
