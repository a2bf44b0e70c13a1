"""How good a model is, in nats and bits.

checkpoint, text -> evaluator -> protocols -> Result
"""

from textgen.evaluation.dynamic import adapt_checkpoint as adapt_checkpoint
from textgen.evaluation.dynamic import learn_beside as learn_beside
from textgen.evaluation.evaluator import evaluate as evaluate
from textgen.evaluation.protocols import NANOGPT_BATCH as NANOGPT_BATCH
from textgen.evaluation.protocols import NANOGPT_WINDOW as NANOGPT_WINDOW
from textgen.evaluation.protocols import Result as Result
from textgen.evaluation.protocols import Score as Score
from textgen.evaluation.protocols import measure_text as measure_text
from textgen.evaluation.protocols import score_text as score_text
from textgen.evaluation.protocols import streamed as streamed

__all__ = [
    "NANOGPT_BATCH",
    "NANOGPT_WINDOW",
    "Result",
    "Score",
    "adapt_checkpoint",
    "evaluate",
    "learn_beside",
    "measure_text",
    "score_text",
    "streamed",
]
