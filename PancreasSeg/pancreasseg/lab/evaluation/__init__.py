"""Measuring trained packages on cohorts: the tables of the papers, plots, and tests between methods."""

from pancreasseg.lab.evaluation.scores import Score, read_scores, score_case, write_scores

__all__ = ["Score", "read_scores", "score_case", "write_scores"]
