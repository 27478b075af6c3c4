"""What training a language model on interactions brings, and what it costs: the study behind notebook 07."""
