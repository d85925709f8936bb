"""The scene: nodes, their geometry, and what is written into them."""
