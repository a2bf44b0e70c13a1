"""The networks that are trained, in torch.

x_TB -> char_rnn (cells) -> logits_TBV
"""

from textgen.nn.cells import can_pack as can_pack
from textgen.nn.char_rnn import CharRNN as CharRNN
from textgen.nn.char_rnn import State as State
from textgen.nn.char_rnn import TorchStepper as TorchStepper
from textgen.nn.device import choose_device as choose_device
from textgen.nn.device import cpu_settings as cpu_settings
from textgen.nn.device import measure_gflops as measure_gflops
from textgen.nn.device import memory_checked as memory_checked
from textgen.nn.device import memory_of as memory_of
from textgen.nn.device import multiplies_bfloat16 as multiplies_bfloat16
from textgen.nn.dynamic import AdaptationRule as AdaptationRule
from textgen.nn.dynamic import AdaptiveStepper as AdaptiveStepper
from textgen.nn.gradients import characters_needed as characters_needed
from textgen.nn.gradients import gradient_norms as gradient_norms
from textgen.nn.gradients import most_lags as most_lags
from textgen.nn.gradients import state_names as state_names

__all__ = [
    "AdaptationRule",
    "AdaptiveStepper",
    "CharRNN",
    "State",
    "TorchStepper",
    "can_pack",
    "characters_needed",
    "choose_device",
    "cpu_settings",
    "gradient_norms",
    "measure_gflops",
    "memory_checked",
    "memory_of",
    "most_lags",
    "multiplies_bfloat16",
    "state_names",
]
