(async () => {
  const data = await unpack("surprise-data");
  const main = document.getElementById("text");
  const card = document.getElementById("card");
  const view = document.getElementById("view");
  const legend = document.getElementById("legend");
  // Thousandths of a bit for each of the twelve colours; NONE stands for what was not asked.
  const STEP = 600, NONE = 65535, K = data.likeliest_count;
  const symbols = data.symbols;

  const heat = (cost) => cost === NONE ? "" : "h" + Math.min(12, Math.floor(cost / STEP));
  function right(i) {
    const network = data.network[i], ngrams = data.ngrams[i];
    if (network === NONE || ngrams === NONE) return "";
    const step = Math.min(12, Math.floor(Math.abs(network - ngrams) / 250));
    return (network < ngrams ? "c" : "h") + step;
  }
  const colour = (i) => view.value === "right" ? right(i)
    : heat((view.value === "network" ? data.network
      : view.value === "ngrams" ? data.ngrams : data.cost)[i]);

  function scale(kind) {
    const bar = document.createElement("span");
    bar.className = "scale";
    for (let step = 0; step <= 12; step += 2) {
      const cell = document.createElement("span");
      cell.className = kind + step;
      bar.append(cell);
    }
    return bar;
  }
  function explain() {
    legend.replaceChildren();
    if (view.value === "right") {
      legend.append(scale("c"), " the network was nearer, by up to 3 bits; ",
        scale("h"), " the n-grams were");
    } else {
      legend.append("0 bits ", scale("h"), " 7 bits or more");
    }
  }

  // A block is plain text until it is near; then each character gets an element.
  function draw(block) {
    const start = Number(block.dataset.start);
    const characters = Array.from(block.textContent);
    const fragment = document.createDocumentFragment();
    let at = 0;
    for (let i = start; at < characters.length; i++) {
      const span = document.createElement("span");
      const count = data.chars ? data.chars[i] : 1;
      span.textContent = characters.slice(at, at + count).join("");
      span.className = colour(i);
      span.dataset.i = i;
      fragment.append(span);
      at += count;
    }
    block.replaceChildren(fragment);
    block.drawn = true;
  }
  function recolour() {
    explain();
    for (const block of main.children) {
      if (!block.drawn) continue;
      for (const span of block.children) span.className = colour(Number(span.dataset.i));
    }
  }

  const bits = (cost) => cost === NONE ? "not asked" : (cost / 1000).toFixed(2) + " bits";
  const percent = (probability) => probability >= 0.001
    ? (100 * probability).toFixed(1) + " %" : "< 0.1 %";
  function line(parent, text, kind) {
    const element = document.createElement("div");
    element.textContent = text;
    if (kind) element.className = kind;
    parent.append(element);
  }
  function describe(i) {
    card.replaceChildren();
    line(card, `${symbols[data.came[i]]}   ${bits(data.cost[i])}, ` +
      `${percent(2 ** (-data.cost[i] / 1000))}, rank ${data.rank[i]}`, "came");
    const table = document.createElement("table");
    for (let k = 0; k < K; k++) {
      const row = table.insertRow();
      const id = data.likeliest[i * K + k], probability = data.probability[i * K + k] / 1000;
      row.insertCell().textContent = symbols[id];
      row.insertCell().textContent = percent(probability);
      const meter = document.createElement("span");
      meter.className = "meter";
      meter.style.width = 8 * probability + "rem";
      row.insertCell().append(meter);
      if (id === data.came[i]) row.className = "came";
    }
    card.append(table);
    if (data.ngrams && data.network[i] !== NONE) {
      line(card, `network alone ${bits(data.network[i])}, weight ${(data.network_weight[i] / 100 - 1).toFixed(2)}`);
      line(card, `n-grams alone ${bits(data.ngrams[i])}, weight ${(data.ngrams_weight[i] / 100 - 1).toFixed(2)}, ` +
        `context ${data.matched[i]}`);
    }
  }
  followPointer(card, [main], (_, span) => describe(Number(span.dataset.i)));
  view.addEventListener("change", recolour);
  explain();
  whenSeen(main.children, draw);
  document.documentElement.dataset.ready = "yes";
})();
