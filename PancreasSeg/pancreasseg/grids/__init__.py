"""From one grid to another: resampling, the network's input, the body."""
