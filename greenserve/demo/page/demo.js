// The page's behaviour: a feed of figures, a burst, a stream, an upload. No library, no asset from elsewhere.

import { Chart } from "./chart.js";
import { startChat } from "./chat.js";

const SAMPLE_BYTES = 16_000_000;
const PACE = 6_000_000;            // bytes per second, when the server is asked to read slowly
const HASH_LIMIT = 64_000_000;     // larger files are not hashed in the browser: that takes the whole file in memory

const at = (id) => document.getElementById(id);
const count = (value) => value.toLocaleString("en");
const megabytes = (bytes) => (bytes / 1e6).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 }) + " MB";

// Say something in an element with class `result`; parts in an array of [text, "strong"] are emphasised.
function say(id, parts, wrong = false) {
  const nodes = [parts].flat(1).map((part) => {
    if (typeof part !== "object") return document.createTextNode(part);
    return Object.assign(document.createElement("strong"), { textContent: part.strong });
  });
  at(id).replaceChildren(...nodes);
  at(id).classList.toggle("wrong", wrong);
}

// The lines of a streamed response, each as soon as it is here. Raises with the server's words when it refuses.
async function* lines(path, options) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Error((await response.text()).trim());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

// -- The feed -----------------------------------------------------------------------------------------------------

function connect(chart) {
  const source = new EventSource("live");
  // A server that restarts ends the feed, and the browser takes it up again at once: only a longer silence counts.
  let silence;
  source.onopen = () => {
    clearTimeout(silence);
    silence = undefined;
    state("live", "Live");
  };
  source.onerror = () => {
    silence ??= setTimeout(() => {
      source.close();
      state("lost", "Reconnecting");
      at("in-flight").textContent = "–";
      // A new one: by itself an EventSource waits longer from failure to failure, and after a refusal for ever.
      setTimeout(connect, 1000, chart);
    }, 1500);
  };
  // After a loss it may be another process that answers.
  source.addEventListener("open", facts, { once: true });
  source.onmessage = (event) => {
    const figures = JSON.parse(event.data);
    chart.add(figures.in_flight);
    at("in-flight").textContent = count(figures.in_flight);
    at("peak").textContent = count(figures.peak);
    at("served").textContent = count(figures.served);
    at("late").textContent = `${figures.late_ms.toFixed(1)} ms`;
    at("memory").textContent = figures.memory === null ? "–" : megabytes(figures.memory);
    const uptime = at("uptime");
    if (uptime) uptime.textContent = duration(figures.uptime);
  };
}

function state(kind, text) {
  at("state").dataset.state = kind;
  if (at("state-text").textContent !== text) at("state-text").textContent = text;
}

function duration(seconds) {
  const parts = [[Math.floor(seconds / 3600), "h"], [Math.floor(seconds / 60) % 60, "min"], [Math.floor(seconds) % 60, "s"]];
  while (parts.length > 1 && parts[0][0] === 0) parts.shift();
  return parts.map(([value, unit]) => `${value} ${unit}`).join(" ");
}

// -- The burst ----------------------------------------------------------------------------------------------------

async function burst(event) {
  event.preventDefault();
  const n = Number(new FormData(at("burst-form")).get("n"));
  at("burst").disabled = true;
  try {
    for await (const report of lines(`burst?n=${n}&seconds=2`, { method: "POST" })) tell(report);
  } catch (error) {
    say("burst-result", error.message, true);
  } finally {
    at("burst").disabled = false;
  }
}

function tell({ n, seconds, done, failed, elapsed, errors, finished }) {
  const took = `${elapsed.toFixed(1)} s`;
  if (!finished) return say("burst-result", `${count(done)} of ${count(n)} answered after ${took} …`);
  if (failed) {
    const reasons = Object.entries(errors).map(([text, times]) => `${text} (${count(times)})`).join("; ");
    return say("burst-result", `${count(done)} of ${count(n)} answered in ${took}, ${count(failed)} failed: ${reasons}`, true);
  }
  say("burst-result", [
    { strong: `${count(n)} requests answered in ${elapsed.toFixed(2)} s.` },
    ` One after the other they would have slept for ${duration(n * seconds)}.`,
  ]);
}

async function single() {
  const begin = performance.now();
  try {
    const response = await fetch("slow?seconds=2", { cache: "no-store" });
    const answer = (await response.text()).trim();
    if (!response.ok) throw new Error(answer);
    const seconds = (performance.now() - begin) / 1000;
    say("burst-result", [{ strong: `One request answered in ${seconds.toFixed(2)} s.` }, ` The application “${answer}”.`]);
  } catch (error) {
    say("burst-result", error.message, true);
  }
}

// -- The stream ---------------------------------------------------------------------------------------------------

async function stream() {
  at("stream").disabled = true;
  at("pieces").replaceChildren();
  say("stream-result", "");
  let begin;
  try {
    for await (const piece of lines("stream?pieces=10&interval=0.3")) {
      // Both clocks start with the first piece: what is compared is the rhythm, not two machines' idea of the time.
      begin ??= performance.now() - piece.sent * 1000;
      show(piece, (performance.now() - begin) / 1000);
      say("stream-result", `${piece.number} of ${piece.of}`);
    }
    say("stream-result", [{ strong: "Complete." }]);
  } catch (error) {
    say("stream-result", error.message, true);
  } finally {
    at("stream").disabled = false;
  }
}

function show(piece, arrived) {
  const words = Object.assign(document.createElement("span"), { className: "words", textContent: piece.text });
  const time = document.createElement("time");
  const came = Object.assign(document.createElement("b"), { textContent: `${arrived.toFixed(2)} s` });
  time.append(`${piece.sent.toFixed(2)} → `, came);
  time.title = "left the server → arrived here";
  const row = document.createElement("li");
  row.append(words, time);
  at("pieces").append(row);
}

// -- The upload ---------------------------------------------------------------------------------------------------

async function upload(blob, name) {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const pace = at("pace").checked ? `&pace=${PACE}` : "";
  const watcher = new AbortController();
  at("upload").disabled = at("file").disabled = true;
  bar("sent", 0, blob.size);
  bar("received", 0, blob.size);
  say("upload-result", `Sending ${name} …`);
  try {
    const watched = watch(id, blob.size, watcher.signal);
    await watched.ready;
    const answer = await send(`upload?id=${id}${pace}`, blob);
    await watched.finished;
    bar("received", answer.received, blob.size);
    say("upload-result", [{ strong: `${count(answer.received)} bytes in ${answer.seconds.toFixed(1)} s. ` }, await verdict(blob, answer.sha256)]);
  } catch (error) {
    say("upload-result", error.message, true);
  } finally {
    watcher.abort();
    at("upload").disabled = at("file").disabled = false;
  }
}

// Follow what the application has read. `ready` resolves with the first line, `finished` with the last; the watching
// is a help to the eye, so its own failure is not the upload's.
function watch(id, size, signal) {
  let begun;
  const ready = new Promise((resolve) => { begun = resolve; });
  const finished = (async () => {
    try {
      for await (const { received } of lines(`upload/watch?id=${id}`, { signal })) {
        begun();
        bar("received", received, size);
      }
    } catch { /* the upload goes on unwatched */ }
    begun();
  })();
  return { ready, finished };
}

// fetch tells nothing of what it has sent so far; XMLHttpRequest does.
function send(path, blob) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.upload.onprogress = ({ loaded, total }) => bar("sent", loaded, total);
    request.onload = () => {
      if (request.status !== 200) return reject(new Error(request.responseText.trim()));
      bar("sent", blob.size, blob.size);
      resolve(JSON.parse(request.responseText));
    };
    request.onerror = () => reject(new Error("The connection broke before the upload was answered."));
    request.open("POST", path);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.send(blob);
  });
}

async function verdict(blob, sha256) {
  // Browsers offer their hash functions to secure origins only: https, or this machine itself.
  if (!crypto.subtle || blob.size > HASH_LIMIT) return `SHA-256 there: ${sha256.slice(0, 16)}…`;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  const here = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return here === sha256 ? "The SHA-256 of both ends agree." : `The SHA-256 differ: ${here} here, ${sha256} there.`;
}

function bar(id, value, total) {
  at(id).max = total || 1;
  at(id).value = total ? value : 1;
  at(`${id}-text`).textContent = `${megabytes(value)} · ${total ? Math.floor((100 * value) / total) : 100} %`;
  // The two figures come by different ways: the later one may have overtaken the other for a moment.
  if (total) at("between").textContent = megabytes(Math.max(0, at("sent").value - at("received").value));
}

function sample() {
  const bytes = new Uint8Array(SAMPLE_BYTES);
  for (let start = 0; start < bytes.length; start += 65536) crypto.getRandomValues(bytes.subarray(start, start + 65536));
  return new Blob([bytes]);
}

function acceptDrops(card) {
  const hover = (on) => (event) => { event.preventDefault(); card.classList.toggle("dropping", on); };
  card.addEventListener("dragover", hover(true));
  card.addEventListener("dragleave", hover(false));
  card.addEventListener("drop", (event) => {
    hover(false)(event);
    const [file] = event.dataTransfer.files;
    if (file && !at("upload").disabled) upload(file, file.name);
  });
}

// -- Facts and code -----------------------------------------------------------------------------------------------

async function facts() {
  const response = await fetch("facts").catch(() => null); // lost again: the feed notices, and tries again
  if (!response?.ok) return;
  const known = await response.json();
  at("version").textContent = known.greenserve;
  const rows = [
    ["Python", `${known.implementation} ${known.python}`],
    ["greenlet", known.greenlet ?? "–"],
    ["Process", `pid ${known.pid}`],
    ["Uptime", "–", "uptime"],
    ["System", `${known.system}`],
    ["Processors", `${known.cpus} × ${known.machine}`],
  ];
  at("facts").replaceChildren(...rows.map(([name, value, id]) => {
    const term = Object.assign(document.createElement("dt"), { textContent: name });
    const detail = Object.assign(document.createElement("dd"), { textContent: value });
    if (id) detail.id = id;
    const pair = document.createElement("div");
    pair.append(term, detail);
    return pair;
  }));
}

function showCode(details) {
  details.addEventListener("toggle", async () => {
    const code = details.querySelector("code");
    if (!details.open || code.textContent) return;
    code.textContent = await (await fetch(`source?of=${details.dataset.source}`)).text();
  });
}

at("burst-form").addEventListener("submit", burst);
at("single").addEventListener("click", single);
at("stream").addEventListener("click", stream);
at("upload-form").addEventListener("submit", (event) => { event.preventDefault(); upload(sample(), "16 MB of random bytes"); });
at("file").addEventListener("change", () => {
  const [file] = at("file").files;
  at("file").value = "";
  if (file) upload(file, file.name);
});
acceptDrops(at("upload-form").closest(".card"));
document.querySelectorAll("details[data-source]").forEach(showCode);
connect(new Chart(at("chart"), at("tip")));
startChat(at, say);
