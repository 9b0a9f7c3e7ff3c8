"""The fault matrix: every part of the daemon fails in every way at every point of an order's way.

python -m tests.drills.matrix --seed 1                   the whole matrix, two lanes
python -m tests.drills.matrix --only gateway-SIGKILL-entry.booked-0
python -m tests.drills.matrix --seed 1 --write docs/proof.md
"""
