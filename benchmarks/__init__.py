"""What the client costs, side by side with its peers: `python -m benchmarks`."""
