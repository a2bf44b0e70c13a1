"""A model on disk, and what lies around it.

file -> checkpoint (metadata) -> loading -> what steps; runs, training_text, span_index beside it
"""

from textgen.checkpoint.checkpoint import Checkpoint as Checkpoint
from textgen.checkpoint.loading import adaptive_mixture as adaptive_mixture
from textgen.checkpoint.loading import make_engine as make_engine
from textgen.checkpoint.loading import network_of as network_of
from textgen.checkpoint.loading import stepper_of as stepper_of
from textgen.checkpoint.loading import with_ngrams as with_ngrams
from textgen.checkpoint.metadata import Metadata as Metadata
from textgen.checkpoint.resume import MOMENTS as MOMENTS
from textgen.checkpoint.resume import SCALER as SCALER
from textgen.checkpoint.resume import Plan as Plan
from textgen.checkpoint.resume import Progress as Progress
from textgen.checkpoint.resume import ResumeState as ResumeState
from textgen.checkpoint.runs import find_checkpoint as find_checkpoint
from textgen.checkpoint.runs import model_name as model_name
from textgen.checkpoint.runs import newest_checkpoint as newest_checkpoint
from textgen.checkpoint.span_index import index_for as index_for
from textgen.checkpoint.span_index import text_of as text_of
from textgen.checkpoint.training_text import read_foreign as read_foreign

__all__ = [
    "MOMENTS",
    "SCALER",
    "Checkpoint",
    "Metadata",
    "Plan",
    "Progress",
    "ResumeState",
    "adaptive_mixture",
    "find_checkpoint",
    "index_for",
    "make_engine",
    "model_name",
    "network_of",
    "newest_checkpoint",
    "read_foreign",
    "stepper_of",
    "text_of",
    "with_ngrams",
]
