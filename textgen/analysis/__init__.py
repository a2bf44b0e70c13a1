"""Reports and pictures of texts and models.

text -> corpus_report (text_statistics, overlap, baselines); checkpoint -> gradients -> plots
"""

from textgen.analysis.corpus_report import survey_of as survey_of

__all__ = ["survey_of"]
