// The text as elements, each coloured by what the model has paid for it.

function colourOf(bits) {
  const step = Math.min(12, Math.floor(bits / 0.6));
  return step > 0 ? "h" + step : "";
}

// Returns an element for each id, as the writer read it; the ids of one character share one.
function colouredSpans(read) {
  const spans = [];
  let bits = 0;
  for (const each of read) {
    bits += each.bits;
    if (!each.text) continue;
    const span = document.createElement("span");
    span.textContent = each.text;
    span.className = colourOf(bits);
    span.title = bits.toFixed(2) + " bits";
    spans.push(span);
    bits = 0;
  }
  return spans;
}
