"""A network as a folder that Hugging Face's transformers loads, with the code that it needs.

The folder holds the weights under the names that they have here, the code of the model and of its
tokenizer (the folder `templates`), which imports torch and transformers and no textgen, and a card.

    >>> description = write_hugging_face(Checkpoint.load(path), Path("model"))
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from textgen.checkpoint import Checkpoint
from textgen.errors import UsageError, counted, visible
from textgen.export.description import Description, Vocabulary
from textgen.files import check_name, write_error, write_output, write_plain_tensors

# What a folder brings along: the code, and the card with gaps.
COMPANIONS = Path(__file__).parent / "templates"
CODE = ("configuration_textgen.py", "modeling_textgen.py", "tokenization_textgen.py")
CARD = "README.md"
# Characters of a text that the model writes where nobody says how many.
NEW_CHARACTERS = 500
# What the card continues, if the model knows these characters.
PROMPT = "The "


def write_hugging_face(checkpoint: Checkpoint, folder: Path) -> Description:
    """Write the network of a checkpoint as a folder for transformers.

    Args:
        checkpoint: its n-grams are left out.
        folder: new or empty; it appears at once when all of it is written.

    Returns:
        What is said of the network in it.

    Raises:
        UsageError: there is something at the folder's name already.
        MachineError: it cannot be written.
    """
    check_folder(folder)
    description = Description.of(checkpoint)
    with _made_whole(folder) as unfinished:
        weights = {name: array.astype(np.float32) for name, array in checkpoint.weights.items()}
        # What tells transformers whose names these are.
        write_plain_tensors(unfinished / "model.safetensors", weights, {"format": "pt"})
        for name, content in _files(description).items():
            write_output(unfinished / name, [content])
    return description


def check_folder(folder: Path) -> None:
    """Check that a folder can be made there, so that nothing is overwritten.

    Raises:
        UsageError: there is something, or the name cannot be one.
        MachineError: what is there cannot be looked into.
    """
    check_name(folder)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UsageError("--out", f"{folder} is there and no folder", "name a new folder")
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    if names:
        problem = f"{folder} is not empty: it has {counted(len(names), 'file')}"
        raise UsageError("--out", problem, "name a new folder")


@contextlib.contextmanager
def _made_whole(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, whose files are in `folder` when nothing went wrong."""
    folder = Path(os.path.realpath(folder))
    unfinished = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    try:
        unfinished.mkdir()
        yield unfinished
        if folder.exists():
            # Somebody may be in it, so that it must stay the folder that it is.
            for path in unfinished.iterdir():
                os.replace(path, folder / path.name)
        else:
            os.replace(unfinished, folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _files(description: Description) -> dict[str, bytes]:
    """Return the files beside the weights by their names."""
    vocabulary = description.vocabulary
    parts: dict[str, Any] = {
        "config.json": _config(description),
        "generation_config.json": _generation_config(description),
        "tokenizer_config.json": {
            "auto_map": {"AutoTokenizer": ["tokenization_textgen.TextgenTokenizer", None]},
            "tokenizer_class": "TextgenTokenizer",
        },
        "vocab.json": {
            "kind": vocabulary.kind,
            "characters": vocabulary.characters,
            "boundary_id": vocabulary.boundary_id,
        },
    }
    files = {name: _json(values) for name, values in parts.items()}
    if vocabulary.sentencepiece is not None:
        files["pieces.model"] = vocabulary.sentencepiece
    files |= {name: (COMPANIONS / name).read_bytes() for name in CODE}
    return files | {CARD: _card(description).encode()}


def _json(values: object) -> bytes:
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _config(description: Description) -> dict[str, Any]:
    """Return what transformers makes the model from."""
    sizes = description.model
    return {
        "architectures": ["TextgenForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_textgen.TextgenConfig",
            "AutoModelForCausalLM": "modeling_textgen.TextgenForCausalLM",
        },
        "cell": sizes.cell,
        "dtype": "float32",
        "embedding_size": sizes.embedding,
        "hidden_size": sizes.hidden,
        "model_type": "textgen",
        "num_hidden_layers": sizes.layers,
        "vocab_size": sizes.vocab,
        **_special_ids(description),
    }


def _special_ids(description: Description) -> dict[str, int | None]:
    """Return which ids begin, end and fill a text up: of records the boundary does all."""
    boundary = description.vocabulary.boundary_id
    padding = boundary
    if boundary is None and description.vocabulary.kind != "byte":
        padding = 0
    return {"bos_token_id": boundary, "eos_token_id": boundary, "pad_token_id": padding}


def _generation_config(description: Description) -> dict[str, Any]:
    """Return how the model writes where nobody says anything else: draws from all ids but <unk>."""
    settings: dict[str, Any] = {
        "do_sample": True,
        "max_new_tokens": NEW_CHARACTERS,
        "top_k": 0,
        **_special_ids(description),
    }
    if description.vocabulary.kind != "byte":
        settings["suppress_tokens"] = [0]
    return settings


def _card(description: Description) -> str:
    """Return the card of the model."""
    model, text = description.model, description.text
    layers = counted(model.layers, "layer")
    trained = f"{_quoted(text.name)}, {text.size:,} bytes" if text else "a text not recorded"
    values = {
        "network": f"{model.cell.upper()}, {layers} of {model.hidden}, "
        f"{model.parameters():,} parameters, {model.vocab:,} ids",
        "kind": description.vocabulary.kind,
        "text": trained,
        "digest": f"sha256 {_quoted(text.sha256)}" if text else "not recorded",
        "network_nats": _nats(description.network_nats),
        "model_nats": _nats(description.model_nats) if description.has_ngrams else "has none",
        "prompt": json.dumps(_prompt(description.vocabulary)),
    }
    return Template((COMPANIONS / CARD).read_text("utf-8")).substitute(values)


def _prompt(vocabulary: Vocabulary) -> str:
    """Return a text that the model can continue: of records none is needed."""
    if vocabulary.boundary_id is not None:
        return ""
    known = vocabulary.characters
    if known is None or set(PROMPT) <= set(known):
        return PROMPT
    return known[max(range(1, len(known)), key=vocabulary.counts.__getitem__)]


def _nats(nats: float | None) -> str:
    return "not recorded" if nats is None else f"{nats:.4f}"


def _quoted(name: str) -> str:
    """Return a name from a file as code in Markdown, whatever is in it."""
    return "`" + visible(name).replace("`", "'").replace("|", "/") + "`"
