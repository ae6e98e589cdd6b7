"""What only a dead process can have left, or what others changed by hand: surveyed, and mended where that is safe."""
