"""A recurrent network that textgen trained, for transformers: it needs torch and no textgen.

The recurrent state goes where other models have their cache of keys and values, so that each id
costs one step. Shapes: B rows, T time steps, E embedding, H hidden, V ids; rows come first.
"""

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_textgen import TextgenConfig

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class TextgenState:
    """What was read: a tuple of (B, H) for each layer, (h,) or (h, c), and how many ids it was."""

    is_compileable = False

    def __init__(self, layers, length):
        """Take the state of each layer, and how many ids led there."""
        self.layers = layers
        self.length = length

    def get_seq_length(self, layer_idx=0):
        """Return how many ids were read."""
        return self.length

    def reorder_cache(self, beam_idx):
        """Keep the rows that a beam search goes on with."""
        self.layers = _map(lambda part: part.index_select(0, beam_idx.to(part.device)), self.layers)


def _map(function, *states):
    """Return the state whose parts are what a function makes of the parts of states."""
    return tuple(
        tuple(function(*parts) for parts in zip(*layers, strict=True))
        for layers in zip(*states, strict=True)
    )


class TextgenForCausalLM(PreTrainedModel, GenerationMixin):
    """Embedding -> recurrent layers -> head, which reads the sum of the layers' outputs."""

    config_class = TextgenConfig
    base_model_prefix = ""
    # A state cannot go back to an earlier id, as assisted generation would want it to.
    _is_stateful = True

    def __init__(self, config):
        """Make a network of the sizes of a config."""
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        widths = [config.embedding_size] + [config.hidden_size] * (config.num_hidden_layers - 1)
        self.layers = nn.ModuleList(
            CELLS[config.cell](width, config.hidden_size, batch_first=True) for width in widths
        )
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_input_embeddings(self):
        """Return the embedding."""
        return self.embedding

    def set_input_embeddings(self, embedding):
        """Take another embedding."""
        self.embedding = embedding

    def get_output_embeddings(self):
        """Return the head."""
        return self.head

    def set_output_embeddings(self, head):
        """Take another head."""
        self.head = head

    @classmethod
    def _supports_default_dynamic_cache(cls):
        """Tell `generate` to make no cache of keys and values."""
        return False

    def prepare_inputs_for_generation(
        self, input_ids, past_key_values=None, attention_mask=None, use_cache=True, **others
    ):
        """Return the arguments of `forward` for the ids that the state has not read."""
        if past_key_values is not None:
            input_ids = input_ids[:, past_key_values.get_seq_length() :]
        return {
            "input_ids": input_ids,
            "past_key_values": past_key_values,
            "attention_mask": attention_mask,
            "use_cache": use_cache,
        }

    def forward(
        self,
        input_ids,
        attention_mask=None,
        past_key_values=None,
        labels=None,
        use_cache=None,
        return_dict=True,
        **others,
    ):
        """Return the logits (B, T, V) of the ids after input_ids (B, T), and the state after them.

        Where attention_mask is 0 there is nothing to read: the state stays as it was.
        """
        rows, steps = input_ids.shape
        length = 0 if past_key_values is None else past_key_values.length
        state = self._zero_state(rows) if past_key_values is None else past_key_values.layers
        mask = None if attention_mask is None else attention_mask[:, -steps:].bool()
        if mask is None or mask.all():
            features, state = self._read(input_ids, state)
        else:
            features, state = self._read_masked(input_ids, state, mask)
        logits = self.head(features)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100
            )
        use_cache = self.config.use_cache if use_cache is None else use_cache
        after = TextgenState(state, length + steps) if use_cache else None
        output = CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=after)
        return output if return_dict else output.to_tuple()

    def _zero_state(self, rows):
        zeros = self.head.weight.new_zeros(rows, self.config.hidden_size)
        parts = 2 if self.config.cell == "lstm" else 1
        return tuple((zeros,) * parts for _ in self.layers)

    def _read(self, ids, state):
        """Return the sum of the layers' outputs (B, T, H), and the state after ids (B, T)."""
        features, total, after = self.embedding(ids), 0, []
        for layer, before in zip(self.layers, state, strict=True):
            before = tuple(part[None].contiguous() for part in before)
            features, last = layer(features, before if len(before) == 2 else before[0])
            after.append(tuple(part[0] for part in (last if len(before) == 2 else (last,))))
            total = total + features
        return total, tuple(after)

    def _read_masked(self, ids, state, mask):
        """Do what `_read` does, one step at a time, with a row's state kept where mask is false."""
        features = []
        for step in range(ids.shape[1]):
            reads, before = mask[:, step, None], state
            feature, after = self._read(ids[:, step : step + 1], before)
            state = _map(lambda new, old, reads=reads: torch.where(reads, new, old), after, before)
            features.append(feature)
        return torch.cat(features, 1), state
