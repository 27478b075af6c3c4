"""What figures, tables, README blocks and the site look like."""
