"""What is kept and what is removed."""
