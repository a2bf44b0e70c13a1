"""Calls of the public face, which mypy checks and nobody runs: test_public.py says how.

A line that ends in `# error: ...` must be an error with these words, one that ends in
`# reveals: ...` must have that type, and no other line may be an error.
"""

from typing import reveal_type

import textgen

model = textgen.load("checkpoints/corpus")
config = textgen.SampleConfig(length=20, stop=("END",))
state = model.read(["RO", "MEO:"], unknown="skip", look_back=64)

# Every way to write takes every option, and a config.
model.sample("ROMEO:", length=100, temperature=(1.0, 0.5), top_k=5, stop="END", bias=["e:1"])
model.sample("ROMEO:", config)
model.sample(config=config, state=state, seed=3)
model.stream("ROMEO:", config, min_p=0.05)
model.batch("ROMEO:", num=3)
model.batch(primes=["ROMEO:", "JULIET:"], config=config, best_of=4)
model.texts(["ROMEO:"], config, num=3, unique=True)
model.choices(3, state=state, length=20)
model.check(config, match="[a-z]+")
textgen.SampleConfig.of(config, stop=["END", "FIN"], temperature=1)
textgen.train("corpus.txt", minutes=1, hidden=256, cell="lstm", patience=None)
textgen.train(["a.txt", "b.txt"], textgen.TrainConfig(steps=100), quiet=False)
textgen.train(config=textgen.TrainConfig(), resume="checkpoints/corpus")
textgen.evaluate("checkpoints/corpus", "other.txt", protocol="nanogpt", device="auto")

# A misspelt keyword.
model.sample("ROMEO:", tempreature=0.5)  # error: "tempreature"
model.stream("ROMEO:", lenght=5)  # error: "lenght"
model.batch("ROMEO:", nums=3)  # error: "nums"
model.texts(["ROMEO:"], top=5)  # error: "top"
model.choices(3, state=state, topk=5)  # error: "topk"
model.read(["a"], unkown="skip")  # error: "unkown"
model.check(mach="[a-z]")  # error: "mach"
model.score("a", bits=True)  # error: "bits"
textgen.SampleConfig.of(lenght=5)  # error: "lenght"
textgen.train("corpus.txt", minute=1)  # error: "minute"
textgen.evaluate("checkpoints/corpus", parts="val")  # error: "parts"
textgen.adapt("checkpoints/corpus", "a.txt", devise="cpu")  # error: "devise"

# A value of another type.
model.sample("ROMEO:", length="100")  # error: expected "int"
model.sample("ROMEO:", {"length": 100})  # error: expected "SampleConfig | None"
model.stream("ROMEO:", stop=3)  # error: expected "Sequence[str]"
model.choices(3, state=None)  # error: expected "SamplingState"
textgen.train("corpus.txt", layers=1.5)  # error: expected "int | None"
textgen.train("corpus.txt", config=config)  # error: expected "TrainConfig | None"

# What comes back.
reveal_type(model)  # reveals: textgen.textmodel.TextModel
reveal_type(model.sample())  # reveals: str
reveal_type(next(model.stream()))  # reveals: str
reveal_type(model.batch())  # reveals: list[str]
reveal_type(next(model.texts([""])).end)  # reveals: str
reveal_type(model.score("a").nats_per_char)  # reveals: float
reveal_type(model.choices(3, state=state)[0][1].position)  # reveals: int
reveal_type(textgen.train("corpus.txt").val_nats)  # reveals: float | None
reveal_type(textgen.evaluate("checkpoints/corpus", part="val").perplexity)  # reveals: float
