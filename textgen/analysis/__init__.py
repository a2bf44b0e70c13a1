"""Reports and pictures of texts and models.

text -> corpus_report (text_statistics, overlap, baselines); checkpoint -> gradients -> plots;
checkpoint, text -> surprise, units (text_properties) -> pages
"""

from textgen.analysis.corpus_report import report_on_corpus as report_on_corpus
from textgen.analysis.novelty import Novelty as Novelty
from textgen.analysis.novelty import measure_novelty as measure_novelty
from textgen.analysis.pages import names_of_ids as names_of_ids
from textgen.analysis.prediction import Branch as Branch
from textgen.analysis.prediction import Prediction as Prediction
from textgen.analysis.prediction import grow_tree as grow_tree
from textgen.analysis.prediction import predict as predict
from textgen.analysis.report_page import render_report as render_report
from textgen.analysis.run_report import report_on_run as report_on_run
from textgen.analysis.surprise import Surprise as Surprise
from textgen.analysis.surprise import measure_surprise as measure_surprise
from textgen.analysis.surprise_page import render_surprise as render_surprise
from textgen.analysis.units import UnitActivity as UnitActivity
from textgen.analysis.units import inspect_units as inspect_units
from textgen.analysis.units_page import render_units as render_units

__all__ = [
    "Branch",
    "Novelty",
    "Prediction",
    "Surprise",
    "UnitActivity",
    "grow_tree",
    "inspect_units",
    "measure_novelty",
    "measure_surprise",
    "names_of_ids",
    "predict",
    "render_report",
    "render_surprise",
    "render_units",
    "report_on_corpus",
    "report_on_run",
]
