"""What everything else stands on: errors, paths, atomic files, quiet loading of models."""
