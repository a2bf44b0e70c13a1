"""The sizes of a recurrent network that textgen trained."""

from transformers import PretrainedConfig


class TextgenConfig(PretrainedConfig):
    """Sizes: V ids -> embedding -> recurrent layers -> logits of V ids."""

    model_type = "textgen"

    def __init__(
        self,
        vocab_size=2,
        cell="gru",
        num_hidden_layers=1,
        hidden_size=512,
        embedding_size=64,
        use_cache=True,
        **others,
    ):
        """Take the sizes; cell is "rnn", "lstm" or "gru"."""
        self.vocab_size = vocab_size
        self.cell = cell
        self.num_hidden_layers = num_hidden_layers
        self.hidden_size = hidden_size
        self.embedding_size = embedding_size
        self.use_cache = use_cache
        others["tie_word_embeddings"] = False
        super().__init__(**others)
