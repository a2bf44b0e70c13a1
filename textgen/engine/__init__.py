"""What predicts the next id in numpy: the network, n-grams, and their mixture.

ids -> network, ngrams -> mixture -> log-probabilities
"""

from textgen.engine.backoff import learn_odds as learn_odds
from textgen.engine.mixture import FEW_IDS as FEW_IDS
from textgen.engine.mixture import WRITING_LENGTH as WRITING_LENGTH
from textgen.engine.mixture import Mixture as Mixture
from textgen.engine.mixture import Parts as Parts
from textgen.engine.mixture import fit_weights as fit_weights
from textgen.engine.mixture import likeliest as likeliest
from textgen.engine.mixture import take_apart as take_apart
from textgen.engine.mixture import usual_weights as usual_weights
from textgen.engine.mixture import weight_rows as weight_rows
from textgen.engine.mixture import weights_for_writing as weights_for_writing
from textgen.engine.network import Engine as Engine
from textgen.engine.network import ignore_overflow as ignore_overflow
from textgen.engine.network import log_softmax as log_softmax
from textgen.engine.ngrams import NGrams as NGrams
from textgen.engine.ngrams import NGramState as NGramState
from textgen.engine.ngrams import blocks as blocks
from textgen.engine.reading import AdaptiveMixture as AdaptiveMixture
from textgen.engine.reading import Reader as Reader
from textgen.engine.recent import Signs as Signs
from textgen.engine.stepper import Network as Network
from textgen.engine.stepper import Scorer as Scorer
from textgen.engine.stepper import Stepper as Stepper
from textgen.engine.stepper import StepperState as StepperState
from textgen.engine.stepper import first_distribution as first_distribution
from textgen.engine.stepper import ids_of_rows as ids_of_rows
from textgen.engine.threads import Threads as Threads
from textgen.engine.threads import sampling_threads as sampling_threads

__all__ = [
    "FEW_IDS",
    "WRITING_LENGTH",
    "AdaptiveMixture",
    "Engine",
    "Mixture",
    "NGramState",
    "NGrams",
    "Network",
    "Parts",
    "Reader",
    "Scorer",
    "Signs",
    "Stepper",
    "StepperState",
    "Threads",
    "blocks",
    "first_distribution",
    "fit_weights",
    "ids_of_rows",
    "ignore_overflow",
    "learn_odds",
    "likeliest",
    "log_softmax",
    "sampling_threads",
    "take_apart",
    "usual_weights",
    "weight_rows",
    "weights_for_writing",
]
