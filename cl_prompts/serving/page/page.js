"use strict";
// Names of classes and files come from users: they become text nodes, never markup.
const $ = (id) => document.getElementById(id);
const make = (tag, text = "") => Object.assign(document.createElement(tag), { textContent: text });
const percent = (share) => (share === null ? "-" : `${(100 * share).toFixed(1)} %`);
const count = (n, name) => `${n} ${name}${n === 1 ? "" : name.endsWith("s") ? "es" : "s"}`;
const waiting = [];
const pictures = new Map();
let known = [];
let token = sessionStorage.getItem("token");
let current = null;
let busy = false;
let round = 0;
let naming = false;

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers }).catch(() => {
    throw new Error("The server does not answer. Is it still running?");
  });
  if (answer.ok) return answer;
  if (answer.status === 401) {
    $("login").hidden = false;
    $("main").hidden = true;
    $("token").focus();
    throw new Error(token ? "The token is wrong." : "Type the token that the server was started with.");
  }
  const said = (await answer.json().catch(() => ({}))).error || `the server answered ${answer.status}`;
  throw Object.assign(new Error(said), { status: answer.status });
}

const json = async (path, body) => (await call(path, body === undefined ? {} : {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
})).json();

function fault(message) {
  $("fault").textContent = message;
  $("fault").hidden = !message;
}

// A key that is pressed while the server works is for an image that is not seen yet: it is ignored.
async function attempt(work) {
  if (busy) return;
  busy = true;
  $("main").setAttribute("aria-busy", "true");
  fault("");
  try { await work(); } catch (error) { fault(error.message); }
  busy = false;
  $("main").setAttribute("aria-busy", "false");
  refresh().catch((error) => fault($("fault").textContent || error.message));
}

// ------------------------------------------------------------------------------ one image

function add(files) {
  waiting.push(...files);
  if (!current) attempt(next); else told();
}

const told = () => { $("left").textContent = waiting.length ? `${count(waiting.length, "more image")} to label` : ""; };

async function next() {
  current = null;
  while (waiting.length) {
    const file = waiting.shift();
    show(file);
    $("answer").textContent = "The model looks at the image ...";
    const form = new FormData();
    form.append("image", file);
    try {
      suggest((await (await call("predict", { method: "POST", body: form })).json()).predictions[0], file);
      return;
    } catch (error) {
      if (![413, 415, 422].includes(error.status)) { waiting.unshift(file); throw error; }
      fault(`${file.name || "image"}: ${error.message}`);
    }
  }
  show(null);
}

function show(file) {
  told();
  URL.revokeObjectURL($("shown").src);
  $("picture").textContent = file ? file.name || "stored image" : "";
  $("shown").hidden = !file;
  $("hint").hidden = Boolean(file);
  if (file) $("shown").src = URL.createObjectURL(file); else $("shown").removeAttribute("src");
  $("best").replaceChildren();
  $("answer").textContent = "Add images to label.";
}

function suggest({ id, label, best }, file) {
  current = { id, file };
  if (!best.length) $("answer").textContent = "The model knows no class yet. Name the first.";
  else if (best.length === 1) $("answer").textContent = `The model knows only ${label} so far. Is this another class?`;
  else $("answer").textContent = label === best[0].label ? `The model says: ${label}` : "The model is not sure.";
  $("best").replaceChildren(...best.map((one) => {
    const made = make("button");
    const bar = Object.assign(make("progress"), { value: one.probability, max: 1 });
    bar.setAttribute("aria-hidden", "true");
    made.append(make("kbd"), make("span", one.label), make("span", percent(one.probability)), bar);
    made.addEventListener("click", () => learn(one.label));
    const row = make("li");
    row.append(made);
    return row;
  }));
  drawKeys();
  if (!best.length) $("name").focus();
}

function drawKeys() {
  const keys = new Map(known.map((one) => [one.label, one.key]));
  for (const row of $("best").querySelectorAll("kbd")) row.textContent = keys.get(row.nextSibling.textContent) ?? "";
}

const learn = (label) => attempt(async () => {
  if (!current) throw new Error("Add an image first.");
  if (!label.trim()) throw new Error("Type the name of a class first.");
  await json("learn", { id: current.id, label, key: `page-${current.id}` });
  $("name").value = "";
  $("name").blur();
  await next();
});

// ------------------------------------------------------------------------------ all images

async function refresh() {
  const mine = ++round;
  const [stats, events, queue] = await Promise.all([json("stats"), json("events"), json("queue")]);
  if (mine !== round) return; // a later one has newer answers
  $("login").hidden = true;
  $("main").hidden = false;
  known = stats.classes;
  $("model").textContent = `${stats.name}: ${count(known.length, "class")}, ${count(stats.accuracy.images, "image")} learned here; ` +
    `method ${stats.model}, version ${stats.version}${stats.learns ? "" : "; predictions only"}`;
  $("classes").replaceChildren(...known.map((one) => Object.assign(make("option"), { value: one.label })));
  fill("known", known, (one) => `${one.label}${one.images === null ? "" : `: ${count(one.images, "image")}`}`, stats.learns ? { Edit: edit } : {});
  drawKeys();
  drawScores(stats.accuracy);
  if (!current && queue.queue.length) $("answer").textContent = "Add images, or label those below.";
  const undone = new Set(events.events.map((one) => one.undoes));
  const learned = events.events.filter((one) => one.kind === "learn" && !undone.has(one.seq));
  fill("learned", learned.slice(0, 50), (one) => one.label, { Change: change, Undo: undo });
  fill("queue", queue.queue.filter((one) => one.id !== current?.id), (one) => `${one.label} ${percent(one.probability)}`, { Label: again });
}

// Show stored images before the others. The one shown is predicted again, since the model has changed.
async function anew(...files) {
  waiting.unshift(...files, ...(current ? [current.file] : []));
  await next();
}

const again = async (one) => anew(await (await call(`image/${one.sha256}`)).blob());

async function undo(one) {
  await json("undo", { event: one.seq });
  await again(one).catch(() => {}); // it is not stored with --no-images
}

async function change(one) {
  if (await ask(`Class of this image instead of "${one.label}"`, "", false) !== "save") return;
  await json("relabel", { event: one.seq, label: $("new").value });
  await anew();
}

async function edit(one) {
  const chosen = await ask(`New name of "${one.label}". The name of another class merges the two.`, one.label, true);
  if (chosen === "delete") await call(`class/${encodeURIComponent(one.label)}`, { method: "DELETE" });
  else if (chosen) await json("rename", { name: one.label, label: $("new").value });
  if (chosen) await anew();
}

// Return the value of the button that closes the dialog; it is empty after Escape.
function ask(question, label, deletes) {
  $("question").textContent = question;
  $("new").value = label;
  $("delete").hidden = !deletes;
  $("dialog").returnValue = "";
  $("dialog").showModal();
  $("new").select();
  return new Promise((done) => { $("dialog").onclose = () => done($("dialog").returnValue); });
}

function fill(list, items, text, works) {
  $(list).replaceChildren(...items.map((one) => {
    const row = make("li");
    const mark = one.sha256 ? Object.assign(make("img"), { alt: "" }) : make("kbd", one.key);
    if (one.sha256) pictureOf(one.sha256).then((address) => { mark.src = address; }, () => mark.remove());
    row.append(mark, make("span", text(one)));
    for (const [name, work] of Object.entries(works)) {
      const made = make("button", name);
      made.setAttribute("aria-label", `${name} ${one.label}`);
      made.addEventListener("click", () => attempt(() => work(one)));
      row.append(made);
    }
    return row;
  }));
}

async function pictureOf(sha256) {
  if (!pictures.has(sha256)) pictures.set(sha256, URL.createObjectURL(await (await call(`image/${sha256}`)).blob()));
  return pictures.get(sha256);
}

function drawScores(score) {
  if (!score.images) return;
  $("score").textContent = `${percent(score.all)} of ${count(score.images, "image")} were predicted correctly before you labelled them` +
    `${score.images > 500 ? `, ${percent(score.last_500)} of the last 500` : ""}. Always guessing the previous label: ${percent(score.last_label)}.`;
  const most = score.curve.at(-1)[0];
  const place = ([n, share]) => `${40 + (540 * n) / most},${135 - 120 * share}`;
  const parts = [0, 0.5, 1].flatMap((share) => [
    shape("line", { x1: 40, x2: 580, y1: 135 - 120 * share, y2: 135 - 120 * share }),
    Object.assign(shape("text", { x: 0, y: 140 - 120 * share }), { textContent: String(100 * share) }),
  ]);
  $("curve").replaceChildren(...parts, shape("path", { d: `M${score.curve.map(place).join("L")}` }));
  $("plot").hidden = score.curve.length < 2;
}

function shape(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// ------------------------------------------------------------------------------ input

$("file").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
$("drop").addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => { event.preventDefault(); $("drop").classList.remove("over"); add(event.dataTransfer.files); });
document.addEventListener("paste", (event) => add(event.clipboardData.files));
$("naming").addEventListener("submit", (event) => { event.preventDefault(); learn($("name").value); });
$("skip").addEventListener("click", () => attempt(next));
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("token", token);
  attempt(() => {});
});
$("download").addEventListener("click", () => attempt(async () => {
  const [bar, parts] = [$("loading"), []];
  $("download").textContent = "Measuring the accuracy of the model ...";
  bar.removeAttribute("value");
  bar.hidden = false;
  try {
    const answer = await call("snapshot");
    const [reader, all] = [answer.body.getReader(), Number(answer.headers.get("content-length"))];
    Object.assign(bar, { max: all, value: 0 });
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      bar.value += part.value.length;
      $("download").textContent = `Downloading ${(bar.value / 1e6).toFixed(1)} of ${(all / 1e6).toFixed(1)} MB ...`;
    }
    Object.assign(make("a"), { href: URL.createObjectURL(new Blob(parts)), download: "model.zip" }).click();
  } finally {
    $("download").textContent = "Download the model";
    bar.hidden = true;
  }
}));
$("dialog").addEventListener("submit", (event) => { event.preventDefault(); $("dialog").close(event.submitter.value); });
$("name").addEventListener("pointerdown", () => { naming = true; });
$("name").addEventListener("blur", () => { naming = false; });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("dialog").open) return;
  // In a field that the page or the tabulator chose, the first n is the key; after that or a click it is a letter.
  const first = event.target === $("name") && event.key === "n" && !naming && !$("name").value;
  naming ||= event.target === $("name");
  if (event.target.matches("input:not([type=file])") && !first) return;
  const chosen = known.find((one) => one.key === event.key);
  const work = {
    n: () => { $("name").focus(); naming = true; }, s: () => $("skip").click(), o: () => $("file").click(),
    u: () => $("learned").querySelector("button:last-child")?.click(), l: () => $("queue").querySelector("button")?.click(),
    d: () => $("download").click(),
  }[event.key];
  if (chosen) learn(chosen.label); else if (work) work(); else return;
  event.preventDefault();
});
attempt(() => {});
