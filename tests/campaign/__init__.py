"""Thousands of seeded days in virtual time: crashes, delays, losses and faults, judged by invariants."""
