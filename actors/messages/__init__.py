"""What actors say: frozen, slotted, typed."""
