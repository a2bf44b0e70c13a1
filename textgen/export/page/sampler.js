// From scores to an id: the draws, and the filters in their order.

// Yields u(seed, row, position), ...: Philox4x64-10, counted from 1, its upper 53 bits.
function* uniforms(seed, row, position = 0) {
  const MASK = (1n << 64n) - 1n;
  for (let block = BigInt(position >> 2) + 1n, skip = position & 3; ; block++, skip = 0) {
    let [x0, x1, x2, x3] = [block, 0n, 0n, 0n], k0 = BigInt(seed), k1 = BigInt(row);
    for (let round = 0; round < 10; round++) {
      const a = 0xd2e7470ee14c6c93n * x0, b = 0xca5a826395121157n * x2;
      [x0, x1, x2, x3] = [(b >> 64n) ^ x1 ^ k0, b & MASK, (a >> 64n) ^ x3 ^ k1, a & MASK];
      k0 = (k0 + 0x9e3779b97f4a7c15n) & MASK;
      k1 = (k1 + 0xbb67ae8584caa73bn) & MASK;
    }
    for (const x of [x0, x1, x2, x3].slice(skip)) yield Number(x >> 11n) * 2 ** -53;
  }
}

// The places of scores from the largest to the smallest; among equals the lower first.
const byLikelihood = (scores) =>
  Array.from(scores, (_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);

// Keeps the first so many of the likeliest.
function keepFirst(scores, order, count) {
  const kept = new Float64Array(scores.length).fill(-Infinity);
  for (const i of order.slice(0, count)) kept[i] = scores[i];
  return kept;
}

const FILTERS = {
  repetition(scores, penalty, recent) {
    const choose = penalty >= 1 ? Math.min : Math.max;
    const seen = new Set(recent);
    return scores.map((s, i) => seen.has(i) ? choose(s * penalty, s / penalty) : s);
  },
  temperature(scores, value) {
    const largest = scores.reduce((a, b) => Math.max(a, b));
    if (value === 0) return keepFirst(scores.map((s) => s - largest), [argmax(scores)], 1);
    return scores.map((s) => (s - largest) / value);
  },
  topK: (scores, k) => keepFirst(scores, byLikelihood(scores), k),
  topP(scores, p) {
    const order = byLikelihood(scores);
    const weights = order.map((i) => Math.exp(scores[i] - scores[order[0]]));
    const limit = p / (1 + 1e-12) * weights.reduce((a, b) => a + b);
    let count = 0, sum = 0;
    // The fewest that sum to it: one counts while those before it do not.
    while (count < order.length && sum < limit) sum += weights[count++];
    return keepFirst(scores, order, count);
  },
  minP(scores, p) {
    const limit = scores.reduce((a, b) => Math.max(a, b)) + Math.log(p) - 1e-12;
    return scores.map((s) => s < limit ? -Infinity : s);
  },
};

// Returns scores after the filters that settings switch on; recent returns the latest ids.
function filtered(scores, settings, recent) {
  const {repetition = 1, temperature = 0.8, topK = null, topP = 1, minP = 0} = settings;
  if (repetition !== 1) scores = FILTERS.repetition(scores, repetition, recent());
  if (temperature !== 1) scores = FILTERS.temperature(scores, temperature);
  if (topK) scores = FILTERS.topK(scores, topK);
  if (topP < 1) scores = FILTERS.topP(scores, topP);
  if (minP > 0) scores = FILTERS.minP(scores, minP);
  return scores;
}

// Returns the id at which the cumulative distribution first exceeds u.
function draw(scores, u) {
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const sums = new Float64Array(scores.length);
  let sum = 0, last = 0;
  scores.forEach((score, i) => {
    const weight = Math.exp(score - largest);
    if (weight > 0) last = i;
    sums[i] = sum += weight;
  });
  // u times the sum may round up to the sum, which only ids without any probability exceed.
  for (let i = 0; i < last; i++) if (sums[i] > u * sum) return i;
  return last;
}
