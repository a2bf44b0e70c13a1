(async () => {
  const data = await unpack("units-data");
  const card = document.getElementById("card");
  const unit = document.getElementById("unit");
  const part = document.getElementById("part");
  const any = document.querySelector("#any [data-part]");
  const shown = [...document.querySelectorAll("[data-part]")];
  // Steps of colour for a standard deviation: the last of twelve stands at two.
  const STEPS = 6;
  const texts = new Map();
  for (const block of shown) texts.set(Number(block.dataset.part), block.textContent);

  // What a block shows: activations of a unit, or the values of a property.
  function activation(block, i) {
    const of = block.dataset.part, low = data.lowest[block.index], high = data.highest[block.index];
    return low + (high - low) * data["states" + of][block.index * data["chars" + of].length + i] / 255;
  }
  function value(block, i) {
    const of = block.dataset.part, index = block.view === "property" ? block.index : Number(block.dataset.property);
    return data.property_highest[index] * data["properties" + of][index * data["chars" + of].length + i] / 255;
  }
  function deviations(block, i) {
    const spread = data.deviations[block.index];
    return spread ? (activation(block, i) - data.means[block.index]) / spread : 0;
  }
  function colour(block, i) {
    if (block.view === "property") return "h" + Math.round(12 * value(block, i) / data.property_highest[block.index]);
    const from = deviations(block, i);
    return (from < 0 ? "c" : "h") + Math.min(12, Math.round(STEPS * Math.abs(from)));
  }

  function draw(block) {
    const characters = Array.from(block.textContent);
    const counts = data["chars" + block.dataset.part];
    const fragment = document.createDocumentFragment();
    let at = 0;
    for (let i = 0; i < counts.length; i++) {
      const span = document.createElement("span");
      span.textContent = characters.slice(at, at + counts[i]).join("");
      span.className = colour(block, i);
      span.dataset.i = i;
      fragment.append(span);
      at += counts[i];
    }
    block.replaceChildren(fragment);
    block.drawn = true;
    if (block.dataset.property) seek(block);
  }
  // Scrolls to the first place where the property holds, if that is further down.
  function seek(block) {
    const box = block.parentElement, highest = data.property_highest[Number(block.dataset.property)];
    const first = [...block.children].find((_, i) => value(block, i) > highest / 2);
    if (first && first.offsetTop > box.clientHeight / 2) box.scrollTop = first.offsetTop - box.clientHeight / 4;
  }
  function recolour(block) {
    if (!block.drawn) return;
    for (const span of block.children) span.className = colour(block, Number(span.dataset.i));
  }
  function choose(block, view, index) {
    block.view = view;
    block.index = index;
    recolour(block);
  }

  const signed = (number) => (number < 0 ? "−" : "+") + Math.abs(number).toFixed(2);
  function describe(block, span) {
    const i = Number(span.dataset.i), lines = [];
    if (block.view === "unit") {
      const from = deviations(block, i);
      lines.push(`activation ${signed(activation(block, i))}`);
      lines.push(`${Math.abs(from).toFixed(1)} standard deviations ${from < 0 ? "below" : "above"} its average`);
    }
    if (block.dataset.property) {
      const index = Number(block.dataset.property);
      lines.push(`${data.properties[index]}: ${Number(value(block, i).toFixed(1))}`);
    }
    card.replaceChildren();
    for (const line of lines) {
      const element = document.createElement("div");
      element.textContent = line;
      card.append(element);
    }
  }
  followPointer(card, shown, describe);
  for (const button of document.querySelectorAll(".choices button")) {
    const block = button.closest("section").querySelector("[data-part]");
    const pick = () => choose(block, button.dataset.view, Number(button.dataset.index));
    if (button.getAttribute("aria-pressed") === "true") pick();
    button.addEventListener("click", () => {
      for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
      pick();
    });
  }

  function chooseAny() {
    const index = Number(unit.value);
    any.view = "unit";
    any.index = index;
    if (any.dataset.part !== part.value) {
      any.dataset.part = part.value;
      any.textContent = texts.get(Number(part.value));
      if (any.drawn) draw(any);
    }
    recolour(any);
    document.getElementById("range").textContent =
      `between ${signed(data.lowest[index])} and ${signed(data.highest[index])}, on average ${signed(data.means[index])}`;
  }
  data.names.forEach((name, index) => unit.add(new Option(name, index)));
  for (const control of [unit, part]) control.addEventListener("change", chooseAny);
  chooseAny();
  whenSeen(shown, draw);
  document.documentElement.dataset.ready = "yes";
})();
