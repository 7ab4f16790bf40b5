"use strict";
// Names of classes and files come from users: they become text nodes, never markup.
const $ = (id) => document.getElementById(id);
const make = (tag, text = "") => Object.assign(document.createElement(tag), { textContent: text });
const percent = (share) => (share === null ? "-" : `${(100 * share).toFixed(1)} %`);
const waiting = [];
const pictures = new Map();
let token = sessionStorage.getItem("token");
let current = null;
let busy = false;

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) { $("login").hidden = false; $("main").hidden = true; $("token").focus(); }
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error || `the server answered ${answer.status}`);
  return answer;
}

const json = async (path, body) => (await call(path, body === undefined ? {} : {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
})).json();

async function attempt(work) {
  if (busy) return;
  busy = true;
  try {
    $("fault").hidden = true;
    await work();
  } catch (error) {
    $("fault").textContent = error.message;
    $("fault").hidden = false;
  } finally { busy = false; }
}

// ------------------------------------------------------------------------------ one image

function add(files) {
  for (const file of files) if (file.type.startsWith("image/")) waiting.push(file);
  if (!current) attempt(next); else told();
}

const told = () => { $("left").textContent = waiting.length ? `${waiting.length} more images wait` : ""; };

async function next() {
  current = null;
  const file = waiting.shift();
  if (file) {
    const form = new FormData();
    form.append("image", file);
    const made = (await (await call("predict", { method: "POST", body: form })).json()).predictions[0];
    show(made, URL.createObjectURL(file));
  } else show(null, "");
}

function show(prediction, picture) {
  current = prediction;
  told();
  if ($("shown").src.startsWith("blob:") && ![...pictures.values()].includes($("shown").src)) URL.revokeObjectURL($("shown").src);
  $("shown").hidden = !picture;
  $("hint").hidden = Boolean(picture);
  if (picture) $("shown").src = picture; else $("shown").removeAttribute("src");
  $("best").replaceChildren();
  if (!prediction) { $("answer").textContent = "Add an image first."; return; }
  $("answer").textContent = prediction.best.length ? `The model says: ${prediction.label}` : "The model knows no class yet. Name the first.";
  prediction.best.forEach(({ label, probability }, place) => {
    const button = make("button");
    const bar = Object.assign(make("progress"), { value: probability, max: 1 });
    bar.setAttribute("aria-hidden", "true");
    button.append(make("kbd", String(place + 1)), make("span", label), make("span", percent(probability)), bar);
    button.addEventListener("click", () => learn(label));
    const row = make("li");
    row.append(button);
    $("best").append(row);
  });
  if (!prediction.best.length) $("name").focus();
}

const learn = (label) => attempt(async () => {
  if (!current || !label.trim()) return;
  await json("learn", { id: current.id, label, key: `page-${current.id}` });
  $("name").value = "";
  $("name").blur();
  await next();
  await refresh();
});

const undo = (event) => attempt(async () => { await json("undo", { event }); await refresh(); });

// ------------------------------------------------------------------------------ all images

async function refresh() {
  const [stats, events, queue] = await Promise.all([json("stats"), json("events"), json("queue")]);
  $("login").hidden = true;
  $("main").hidden = false;
  $("model").textContent = `${stats.model}; version ${stats.version}; ${stats.classes.length} classes` +
    (stats.learns ? "" : "; predictions only");
  $("classes").replaceChildren(...stats.classes.map((name) => Object.assign(make("option"), { value: name })));
  drawScores(stats.accuracy);
  const undone = new Set(events.events.map((one) => one.undoes));
  const learned = events.events.filter((one) => one.kind === "learn" && !undone.has(one.seq));
  $("learned").replaceChildren(...learned.slice(0, 50).map((one) => {
    const row = rowOf(one.sha256, one.label);
    row.append(button("Undo", `undo ${one.label}`, () => undo(one.seq)));
    return row;
  }));
  $("queue").replaceChildren(...queue.queue.filter((one) => one.id !== current?.id).map((one) => {
    const row = rowOf(one.sha256, `${one.label} ${percent(one.probability)}`);
    row.append(button("Label", `label this image, perhaps ${one.label}`, () => attempt(async () => {
      const picture = await pictureOf(one.sha256);
      show({ id: one.id, label: one.label, best: stats.classes.slice(0, 5).map((label) => ({ label, probability: label === one.label ? one.probability : null })) }, picture);
    })));
    return row;
  }));
}

function button(text, label, work) {
  const made = make("button", text);
  made.setAttribute("aria-label", label);
  made.addEventListener("click", work);
  return made;
}

async function pictureOf(sha256) {
  if (!pictures.has(sha256)) pictures.set(sha256, URL.createObjectURL(await (await call(`image/${sha256}`)).blob()));
  return pictures.get(sha256);
}

function rowOf(sha256, text) {
  const row = make("li");
  const picture = Object.assign(make("img"), { alt: "" });
  pictureOf(sha256).then((address) => { picture.src = address; }, () => picture.remove());
  row.append(picture, make("span", text));
  return row;
}

function drawScores(score) {
  if (!score.images) return;
  $("score").textContent = `${percent(score.all)} of ${score.images} labels were predicted; ${percent(score.last_500)} of the last 500. ` +
    `Always the last label: ${percent(score.last_label)}.`;
  const most = score.curve.at(-1)[0];
  const place = ([n, share]) => `${40 + (540 * n) / most},${135 - 120 * share}`;
  const parts = [0, 0.5, 1].flatMap((share) => [
    shape("line", { x1: 40, x2: 580, y1: 135 - 120 * share, y2: 135 - 120 * share }),
    Object.assign(shape("text", { x: 0, y: 140 - 120 * share }), { textContent: String(100 * share) }),
  ]);
  $("curve").replaceChildren(...parts, shape("path", { d: `M${score.curve.map(place).join("L")}` }));
  $("curve").toggleAttribute("hidden", score.curve.length < 2);
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
$("skip").addEventListener("click", () => attempt(async () => { await next(); await refresh(); }));
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("token", token);
  attempt(refresh);
});
$("download").addEventListener("click", () => attempt(async () => {
  const address = URL.createObjectURL(await (await call("snapshot")).blob());
  Object.assign(make("a"), { href: address, download: "model.zip" }).click();
}));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=file])")) return;
  const chosen = $("best").querySelectorAll("button")[Number(event.key) - 1];
  const work = {
    n: () => $("name").focus(), s: () => $("skip").click(), o: () => $("file").click(),
    u: () => $("learned").querySelector("button")?.click(),
  }[event.key];
  if (chosen) chosen.click(); else if (work) work(); else return;
  event.preventDefault();
});
attempt(refresh);
