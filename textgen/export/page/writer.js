// A text as it is read and written, id by id, and where the model stands in it.
class Writer {
  // So many of the latest ids can be gone back on without reading from the beginning.
  static KEPT = 4096;
  constructor(model, tokenizer) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.begin();
  }
  begin() {
    const {first, boundary} = this.tokenizer;
    this.state = this.model.start();
    this.logs = logSoftmax(Float64Array.from(first, Math.log));
    if (boundary !== null) this.step(boundary);
    // What was read: of each id its text, its bits, and what stood before it.
    this.read = [];
    this.spelling = 0;
    // The bytes of a character that is not whole yet.
    this.pending = [];
    // All the text that it stands behind; null while that is only partly read.
    this.text = "";
  }
  step(id) {
    const [scores, state] = this.model.step(id, this.state);
    this.state = state;
    this.logs = logSoftmax(scores);
  }
  // Reads an id; of characters the text may be told, which of <unk> only the typed text says.
  feed(id, typed = null, bits = this.bitsOf(id)) {
    const {tokenizer, state, spelling, pending} = this;
    this.spelling = tokenizer.spelled(spelling, id);
    const bytes = [...pending, ...tokenizer.bytes[id]];
    this.pending = this.spelling ? bytes : [];
    const text = typed ?? (this.spelling ? "" : tokenizer.decode(bytes));
    this.step(id);
    const fed = {id, text, bits, before: {state, spelling, pending}};
    this.read.push(fed);
    const old = this.read[this.read.length - Writer.KEPT];
    if (old) old.before = null;
    return fed;
  }
  // What an id costs; one that is no character also says which one it stands for.
  bitsOf(id) {
    return ((id === 0 ? this.tokenizer.unknownNats : 0) - this.logs[id]) / Math.LN2;
  }
  // Goes back to where it had read the first so many ids, or to the beginning.
  back(count) {
    if (count === this.read.length) return;
    const last = this.read[count - 1];
    if (!last?.before) return this.begin();
    this.read.length = count - 1;
    Object.assign(this, last.before);
    this.feed(last.id, last.text, last.bits);
  }
  // Reads a text instead of what was read, from the first id on that differs; yields after each.
  *reading(text) {
    const {tokenizer, read} = this, ids = tokenizer.encode(text);
    const typed = tokenizer.ofCharacters ? Array.from(text) : [];
    const same = (k) => ids[k] === read[k].id && (typed[k] ?? read[k].text) === read[k].text;
    let shared = 0;
    while (shared < Math.min(ids.length, read.length) && same(shared)) shared++;
    this.text = null;
    this.back(shared);
    for (let k = this.read.length; k < ids.length; k++) {
      this.feed(ids[k], typed[k]);
      yield;
    }
    this.text = text;
  }
  // Becomes a copy of another one.
  follow(other) {
    Object.assign(this, other, {read: other.read.slice()});
  }
  // The logarithms of the probabilities of what may be written.
  allowed() {
    return this.logs.map((log, id) => this.tokenizer.allows(this.spelling, id) ? log : -Infinity);
  }
  // Writes one id; null where the record has ended, or nothing may be written.
  write(settings, u) {
    const allowed = this.allowed();
    if (!allowed.some(Number.isFinite)) return null;
    const recent = () => this.read.slice(-1024).map((each) => each.id);
    const id = draw(filtered(allowed, settings, recent), u);
    return id === this.tokenizer.boundary ? null : this.take(id);
  }
  // Adds an id to the text.
  take(id) {
    const fed = this.feed(id);
    if (this.text !== null) this.text += fed.text;
    return fed;
  }
}

// Returns a text of so many characters after a prime, as `textgen sample` writes it.
function sample(writer, prime, settings) {
  writer.begin();
  for (const _ of writer.reading(prime));
  const draws = uniforms(settings.seed, settings.row ?? 0), characters = [];
  while (characters.length < settings.length) {
    const written = writer.write(settings, draws.next().value);
    if (!written) break;
    characters.push(...written.text);
  }
  return characters.slice(0, settings.length).join("");
}
