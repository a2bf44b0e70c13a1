// What predicts the next id: a recurrent network, n-grams, and the mixture of both. It does what
// textgen's engine does, in the same order; the formulas stand there.

// Returns the natural logarithms of probabilities, from scores up to a constant.
function logSoftmax(scores) {
  let largest = -Infinity, sum = 0;
  for (const score of scores) if (score > largest) largest = score;
  for (const score of scores) sum += Math.exp(score - largest);
  const shift = largest + Math.log(sum);
  return Float64Array.from(scores, (score) => score - shift);
}

// The place of the largest number, the first among equals.
function argmax(numbers) {
  let best = 0;
  for (let i = 1; i < numbers.length; i++) if (numbers[i] > numbers[best]) best = i;
  return best;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// One recurrent layer; its gates stand in the order of torch's rows.
class Layer {
  // get: returns a matrix or, of one row, an array by its name.
  constructor(sizes, number, get) {
    Object.assign(this, sizes);
    const of = (part) => get(`layers.${number}.${part}_l0`);
    this.inputWeights = of("weight_ih");
    this.stateWeights = of("weight_hh");
    this.inputBias = of("bias_ih");
    this.stateBias = of("bias_hh");
  }
  zeros() {
    return Array.from({length: this.cell === "lstm" ? 2 : 1}, () => new Float32Array(this.hidden));
  }
  // Returns the state after an input that the weights were multiplied with.
  step(x, state) {
    const H = this.hidden, h = state[0], after = new Float32Array(H);
    const u = this.stateWeights.times(h), bi = this.inputBias, bh = this.stateBias;
    const gate = (k) => x[k] + bi[k] + u[k] + bh[k];
    if (this.cell === "rnn") {
      for (let k = 0; k < H; k++) after[k] = Math.tanh(gate(k));
      return [after];
    }
    if (this.cell === "gru") {
      for (let k = 0; k < H; k++) {
        const r = sigmoid(gate(k)), z = sigmoid(gate(H + k)), m = 2 * H + k;
        const n = Math.tanh(x[m] + bi[m] + r * (u[m] + bh[m]));
        after[k] = n + z * (h[k] - n);
      }
      return [after];
    }
    const c = new Float32Array(H);
    for (let k = 0; k < H; k++) {
      const i = sigmoid(gate(k)), f = sigmoid(gate(H + k)), g = Math.tanh(gate(2 * H + k));
      c[k] = f * state[1][k] + i * g;
      after[k] = sigmoid(gate(3 * H + k)) * Math.tanh(c[k]);
    }
    return [after, c];
  }
}

class Network {
  constructor(sizes, get) {
    this.embedding = get("embedding.weight");
    this.head = get("head.weight");
    this.headBias = get("head.bias");
    this.layers = Array.from({length: sizes.layers}, (_, number) => new Layer(sizes, number, get));
    // What the first layer makes of an id, kept when the id is first met.
    this.projected = new Map();
  }
  start() {
    return this.layers.map((layer) => layer.zeros());
  }
  input(id) {
    if (!this.projected.has(id)) {
      const product = this.layers[0].inputWeights.times(this.embedding.row(id));
      this.projected.set(id, product.slice());
    }
    return this.projected.get(id);
  }
  // Returns the scores of the next id and the state after one more id.
  step(id, state) {
    const after = [];
    let features = null;
    this.layers.forEach((layer, number) => {
      const x = number ? layer.inputWeights.times(after[number - 1][0]) : this.input(id);
      after.push(layer.step(x, state[number]));
      // The head reads the sum of the layers' outputs.
      const h = after[number][0];
      features = features ? features.map((sum, k) => sum + h[k]) : h;
    });
    const scores = this.head.times(features);
    return [this.headBias.map((bias, i) => bias + scores[i]), after];
  }
}

// Returns the first place in rising numbers that is not below a value.
function lowerBound(numbers, first, last, value) {
  while (first < last) {
    const middle = (first + last) >> 1;
    if (numbers[middle] < value) first = middle + 1;
    else last = middle;
  }
  return first;
}

// All contexts of the training text, sorted, by the ids that follow them; see engine/contexts.py.
class NGrams {
  constructor(settings, next, shared, odds) {
    Object.assign(this, settings);
    this.next = next;
    this.shared = shared;
    this.odds = odds;
    this.starts = new Int32Array(this.vocab + 1);
    for (const id of next) this.starts[id + 1]++;
    for (let id = 0; id < this.vocab; id++) this.starts[id + 1] += this.starts[id];
    const filled = this.starts.slice();
    this.followed = new Int32Array(next.length);
    for (let row = 0; row < next.length; row++) this.followed[filled[next[row]]++] = row;
    this.kept = new Map();
    this.keptIds = 0;
  }
  // The spans of rows of the known contexts of length 1, 2, ...: [first, last] each.
  start() {
    return [];
  }
  extend(id, spans) {
    const after = [], begin = this.starts[id], end = this.starts[id + 1];
    const shorter = [[0, this.next.length], ...spans];
    for (let k = 0; k < Math.min(shorter.length, this.longest); k++) {
      const first = lowerBound(this.followed, begin, end, shorter[k][0]);
      const last = lowerBound(this.followed, begin, end, shorter[k][1]);
      if (first === last) break;
      after.push([first, last]);
    }
    return after;
  }
  // What the ids that follow a context say: the share left to shorter ones, and those of the ids.
  said(kind, length, first, last) {
    const counts = new Map();
    let total = 0;
    for (let row = first; row < last; row++) {
      if (kind === 0 && this.shared[row] > length) continue;
      counts.set(this.next[row], (counts.get(this.next[row]) ?? 0) + 1);
      total++;
    }
    if (!total) return null;
    const off = this.discounts[kind];
    let left = 0;
    for (const count of counts.values()) left += off[Math.min(count, 3)];
    left /= total;
    const place = this.distinct_classes[Math.min(counts.size, 63)] * this.classes
      + this.total_classes[Math.min(total, 127)];
    const factor = this.odds[(kind * (this.longest + 1) + length) * this.classes ** 2 + place];
    const odds = factor * left, scale = odds + 1 - left;
    const ids = Array.from(counts.keys());
    const shares = Float64Array.from(ids, (id) => {
      const count = counts.get(id);
      return (count - off[Math.min(count, 3)]) / (total * scale);
    });
    return {left: odds / scale, ids, shares};
  }
  // The same, kept for contexts of many rows.
  saidOnce(kind, length, first, last) {
    if (last - first <= 32) return this.said(kind, length, first, last);
    const key = (length * 2 + kind) * 2 ** 40 + first;
    if (!this.kept.has(key)) {
      const said = this.said(kind, length, first, last);
      this.keptIds += said ? said.ids.length : 1;
      if (this.keptIds > 4e6) {
        this.kept.clear();
        this.keptIds = 0;
      }
      this.kept.set(key, said);
    }
    return this.kept.get(key);
  }
  // Returns the experts' log-probabilities of the next id.
  logProbabilities(spans) {
    const experts = this.experts.map(() => new Float64Array(this.vocab).fill(1 / this.vocab));
    const deepest = Math.min(spans.length, this.heeded);
    for (let length = 0; length <= deepest; length++) {
      const [first, last] = length ? spans[length - 1] : [0, this.next.length];
      const said = [0, 1].map((kind) => this.saidOnce(kind, length, first, last));
      this.experts.forEach(([kind, cut], number) => {
        if (said[kind] === null || (cut !== null && length > cut)) return;
        const {left, ids, shares} = said[kind], p = experts[number];
        for (let i = 0; i < p.length; i++) p[i] *= left;
        for (let i = 0; i < ids.length; i++) p[ids[i]] += shares[i];
      });
    }
    return experts.map((p) => p.map(Math.log));
  }
}

// The weighted mean of the logarithms of what the network and the n-grams say.
class Mixture {
  constructor(network, ngrams, settings) {
    this.network = network;
    this.ngrams = ngrams;
    this.weights = settings;
  }
  start() {
    return {network: this.network.start(), spans: this.ngrams?.start()};
  }
  // Returns the log-probabilities of the next id and the state after one more id.
  step(id, state) {
    const [scores, network] = this.network.step(id, state.network);
    const alone = logSoftmax(scores);
    if (!this.ngrams) return [alone, {network}];
    const spans = this.ngrams.extend(id, state.spans);
    const experts = this.ngrams.logProbabilities(spans);
    const weights = this.weightsFor(alone, experts[0], spans.length);
    const mixed = alone.map((p, i) => experts.reduce(
      (sum, expert, number) => sum + weights[number + 1] * expert[i], weights[0] * p));
    return [logSoftmax(mixed), {network, spans}];
  }
  // The sum of the row for all, that for how the parts agree, and that for the known context.
  weightsFor(network, longest, matched) {
    const {sure, lengths, agreement, match, rows} = this.weights;
    const tops = [argmax(network), argmax(longest)];
    const classes = [network[tops[0]], longest[tops[1]]].map(
      (logarithm) => Math.max(0, Math.min(sure - 1, Math.trunc(Math.exp(logarithm) * sure))));
    const agreed = agreement + classes[0] * sure + classes[1] + (tops[0] === tops[1] ? sure ** 2 : 0);
    const known = match + Math.min(matched, lengths - 1);
    return rows[0].map((weight, number) => weight + rows[agreed][number] + rows[known][number]);
  }
}
