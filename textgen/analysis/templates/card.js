// Shows a card beside the span that the pointer is on, filled by describe(block, span).
function followPointer(card, blocks, describe) {
  let marked = null;
  function show(event) {
    const span = event.target.closest("span[data-i]");
    if (marked) marked.classList.remove("on");
    marked = span;
    card.hidden = !span;
    if (!span) return;
    span.classList.add("on");
    describe(event.currentTarget, span);
    const box = span.getBoundingClientRect(), size = card.getBoundingClientRect();
    const below = box.bottom + 6 + size.height < window.innerHeight;
    card.style.left = Math.max(8, Math.min(box.left, window.innerWidth - size.width - 8)) + "px";
    card.style.top = Math.max(8, below ? box.bottom + 6 : box.top - size.height - 6) + "px";
  }
  const hide = () => { card.hidden = true; };
  for (const block of blocks) {
    block.addEventListener("pointerover", show);
    block.addEventListener("pointerleave", hide);
  }
  document.addEventListener("scroll", hide, {passive: true, capture: true});
}
