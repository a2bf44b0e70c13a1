// Text cut into pieces as the library SentencePiece (0.2.3) does it, with its ties and its float32.

// A sum of scores beyond this begins at zero again.
const LARGEST_SUM = 100000;
// It writes a space so; a text's own character of that name is spelled in bytes.
const SPACE_SIGN = "\u2581";
const CHARACTERS_AT_ONCE = 65536;

const bytesOf = (text) => Array.from(new TextEncoder().encode(text));

// Yields a text in blocks, cut behind a newline, else before a space, else anywhere.
function* cutBlocks(text, longest) {
  const characters = Array.from(text);
  let start = 0;
  while (characters.length - start > longest) {
    const last = (character) => characters.lastIndexOf(character, start + longest - 1);
    let end = last("\n") + 1;
    if (end <= start) end = last(" ");
    if (end <= start) end = start + longest;
    yield characters.slice(start, end).join("");
    start = end;
  }
  yield characters.slice(start).join("");
}

// What is to be merged, as a heap: the highest score first, of equals the leftmost.
class Agenda {
  constructor() {
    this.pairs = [];
  }
  static isBefore(a, b) {
    return a.score > b.score || (a.score === b.score && a.left < b.left);
  }
  add(pair) {
    const {pairs} = this;
    let at = pairs.length;
    for (let above; at > 0; at = above) {
      above = (at - 1) >> 1;
      if (!Agenda.isBefore(pair, pairs[above])) break;
      pairs[at] = pairs[above];
    }
    pairs[at] = pair;
  }
  take() {
    const {pairs} = this, [first] = pairs, pair = pairs.pop();
    if (!pairs.length) return first;
    let at = 0;
    for (let below; (below = 2 * at + 1) < pairs.length; at = below) {
      if (below + 1 < pairs.length && Agenda.isBefore(pairs[below + 1], pairs[below])) below++;
      if (!Agenda.isBefore(pairs[below], pair)) break;
      pairs[at] = pairs[below];
    }
    pairs[at] = pair;
    return first;
  }
}

class Pieces {
  // units: by id, the text of a piece or the number of a byte. defined: the ids of symbols that are
  // always cut out whole.
  constructor({type, units, defined}, scores) {
    this.cut = type === "bpe" ? this.mergePairs : this.findLikeliest;
    this.ids = new Map();
    units.forEach((unit, id) => { if (typeof unit === "string" && unit) this.ids.set(unit, id); });
    this.firstByte = units.indexOf(0);
    this.longest = Math.max(...Array.from(this.ids.keys(), (unit) => Array.from(unit).length));
    this.symbols = defined.map((id) => units[id]).sort((a, b) => b.length - a.length);
    this.scores = Float32Array.from(scores);
    const normal = [...this.ids.values()].filter((id) => !defined.includes(id));
    this.unknown = Math.fround(Math.min(...normal.map((id) => scores[id])) - 10);
    if (type === "unigram") {
      for (const id of defined) this.scores[id] = 0.1 * (bytesOf(units[id]).length - 1);
    }
  }
  encode(text) {
    const ids = [];
    for (const block of cutBlocks(text.replace(/\p{Surrogate}/gu, "\ufffd"), CHARACTERS_AT_ONCE)) {
      block.split(SPACE_SIGN).forEach((part, number) => {
        if (number) ids.push(...this.spell(SPACE_SIGN));
        for (const id of this.cut(part)) ids.push(id);
      });
    }
    return ids;
  }
  spell(text) {
    return bytesOf(text).map((byte) => this.firstByte + byte);
  }
  // Merges neighbours until no two make a piece: the pair of the highest score, the first of equals.
  mergePairs(part) {
    const symbols = this.split(part), agenda = new Agenda();
    const offer = (left, right) => {
      const [a, b] = [symbols[left], symbols[right]];
      if (!a || !b || a.whole || b.whole) return;
      const text = a.text + b.text, id = this.ids.get(text);
      if (id !== undefined) agenda.add({left, right, text, score: this.scores[id]});
    };
    for (let right = 1; right < symbols.length; right++) offer(right - 1, right);
    for (let pair; (pair = agenda.take()); ) {
      const {left, right, text} = pair, a = symbols[left], b = symbols[right];
      // One of the two has been merged with another since.
      if (!a.text || !b.text || a.text.length + b.text.length !== text.length) continue;
      Object.assign(a, {text, next: b.next});
      b.text = "";
      if (symbols[b.next]) symbols[b.next].before = left;
      offer(a.before, left);
      offer(left, a.next);
    }
    return symbols.flatMap(({text}) => text ? this.ids.get(text) ?? this.spell(text) : []);
  }
  // Returns the characters and symbols of a text, each with the places of its neighbours.
  split(part) {
    const symbols = [];
    for (let at = 0; at < part.length; at += symbols.at(-1).text.length) {
      const symbol = this.symbols.find((each) => part.startsWith(each, at));
      const text = symbol ?? String.fromCodePoint(part.codePointAt(at)), place = symbols.length;
      symbols.push({text, whole: symbol !== undefined, before: place - 1, next: place + 1});
    }
    return symbols;
  }
  // Finds the pieces whose scores have the largest sum; sums are rounded as the library does it.
  findLikeliest(part) {
    const characters = Array.from(part), size = characters.length;
    const sums = new Float32Array(size + 1), starts = new Int32Array(size + 1).fill(-1);
    const last = [];
    const offer = (start, end, score, ids) => {
      const sum = Math.fround(sums[start] + score);
      if (starts[end] >= 0 && sum <= sums[end]) return;
      sums[end] = sum;
      starts[end] = start;
      last[end] = ids;
    };
    for (let start = 0; start < size; start++) {
      const furthest = Math.min(size, start + this.longest), begun = sums[start];
      if (Math.abs(begun) > LARGEST_SUM) {
        for (let end = start; end <= furthest; end++) if (starts[end] >= 0) sums[end] -= begun;
      }
      let text = "";
      for (let end = start + 1; end <= furthest; end++) {
        text += characters[end - 1];
        const id = this.ids.get(text);
        if (id !== undefined) offer(start, end, this.scores[id], [id]);
      }
      if (!this.ids.has(characters[start])) {
        offer(start, start + 1, this.unknown, this.spell(characters[start]));
      }
    }
    const found = [];
    for (let end = size; end > 0; end = starts[end]) found.push(last[end]);
    return found.reverse().flat();
  }
}
