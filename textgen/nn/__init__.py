"""The networks that are trained, in torch.

x_TB -> char_rnn (cells) -> logits_TBV
"""

from textgen.nn.cells import can_pack as can_pack
from textgen.nn.char_rnn import CharRNN as CharRNN
from textgen.nn.char_rnn import State as State
from textgen.nn.char_rnn import TorchStepper as TorchStepper
from textgen.nn.device import available_cores as available_cores
from textgen.nn.device import choose_device as choose_device
from textgen.nn.device import memory_checked as memory_checked
from textgen.nn.device import multiplies_bfloat16 as multiplies_bfloat16
from textgen.nn.device import probe as probe
from textgen.nn.device import tuned as tuned
from textgen.nn.dynamic import DynamicStepper as DynamicStepper
from textgen.nn.dynamic import Rule as Rule
from textgen.nn.gradients import HELD as HELD
from textgen.nn.gradients import POSITIONS as POSITIONS
from textgen.nn.gradients import WARM_UP as WARM_UP
from textgen.nn.gradients import gradient_norms as gradient_norms
from textgen.nn.gradients import states_of as states_of

__all__ = [
    "HELD",
    "POSITIONS",
    "WARM_UP",
    "CharRNN",
    "DynamicStepper",
    "Rule",
    "State",
    "TorchStepper",
    "available_cores",
    "can_pack",
    "choose_device",
    "gradient_norms",
    "memory_checked",
    "multiplies_bfloat16",
    "probe",
    "states_of",
    "tuned",
]
