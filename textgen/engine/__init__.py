"""What predicts the next id in numpy: the network, n-grams, and their mixture.

ids -> network, ngrams -> mixture -> log-probabilities
"""

from textgen.engine.mixture import Mixture as Mixture
from textgen.engine.mixture import best_ngram_weight as best_ngram_weight
from textgen.engine.mixture import mix as mix
from textgen.engine.network import Engine as Engine
from textgen.engine.network import ignore_overflow as ignore_overflow
from textgen.engine.network import log_softmax as log_softmax
from textgen.engine.ngrams import NGrams as NGrams
from textgen.engine.ngrams import fits_model as fits_model
from textgen.engine.ngrams import longest_order as longest_order
from textgen.engine.stepper import Scorer as Scorer
from textgen.engine.stepper import Stepper as Stepper
from textgen.engine.stepper import StepperState as StepperState
from textgen.engine.stepper import first_distribution as first_distribution
from textgen.engine.threads import Threads as Threads
from textgen.engine.threads import sampling_threads as sampling_threads

__all__ = [
    "Engine",
    "Mixture",
    "NGrams",
    "Scorer",
    "Stepper",
    "StepperState",
    "Threads",
    "best_ngram_weight",
    "first_distribution",
    "fits_model",
    "ignore_overflow",
    "log_softmax",
    "longest_order",
    "mix",
    "sampling_threads",
]
