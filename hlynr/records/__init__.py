"""What the steps hand to each other: frozen records, JSON both ways."""
