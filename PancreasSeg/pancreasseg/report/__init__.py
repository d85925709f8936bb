"""The picture of a result: planes, surface, numbers and findings on one page."""
