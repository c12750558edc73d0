// The page: what is chosen, what is asked for, what is shown.

import { ask } from "./asking.js";
import { listen, showSamples } from "./inputs.js";
import { percent, showClasses, Table } from "./listing.js";
import { asJson, cocoOf, rleOf, save, stemOf, zipOf } from "./saving.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const LEAST = { instance: 0.1 }; // confidence that is asked for; above it the page itself leaves out
const FIRST = { instance: 0.5 }; // confidence at first
const MAX_PICTURES = 100;

const view = new View($("canvas"));
const table = new Table(choose);
const state = { about: null, task: "", pictures: [], current: null, alone: null, hidden: new Set(), run: 0 };

const say = (line, isBad = false) => {
  $("status").textContent = line;
  $("status").classList.toggle("bad", isBad);
};

// What is asked for beside the picture.
function question() {
  const confidence = Number($("confidence").value);
  const lines = $("expressions").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const asked = state.task === "semantic" ? confidence || undefined : LEAST[state.task];
  return { task: state.task, confidence: asked, expressions: state.task === "referring" ? lines : [] };
}

function take(files) {
  if (!files.length) return;
  const taken = files.slice(0, MAX_PICTURES);
  state.pictures = taken.map((file) => ({ file, name: file.name || "picture.png", answer: null, error: "", state: "waits" }));
  state.current = state.pictures[0];
  state.hidden.clear();
  runAll();
}

// Ask for all pictures, one after the other, the one that is looked at first.
async function runAll() {
  const run = ++state.run, asked = question();
  state.abort?.abort();
  state.abort = new AbortController();
  if (asked.task === "referring" && !asked.expressions.length) {
    showBatch();
    await showCurrent();
    return say("Say what to look for, then press the button below the expressions.");
  }
  const order = [state.current, ...state.pictures.filter((one) => one !== state.current)];
  for (const picture of order) {
    picture.state = "waits";
    if (picture !== state.current) picture.answer = null;
  }
  showBatch();
  for (const picture of order) {
    if (run !== state.run) return;
    await runOne(picture, asked, run);
  }
}

async function runOne(picture, asked, run) {
  const isCurrent = () => picture === state.current;
  $("stage").classList.toggle("busy", isCurrent());
  picture.error = "";
  try {
    const limit = state.about.limits.max_bytes;
    if (picture.file.size > limit) throw new Error(`The file has ${(picture.file.size / 1e6).toFixed(1)} MB; at most ${(limit / 1e6).toFixed(1)} MB are taken.`);
    const bitmap = await createImageBitmap(picture.file).catch(() => null);
    picture.state = "is sent";
    const answer = await ask({ ...asked, file: picture.file, name: picture.name, picture: !bitmap }, (ahead) => {
      picture.state = ahead ? `${ahead} before it` : "in the model";
      if (isCurrent()) say(ahead ? `${ahead} ${ahead > 1 ? "requests come" : "request comes"} before this one.` : "The model works on it.");
      showBatch();
    }, state.abort.signal);
    if (run !== state.run) return;
    Object.assign(picture, { answer, state: `${answer.segments.length} found` });
    picture.shown = bitmap && bitmap.width === answer.width ? null : answer.picture;
  } catch (error) {
    if (run !== state.run) return;
    Object.assign(picture, { answer: null, error: error.message, state: "failed" });
  }
  if (isCurrent()) await showCurrent();
  showBatch();
}

async function sourceOf(picture) {
  if (!picture.shown) return createImageBitmap(picture.file);
  const image = new Image(); // what the server has read of a file that browsers do not show
  image.src = picture.shown;
  await image.decode();
  return image;
}

async function showCurrent() {
  const picture = state.current;
  $("stage").classList.remove("busy");
  state.alone = null;
  if (!picture?.answer) {
    view.clear();
    $("stage").hidden = true;
    $("downloads").hidden = true;
    if (picture?.error) say(picture.error, true);
  } else {
    const { answer } = picture;
    const source = await sourceOf(picture);
    if (picture !== state.current) return;
    view.show(source, answer.segments, answer.width, answer.height);
    $("stage").hidden = $("downloads").hidden = false;
    fit();
    const missing = answer.not_found.length ? `; not found: ${answer.not_found.join(", ")}` : "";
    say(`${answer.name}, ${answer.width} × ${answer.height} pixels, in ${answer.seconds.toFixed(2)} s${missing}`);
  }
  showClasses(picture?.answer, state.hidden, paint);
  paint();
}

// As large as the column allows, without more than 75 % of the window's height.
function fit() {
  const { width, height } = $("canvas");
  const most = Math.max(0.75 * window.innerHeight, 200);
  $("canvas").style.width = `min(100%, ${Math.min((most * width) / height, 3 * width)}px)`;
}

function shownNumbers(answer) {
  const least = state.task === "semantic" ? 0 : Number($("confidence").value);
  return answer.segments.flatMap((one, number) => {
    const isDoubtful = one.score !== null && one.score < least;
    return isDoubtful || state.hidden.has(one.name) ? [] : [number];
  });
}

function paint() {
  const answer = state.current?.answer;
  const numbers = answer ? shownNumbers(answer) : [];
  if (!numbers.includes(state.alone)) state.alone = null;
  if (answer) view.paint(numbers, state.alone, Number($("opacity").value), $("labels").checked);
  table.show(answer, numbers, state.alone);
  $("show-all").hidden = state.alone === null;
  $("found-note").textContent = !answer
    ? "What the model finds is listed here. Click on a segment, in the picture or in the list, to see it alone."
    : numbers.length
      ? `${numbers.length} of ${answer.segments.length} shown. Click on one, here or in the picture, to see it alone.`
      : answer.segments.length ? "None is shown: lower the confidence, or tick classes." : "The model finds nothing.";
}

function choose(number) {
  state.alone = state.alone === number ? null : number;
  paint();
}

function showBatch() {
  const list = $("batch"), isBatch = state.pictures.length > 1;
  list.hidden = $("save-zip").hidden = !isBatch;
  if (!isBatch) return list.replaceChildren();
  if (list.children.length !== state.pictures.length || list.pictures !== state.pictures) {
    list.pictures = state.pictures;
    list.replaceChildren(...state.pictures.map(thumbnail));
  }
  state.pictures.forEach((picture, place) => {
    const item = list.children[place], line = item.querySelector(".state");
    line.textContent = picture.error || picture.state;
    line.classList.toggle("bad", Boolean(picture.error));
    item.firstChild.setAttribute("aria-current", picture === state.current);
  });
  $("save-zip").disabled = state.pictures.some((one) => !one.answer && !one.error);
}

function thumbnail(picture) {
  const item = document.createElement("li"), button = document.createElement("button");
  const image = new Image(), name = document.createElement("span"), line = document.createElement("span");
  button.type = "button";
  image.src = URL.createObjectURL(picture.file);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  image.alt = "";
  name.textContent = button.title = picture.name;
  line.className = "state";
  button.append(image, name, line);
  button.addEventListener("click", async () => {
    state.current = picture;
    await showCurrent();
    if (!picture.answer && !picture.error) say(`${picture.name}: ${picture.state}`);
    showBatch();
  });
  item.append(button);
  return item;
}

const shownOf = ({ answer }) => ({ answer, segments: shownNumbers(answer).map((number) => answer.segments[number]) });

function shownOfCurrent() {
  const { answer } = state.current;
  return state.alone === null ? shownOf(state.current) : { answer, segments: [answer.segments[state.alone]] };
}

const blobOf = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

async function saveZip() {
  const done = state.pictures.filter((one) => one.answer), drawings = [];
  const failures = state.pictures.filter((one) => one.error).map((one) => one.error);
  const own = new View(document.createElement("canvas"));
  for (const picture of done) {
    say(`Drawing ${picture.name}`);
    const { answer } = picture;
    own.show(await sourceOf(picture), answer.segments, answer.width, answer.height);
    own.paint(shownNumbers(answer), null, Number($("opacity").value), $("labels").checked);
    drawings.push({ name: picture.name, blob: await blobOf(own.canvas) });
  }
  save(await zipOf(drawings, cocoOf(done.map(shownOf), state.about), failures), "d2seg.zip");
  say(`${done.length} drawings in d2seg.zip, ${failures.length} pictures failed`);
}

function showTask(task) {
  state.task = task;
  $("confidence").min = LEAST[task] ?? 0;
  $("confidence").value = FIRST[task] ?? 0;
  $("expressions-field").hidden = task !== "referring";
  $("confidence-note").textContent = task === "semantic"
    ? "Pixels whose class is less probable stay bare; the model is asked anew."
    : "What scores less is not shown.";
  showValues();
}

function showValues() {
  for (const id of ["confidence", "opacity"]) $(`${id}-value`).textContent = percent(Number($(id).value));
}

function listenToControls() {
  $("confidence").addEventListener("input", () => { showValues(); if (state.task !== "semantic") paint(); });
  $("confidence").addEventListener("change", () => { if (state.task === "semantic" && state.current) runAll(); });
  $("opacity").addEventListener("input", () => { showValues(); paint(); });
  $("labels").addEventListener("change", paint);
  $("look").addEventListener("click", () => (state.current ? runAll() : say("Choose a picture first.", true)));
  $("show-all").addEventListener("click", () => { state.alone = null; paint(); });
  $("canvas").addEventListener("click", (event) => {
    const number = view.at(event);
    choose(number === null ? state.alone : number);
  });
  $("canvas").addEventListener("mousemove", (event) => {
    const number = view.at(event), tip = $("tip");
    tip.hidden = number === null;
    if (number === null) return;
    const one = state.current.answer.segments[number], frame = $("stage").getBoundingClientRect();
    tip.textContent = one.score === null ? one.name : `${one.name} ${percent(one.score)}`;
    tip.style.left = `${Math.min(event.clientX - frame.left + 12, frame.width - tip.offsetWidth)}px`;
    tip.style.top = `${event.clientY - frame.top + 14}px`;
  });
  $("canvas").addEventListener("mouseleave", () => { $("tip").hidden = true; });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.alone !== null) { state.alone = null; paint(); }
  });
  window.addEventListener("resize", fit);
  const stem = () => stemOf(state.current.name);
  $("save-png").addEventListener("click", async () => save(await blobOf($("canvas")), `${stem()}_segments.png`));
  $("save-coco").addEventListener("click", () => save(asJson(cocoOf([shownOfCurrent()], state.about)), `${stem()}_coco.json`));
  $("save-rle").addEventListener("click", () => save(asJson(rleOf(shownOfCurrent())), `${stem()}_rle.json`));
  $("save-zip").addEventListener("click", () => saveZip().catch((error) => say(error.message, true)));
}

async function start() {
  state.about = await (await fetch("/model")).json();
  const { method, weights, device, tasks, samples } = state.about;
  $("title").textContent = method;
  $("about").textContent = `${weights} on ${device === "cpu" ? "the CPU" : device}.`;
  for (const task of tasks) {
    const label = document.createElement("label"), button = document.createElement("input");
    Object.assign(button, { type: "radio", name: "task", value: task, checked: task === tasks[0] });
    button.addEventListener("change", () => { showTask(task); state.hidden.clear(); if (state.current) runAll(); });
    label.append(button, task);
    $("tasks").append(label);
  }
  showTask(tasks[0]);
  listenToControls();
  listen(take);
  showSamples(samples, take);
}

start().catch((error) => say(error.message, true));
