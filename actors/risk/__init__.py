"""The one gate: whatever wants to become an order is judged here, and nowhere else."""
