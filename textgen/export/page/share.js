// What a visitor sees and does. The model works in slices, so that the page stays awake.
(async () => {
  const SLICE = 12, SHOWN = 10, AT_ONCE = 10, COLOUR_AFTER = 300;
  // So many characters before the cursor count; a longer text drops so many at a time.
  const CONTEXT = 2000, DROPPED = 500;
  const element = (id) => document.getElementById(id);
  const editor = element("editor"), write = element("write"), undo = element("undo");
  const status = element("status"), coloured = element("coloured"), form = element("settings");
  const {model, tokenizer} = loadModel(await unpack("model"));
  // One stands behind the text before the cursor, the other behind the whole text.
  const writer = new Writer(model, tokenizer), reader = new Writer(model, tokenizer);
  // What is written now and what is looked at, as objects that only mean themselves.
  let writing = null, looking = null, colouring = null, timer = null;
  // What undo returns to.
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
  const textToCursor = () => editor.value.slice(0, editor.selectionEnd);

  // Whether somebody has read all of a text, or enough of its end.
  const isBehind = ({text: read}, text) => read !== null && text.endsWith(read)
    && (read.length === text.length || read.length > CONTEXT - DROPPED);
  // Returns the end of a text that counts. It begins at one place for a while, so that little has to
  // be read again.
  function ending(text) {
    let start = Math.ceil(Math.max(0, text.length - CONTEXT) / DROPPED) * DROPPED;
    if (/[\udc00-\udfff]/.test(text.charAt(start))) start++;
    return text.slice(start);
  }
  // Brings somebody behind a text. False if it was not wanted any more.
  async function catchUp(who, text, isWanted) {
    if (isBehind(who, text)) return true;
    let until = performance.now() + SLICE;
    for (const _ of who.reading(ending(text))) {
      if (performance.now() < until) continue;
      await pause();
      if (!isWanted()) return false;
      until = performance.now() + SLICE;
    }
    return true;
  }

  // Writes from the cursor on until there is enough, or somebody stops it.
  async function goOn() {
    const chosen = settings(), token = {}, start = editor.selectionEnd;
    stop();
    writing = token;
    looking = colouring = null;
    write.textContent = "stop";
    remember();
    const seed = chosen.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
    const draws = uniforms(seed, 0), isWanted = () => writing === token;
    let at = start, written = 0, began = performance.now();
    const report = (more) => {
      const seconds = Math.max((performance.now() - began) / 1000, 1e-3);
      const speed = Math.round(written / seconds).toLocaleString();
      status.value = `${written.toLocaleString()} characters, ${speed} a second${more}`;
    };
    if (await catchUp(writer, textToCursor(), isWanted)) {
      began = performance.now();
      showColours(writer.read);
      let until = began + SLICE, fresh = [], text = "";
      const flush = () => {
        editor.setRangeText(text, at, at, "end");
        at += text.length;
        addColours(fresh);
        fresh = [];
        text = "";
      };
      while (written < chosen.length) {
        const one = writer.write(chosen, draws.next().value);
        if (!one) break;
        // A piece may be longer than what is wanted.
        const characters = Array.from(one.text).slice(0, chosen.length - written);
        fresh.push(one);
        text += characters.join("");
        written += characters.length;
        if (performance.now() < until) continue;
        flush();
        report("");
        await pause();
        if (!isWanted()) break;
        until = performance.now() + SLICE;
      }
      if (text) flush();
    }
    report(`, seed ${seed}`);
    if (!isWanted()) return;
    stop();
    editor.focus();
    showNext();
  }

  // Shows what is likely at the cursor.
  async function showNext() {
    if (writing) return;
    const token = looking = {};
    if (!await catchUp(writer, textToCursor(), () => looking === token)) return;
    const scores = logSoftmax(writer.allowed());
    const likely = byLikelihood(scores).slice(0, SHOWN).filter((id) => scores[id] > -Infinity);
    element("next").replaceChildren(...likely.map((id) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const [name, share, meter] = ["span", "span", "span"].map((tag) => document.createElement(tag));
      name.textContent = tokenizer.name(id);
      share.textContent = (100 * Math.exp(scores[id])).toFixed(1) + " %";
      meter.className = "meter";
      meter.style.width = 100 * Math.exp(scores[id]) + "%";
      button.type = "button";
      // What ends a record adds nothing to it.
      button.disabled = id === tokenizer.boundary;
      button.append(name, share, meter);
      button.addEventListener("click", () => take(id));
      item.append(button);
      return item;
    }));
    colourSoon();
  }
  // Adds what was pressed, unless the cursor has moved since; half a character does not show yet.
  function take(id) {
    if (writing || !isBehind(writer, textToCursor())) return;
    remember();
    const {text} = writer.take(id);
    editor.setRangeText(text, editor.selectionEnd, editor.selectionEnd, "end");
    showNext();
  }

  function showColours(read) {
    coloured.replaceChildren();
    if (!coloured.hidden) addColours(read.slice(-4 * CONTEXT));
  }
  function addColours(read) {
    if (coloured.hidden) return;
    coloured.append(...colouredSpans(read));
    while (coloured.childElementCount > CONTEXT) coloured.firstChild.remove();
  }
  function colourSoon() {
    clearTimeout(timer);
    if (!coloured.hidden) timer = setTimeout(colourAll, COLOUR_AFTER);
  }
  async function colourAll() {
    if (writing) return;
    const token = colouring = {}, text = editor.value;
    if (isBehind(writer, text) || !isBehind(reader, text)) reader.follow(writer);
    if (await catchUp(reader, text, () => colouring === token)) showColours(reader.read);
  }

  // Writes records, each from its beginning to its end.
  async function newRecords() {
    const chosen = settings(), list = element("records"), author = new Writer(model, tokenizer);
    list.replaceChildren();
    list.hidden = false;
    const seed = chosen.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
    for (let row = 0; row < AT_ONCE; row++) {
      const item = document.createElement("li");
      item.textContent = sample(author, "", {...chosen, seed, row});
      list.append(item);
      await pause();
    }
  }

  function stop() {
    writing = null;
    write.textContent = "write";
  }
  function remember() {
    before.push([editor.value, editor.selectionEnd]);
    undo.disabled = false;
  }
  function readLink() {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      if (name === "text") editor.value = value;
      else if (form.elements[name] && Number.isFinite(Number(value))) form.elements[name].value = value;
    }
    editor.setSelectionRange(editor.value.length, editor.value.length);
  }

  write.addEventListener("click", () => {
    if (!writing) return goOn();
    stop();
    showNext();
  });
  undo.addEventListener("click", () => {
    stop();
    const [text, cursor] = before.pop();
    editor.value = text;
    editor.setSelectionRange(cursor, cursor);
    undo.disabled = !before.length;
    // A half character that was taken goes as well, of which the text says nothing.
    writer.text = null;
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
  element("record").hidden = tokenizer.boundary === null;
  element("record").addEventListener("click", newRecords);
  element("colour").addEventListener("change", (event) => {
    coloured.hidden = !event.target.checked;
    colourSoon();
  });
  editor.addEventListener("input", () => { stop(); showNext(); });
  for (const kind of ["click", "keyup"]) editor.addEventListener(kind, showNext);
  readLink();
  showNext();
  // For whoever wants to write from the console, and for tests.
  globalThis.textgen = {
    model, tokenizer,
    sample: (prime, chosen) => sample(new Writer(model, tokenizer), prime, chosen),
    logProbabilities: (text) => {
      const each = new Writer(model, tokenizer);
      return tokenizer.encode(text).map((id) => {
        const logs = Array.from(each.logs);
        each.feed(id);
        return logs;
      });
    },
  };
  document.documentElement.dataset.ready = "yes";
})();
