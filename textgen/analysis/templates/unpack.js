"use strict";
// Returns what an element holds as JSON, its columns of numbers as arrays.
async function unpack(id) {
  const data = JSON.parse(document.getElementById(id).textContent);
  const packed = atob(data.packed);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  for (const [name, [start, count, size]] of Object.entries(data.columns)) {
    data[name] = size === 1
      ? new Uint8Array(buffer, start, count)
      : new Uint16Array(buffer, start, count);
  }
  return data;
}
// Calls draw with each element when it is about to be seen, once.
function whenSeen(elements, draw) {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      draw(entry.target);
    }
  }, {rootMargin: "800px"});
  for (const element of elements) watcher.observe(element);
}
