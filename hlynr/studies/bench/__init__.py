"""The benchmark against the stock libraries."""
