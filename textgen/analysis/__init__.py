"""Reports and pictures of texts and models.

text -> corpus_report (text_statistics, overlap, baselines); checkpoint -> gradients -> plots
"""

from textgen.analysis.corpus_report import report_on_corpus as report_on_corpus

__all__ = ["report_on_corpus"]
