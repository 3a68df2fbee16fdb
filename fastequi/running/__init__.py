"""What a run is made of: its systems, the batches that compute them, their summaries."""
