"use strict";

// Everything that comes from the server is put on the page as text, never as HTML.
const find = (id) => document.getElementById(id);
// Controls and direction marks would steer the page.
const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
let stopping = null;

const displayed = (text) => text.replace(STEERING, "\ufffd");

function headers() {
  const key = find("key").value;
  const given = { "Content-Type": "application/json" };
  return key ? { ...given, Authorization: `Bearer ${key}` } : given;
}

async function ask(path, options) {
  const response = await fetch(path, { headers: headers(), ...options });
  if (response.status === 401) find("locked").hidden = false;
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response;
}

async function listModels() {
  const { data } = await (await ask("/v1/models")).json();
  find("model").replaceChildren(...data.map(({ id }) => new Option(id, id)));
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (held + value).split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function write() {
  const prompt = find("prompt").value;
  const beginning = document.createElement("span");
  beginning.className = "prompt";
  beginning.textContent = displayed(prompt);
  const written = document.createTextNode("");
  find("text").replaceChildren(beginning, written);
  const asked = {
    prompt,
    model: find("model").value,
    max_tokens: find("length").valueAsNumber,
    temperature: find("temperature").valueAsNumber,
    stream: true,
  };
  const body = JSON.stringify(asked);
  const response = await ask("/v1/completions", { method: "POST", body, signal: stopping.signal });
  for await (const event of eventsOf(response)) {
    if (event.error) throw new Error(event.error.message);
    for (const choice of event.choices) written.data += displayed(choice.text);
  }
}

async function run(work) {
  find("status").textContent = "";
  find("write").disabled = true;
  find("stop").disabled = false;
  stopping = new AbortController();
  try {
    if (!find("model").options.length) await listModels();
    await work();
  } catch (error) {
    if (error.name !== "AbortError") find("status").textContent = error.message;
  } finally {
    find("write").disabled = false;
    find("stop").disabled = true;
  }
}

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run(write);
});
find("stop").addEventListener("click", () => stopping.abort());
find("key").addEventListener("change", () => run(async () => {}));
run(async () => {});
