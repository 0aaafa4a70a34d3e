// The page: a picture comes in, is shown, and is answered.
"use strict";

const SHOWN = 5; // classes, unless all are asked for
const SENT = /^image\/(png|jpeg|webp|gif|bmp)$/; // files that a service reads as they are
const STAGE = 448; // pixels of the longest side of what is shown, where the picture is larger
const model = JSON.parse(document.getElementById("model").textContent);
const element = (id) => document.getElementById(id);
const stage = element("stage"), canvas = element("canvas");
const state = { picture: null, answer: null, failed: false, chosen: null, all: false, asked: 0, problem: [null] };
const ask = asker(model);

// A picture (a canvas) is shown at once and answered as soon as the last answer is there.
async function show(picture, { blob = null, isDrawing = false, isLive = false } = {}) {
  if (!isDrawing) stopDrawing();
  if (!isLive) {
    stopCamera();
    problem(null); // what is said stays while the camera goes on
  }
  const isNew = !(isDrawing || isLive) || !state.picture;
  Object.assign(state, { picture, blob, failed: false }, isNew ? { answer: null, chosen: null } : {});
  stage.classList.remove("empty");
  view(); // the last answer stays until the next one is there, if the picture only goes on
  await answered();
}

let busy = null;
async function answered() {
  state.asked += 1;
  if (busy) return busy; // the newest picture is taken when this answer is there
  busy = (async () => {
    for (let done = 0; done !== state.asked; ) {
      done = state.asked;
      const { picture, blob } = state, { width, height } = picture;
      try {
        const pixels = { rgba: picture.getContext("2d").getImageData(0, 0, width, height).data, width, height };
        const sent = model.remote && (blob && SENT.test(blob.type) ? blob : await asPng(picture));
        const answer = await ask(pixels, sent);
        if (state.picture === picture) Object.assign(state, { answer });
        viewAnswer();
        await new Promise((resolve) => setTimeout(resolve)); // the words need not wait for the map
        viewPicture();
      } catch (error) {
        if (state.picture !== picture) continue; // nobody waits for it any more
        Object.assign(state, { answer: null, failed: true });
        stopCamera(); // its next picture would only say the same
        view();
        problem(error.key ?? "broken", { reason: error.message });
      }
    }
  })();
  await busy;
  busy = null;
}

const asPng = (picture) => new Promise((resolve) => picture.toBlob(resolve, "image/png"));

// Says a text of words.js; null for nothing. A {reason} is the browser's or the service's: in English.
function problem(key, values = {}) {
  state.problem = [key, values];
  const parts = key ? say(key, { ...values, reason: "\0" }).split("\0") : [];
  if (parts.length > 1) parts.splice(1, 0, span(values.reason, { lang: "en" }));
  element("problem").hidden = !key;
  element("problem").replaceChildren(...parts);
}

// Everything that can be seen, by the state alone.
function view() {
  if (!state.picture) return;
  viewPicture();
  viewAnswer();
}

function viewAnswer() {
  const { answer } = state, order = answer && ranked(answer.probabilities), chosen = shown();
  element("verdict").replaceChildren(...verdict(answer, order));
  element("unsure").hidden = !(answer && answer.refused);
  if (answer && answer.refused)
    element("unsure").textContent = say("unlike", {
      score: number(answer.score, 2), threshold: number(model.calibration.threshold, 2),
    });
  document.body.classList.toggle("refused", Boolean(answer && answer.refused));
  viewBars(answer, order, chosen);
  viewMap(answer, chosen);
  element("time").textContent = answer ? timeOf(answer.time) : "";
}

const ranked = (values) => values.map((_, i) => i).sort((a, b) => values[b] - values[a] || a - b);

// The class whose map is shown.
const shown = () => state.answer && (state.chosen ?? ranked(state.answer.probabilities)[0]);

function verdict(answer, order) {
  if (!answer) return state.failed ? [] : [soft(say("thinking"))];
  if (answer.refused) return [say("none")];
  return [`${model.classes[order[0]]} `, soft(percent(answer.probabilities[order[0]]))];
}

const span = (textContent, more) => Object.assign(document.createElement("span"), { textContent, ...more });
const soft = (text) => span(text, { className: "soft" });

// The picture as large as it is shown; a small one shows its pixels.
function viewPicture() {
  const { picture, answer } = state, longest = Math.max(picture.width, picture.height);
  const factor = longest <= STAGE ? Math.floor(STAGE / longest) : STAGE / longest;
  canvas.width = Math.max(1, Math.round(picture.width * factor));
  canvas.height = Math.max(1, Math.round(picture.height * factor));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(context, { imageSmoothingEnabled: factor < 1, imageSmoothingQuality: "high" });
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const strength = element("strength").value / 100;
  if (!answer || !answer.maps || !strength) return;
  const [rows, columns] = model.maps.size, size = rows * columns;
  const map = answer.maps.subarray(shown() * size, (shown() + 1) * size);
  overlay(canvas, picture.width, picture.height, map, [rows, columns], answer.axes, largest(answer.maps), strength);
}

const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

function viewBars(answer, order, chosen) {
  const bars = element("bars"), more = element("more");
  const shown = answer ? order.slice(0, state.all ? order.length : SHOWN) : [];
  while (bars.children.length > shown.length) bars.lastChild.remove();
  while (bars.children.length < shown.length) bars.append(bar());
  shown.forEach((k, i) => {
    const button = bars.children[i].firstChild, [name, share, length] = button.children;
    name.textContent = model.classes[k];
    share.textContent = percent(answer.probabilities[k]);
    length.style.width = `${100 * answer.probabilities[k]}%`;
    button.disabled = !answer.maps;
    button.setAttribute("aria-pressed", Boolean(answer.maps) && k === chosen);
    button.onclick = () => {
      state.chosen = k;
      view();
    };
  });
  more.hidden = !answer || model.classes.length <= SHOWN;
  more.textContent = state.all ? say("fewer") : say("all", { count: model.classes.length });
  more.setAttribute("aria-expanded", state.all);
}

function bar() {
  const item = document.createElement("li"), button = document.createElement("button");
  button.type = "button";
  for (const tag of ["span", "span", "i"]) button.append(document.createElement(tag));
  item.append(button);
  return item;
}

function viewMap(answer, chosen) {
  element("map").hidden = !(answer && answer.maps);
  if (element("map").hidden) return;
  const scale = largest(answer.maps);
  element("lowest").textContent = number(-scale, 1);
  element("highest").textContent = `+${number(scale, 1)}`;
  element("explained").textContent = say("explained", {
    name: model.classes[chosen], logit: number(answer.logits[chosen], 2),
  });
}

function timeOf({ asking, running, preparing, kernel }) {
  if (asking !== undefined) return say("asked", { milliseconds: number(asking, 0) });
  const size = `${model.input[1]}×${model.input[2]}`;
  return say("time", { milliseconds: number(running, 2), preparing: number(preparing, 1), kernel, size });
}

// All words that do not depend on a picture.
function translate() {
  document.documentElement.lang = language;
  for (const item of document.querySelectorAll("[data-word]")) item.textContent = say(item.dataset.word);
  for (const item of document.querySelectorAll("[data-label]")) item.ariaLabel = say(item.dataset.label);
  for (const item of document.querySelectorAll("[data-number]")) item.ariaLabel = say("example", item.dataset);
  canvas.ariaLabel = say("canvas");
  const facts = { classes: number(model.classes.length), parameters: number(model.parameters) };
  element("subtitle").textContent = say(model.remote ? "remote" : "subtitle", facts);
  if (model.remote) document.querySelector("[data-word=private]").textContent = say("server");
  element("language").value = language;
  problem(...state.problem);
  view();
}

const stopCamera = camera(show, problem, () => stopDrawing());
const stopDrawing = drawing(show, canvas, stage, model, () => stopCamera());
const read = filesFrom(show, stage, problem);
examplesFrom(model.examples, read);
drawScale(element("scale"));
element("strength").oninput = view;
element("more").onclick = () => {
  state.all = !state.all;
  view();
};
element("language").onchange = ({ target }) => {
  language = target.value;
  translate();
};
translate();
