"""What predicts the next id in numpy: the network, n-grams, and their mixture.

ids -> network, ngrams -> mixture -> log-probabilities
"""

from textgen.engine.mixture import Mixture as Mixture
from textgen.engine.mixture import best_share as best_share
from textgen.engine.mixture import mix as mix
from textgen.engine.network import Engine as Engine
from textgen.engine.network import log_softmax as log_softmax
from textgen.engine.network import quiet as quiet
from textgen.engine.ngrams import NGrams as NGrams
from textgen.engine.ngrams import fits as fits
from textgen.engine.ngrams import longest as longest
from textgen.engine.stepper import Scorer as Scorer
from textgen.engine.stepper import Stepper as Stepper
from textgen.engine.stepper import first_distribution as first_distribution
from textgen.engine.threads import Threads as Threads
from textgen.engine.threads import sampling_threads as sampling_threads

__all__ = [
    "Engine",
    "Mixture",
    "NGrams",
    "Scorer",
    "Stepper",
    "Threads",
    "best_share",
    "first_distribution",
    "fits",
    "log_softmax",
    "longest",
    "mix",
    "quiet",
    "sampling_threads",
]
