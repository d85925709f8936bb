"""The page of a cohort: one HTML file that needs nothing else, for a browser."""
