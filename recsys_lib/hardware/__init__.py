"""What this machine is and reaches (``machine``), and how time and memory are measured (``measure``)."""
