"""Runs the user's strategy, walled off in a process of its own, and proposes what it thinks of."""
