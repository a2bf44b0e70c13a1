// Text to ids and back: characters, the bytes of UTF-8, or pieces of words.

class Tokenizer {
  // units: by id, a text or the number of a byte; "" for <unk> and the boundary.
  constructor(settings, scores) {
    Object.assign(this, settings);
    const {type, units} = settings;
    this.ofCharacters = type === "char";
    if (this.ofCharacters) this.ids = new Map(units.map((character, id) => [character, id]));
    else if (type !== "byte") this.pieces = new Pieces(settings, scores);
    this.bytes = units.map((unit) => typeof unit === "number" ? [unit] : bytesOf(unit));
    this.decoder = new TextDecoder("utf-8", {ignoreBOM: true});
  }
  // A character that the model does not know becomes <unk>, the id 0.
  encode(text) {
    if (this.ofCharacters) return Array.from(text, (character) => this.ids.get(character) || 0);
    return this.pieces ? this.pieces.encode(text) : bytesOf(text);
  }
  name(id) {
    return this.names[id];
  }
  // The state of the spelling after an id; between two characters it is 0.
  spelled(state, id) {
    return this.spelling ? this.spelling.next[state * this.vocab + id] : 0;
  }
  // Whether an id may be written in a state: not <unk>, nor what was never seen, nor half characters.
  allows(state, id) {
    return !this.barred[id] && (!this.spelling || this.spelling.allowed[state * this.vocab + id]);
  }
  decode(bytes) {
    return this.decoder.decode(Uint8Array.from(bytes));
  }
}
