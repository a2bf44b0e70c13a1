// What a visitor sees and does. The model works in slices, so that the page stays awake.
(async () => {
  const SLICE = 12, CONTEXT = 2000, SHOWN = 10, AT_ONCE = 10;
  const element = (id) => document.getElementById(id);
  const editor = element("editor"), write = element("write"), undo = element("undo");
  const status = element("status"), coloured = element("coloured"), form = element("settings");
  const {model, tokenizer} = loadModel(await unpack("model"));
  const writer = new Writer(model, tokenizer);
  // The text that the writer stands behind; what is written now; what undo returns to.
  let read = "", working = null;
  const before = [];

  // Lets the page draw and hear; unlike a timer's, this pause is not lengthened.
  const pause = () => new Promise((resolve) => {
    const {port1, port2} = new MessageChannel();
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
  function settings() {
    const value = (name) => form.elements[name].valueAsNumber;
    const within = (name, neutral) => Number.isFinite(value(name)) ? value(name) : neutral;
    return {
      temperature: Math.max(0, within("temperature", 0.8)),
      topK: Math.max(0, Math.trunc(within("top-k", 0))),
      topP: within("top-p", 1) > 0 ? within("top-p", 1) : 1,
      minP: Math.min(1, Math.max(0, within("min-p", 0))),
      repetition: within("repetition", 1) > 0 ? within("repetition", 1) : 1,
      length: Math.max(1, Math.trunc(within("chars", 400))),
      seed: Number.isFinite(value("seed")) ? Math.max(0, Math.trunc(value("seed"))) : null,
    };
  }

  // Brings the writer behind a text; of a long one the end counts. False if it was interrupted.
  async function catchUp(text, token) {
    text = text.slice(-CONTEXT);
    if (!text.startsWith(read) || writer.ended) {
      writer.begin();
      read = "";
    }
    let until = performance.now() + SLICE;
    for (const character of text.slice(read.length)) {
      writer.read(character);
      read += character;
      if (performance.now() < until) continue;
      await pause();
      if (token !== working) return false;
      until = performance.now() + SLICE;
    }
    return true;
  }

  function colourOf(bits) {
    const step = Math.min(12, Math.floor(bits / 0.6));
    return step ? "h" + step : "";
  }
  function colouredSpan({text, bits}) {
    const span = document.createElement("span");
    span.textContent = text;
    span.className = colourOf(bits);
    span.title = bits.toFixed(2) + " bits";
    return span;
  }

  // Writes from the cursor on until there is enough, or somebody stops it.
  async function goOn() {
    const chosen = settings(), token = {}, start = editor.selectionEnd;
    working = token;
    write.textContent = "stop";
    before.push([editor.value, start]);
    undo.disabled = false;
    coloured.replaceChildren();
    const seed = chosen.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
    const draws = uniforms(seed, 0);
    let at = start, written = 0, began = performance.now();
    if (await catchUp(editor.value.slice(0, start), token)) {
      began = performance.now();
      let until = began + SLICE, fresh = [];
      const flush = () => {
        const text = fresh.map((piece) => piece.text).join("");
        editor.setRangeText(text, at, at, "end");
        at += text.length;
        coloured.append(...fresh.map(colouredSpan));
        fresh = [];
      };
      while (written < chosen.length && token === working) {
        const piece = writer.write(chosen, draws.next().value);
        if (writer.ended) break;
        read += piece.text;
        fresh.push(piece);
        written += Array.from(piece.text).length;
        if (performance.now() < until) continue;
        flush();
        const speed = written / (performance.now() - began) * 1000;
        status.value = `${written.toLocaleString()} characters, ${Math.round(speed).toLocaleString()} a second`;
        await pause();
        until = performance.now() + SLICE;
      }
      flush();
    }
    const seconds = (performance.now() - began) / 1000;
    const speed = Math.round(written / Math.max(seconds, 1e-3));
    status.value = `${written.toLocaleString()} characters, ${speed.toLocaleString()} a second, seed ${seed}`;
    if (token === working) working = null;
    write.textContent = "write";
    editor.focus();
    showNext();
  }

  async function showNext() {
    if (working) return;
    const token = working = {}, position = editor.selectionEnd;
    const done = await catchUp(editor.value.slice(0, position), token);
    if (token !== working) return;
    working = null;
    if (!done || writer.ended) return;
    const scores = logSoftmax(writer.allowed());
    element("next").replaceChildren(...byLikelihood(scores).slice(0, SHOWN).map((id) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const [name, share, meter] = ["span", "span", "span"].map((tag) => document.createElement(tag));
      name.textContent = tokenizer.name(id);
      share.textContent = (100 * Math.exp(scores[id])).toFixed(1) + " %";
      meter.className = "meter";
      meter.style.width = 100 * Math.exp(scores[id]) + "%";
      button.type = "button";
      button.append(name, share, meter);
      button.addEventListener("click", () => take(id));
      item.append(button);
      return item;
    }));
  }
  function take(id) {
    before.push([editor.value, editor.selectionEnd]);
    undo.disabled = false;
    const text = tokenizer.text(id);
    editor.setRangeText(text, editor.selectionEnd, editor.selectionEnd, "end");
    showNext();
  }

  // Writes records, each from its beginning to its end.
  async function newRecords() {
    const chosen = settings(), list = element("records");
    list.replaceChildren();
    const seed = chosen.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
    for (let row = 0; row < AT_ONCE; row++) {
      const item = document.createElement("li");
      item.textContent = sample(writer, "", {...chosen, seed, row});
      list.append(item);
      await pause();
    }
    read = "";
    writer.begin();
  }

  function stop() {
    working = null;
    write.textContent = "write";
  }
  function readLink() {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      if (name === "text") editor.value = value;
      else if (form.elements[name] && Number.isFinite(Number(value))) form.elements[name].value = value;
    }
    editor.setSelectionRange(editor.value.length, editor.value.length);
  }

  write.addEventListener("click", () => write.textContent === "stop" ? stop() : goOn());
  undo.addEventListener("click", () => {
    stop();
    const [text, cursor] = before.pop();
    editor.value = text;
    editor.setSelectionRange(cursor, cursor);
    undo.disabled = !before.length;
    showNext();
  });
  element("copy").addEventListener("click", async () => {
    editor.select();
    try {
      await navigator.clipboard.writeText(editor.value);
    } catch {
      document.execCommand("copy");
    }
    status.value = "copied";
  });
  element("download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([editor.value], {type: "text/plain"}));
    link.download = "text.txt";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  element("link").addEventListener("click", () => {
    const values = new URLSearchParams(new FormData(form));
    values.set("text", editor.value.slice(-500));
    location.hash = values.toString();
    status.value = "the address of this page now holds the settings and the end of the text";
  });
  element("record")?.addEventListener("click", newRecords);
  element("colour").addEventListener("change", (event) => { coloured.hidden = !event.target.checked; });
  editor.addEventListener("input", () => { stop(); showNext(); });
  for (const kind of ["click", "keyup"]) editor.addEventListener(kind, showNext);
  readLink();
  showNext();
  // For whoever wants to write from the console, and for tests.
  globalThis.textgen = {
    model, tokenizer, writer,
    sample: (prime, chosen) => sample(writer, prime, chosen),
    logProbabilities: (text) => {
      writer.begin();
      return tokenizer.encode(text).map((id) => {
        const logs = logSoftmax(writer.scores);
        writer.feed(id);
        return Array.from(logs);
      });
    },
  };
  document.documentElement.dataset.ready = "yes";
})();
