// Who answers: a worker beside the page, the page itself until it is ready, or a server.
"use strict";

const QUICK = 2e6; // parameters of a network whose answer takes less time than a worker's start

// Each returns ask({rgba, width, height}, blob) → a promise of what `engine` answers.
function asker(model) {
  if (model.remote) return asksServer(model);
  // The worker starts when the page stands. Until it is ready a quick network answers without it.
  const loaded = new Promise((resolve) => addEventListener("load", resolve));
  const started = loaded.then(() => asksWorker(model)).then((worker) => (ask = worker ?? asksHere(model)));
  let ask = model.parameters < QUICK ? asksHere(model) : async (pixels) => (await started)(pixels);
  return (pixels) => ask(pixels);
}

// Null where there is none, as in an old browser for a page from a file, or it fails.
async function asksWorker(model) {
  const source = `${document.getElementById("engine").textContent}
    let answer;
    onmessage = ({ data }) => {
      try {
        if (data.model) answer = engine(data.model);
        postMessage({ answer: data.rgba && answer(data.rgba, data.width, data.height) });
      } catch (error) { postMessage({ error: String(error.message ?? error) }); }
    };`;
  try {
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    const ask = (message) =>
      new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data.answer));
        worker.onerror = (event) => reject(new Error(event.message));
        worker.postMessage(message); // a copy: the page still draws its own
      });
    await ask({ model });
    return ask;
  } catch {
    return null;
  }
}

function asksHere(model) {
  let answer = null;
  return async ({ rgba, width, height }) => (answer ??= engine(model))(rgba, width, height);
}

// The server reads the picture's own file, as it would from anybody, if it is of a kind that it takes.
function asksServer(model) {
  return async (pixels, blob) => {
    const started = performance.now();
    const response = await fetch(model.remote, { method: "POST", body: blob, headers: { "Content-Type": blob.type } });
    const result = await response.json();
    // What this page asks is wrong only for another model than the one that it was made for.
    const isOther = response.ok ? result.version !== model.version : result.error.code === "bad_request";
    if (isOther) throw Object.assign(new Error("another model"), { key: "changed" });
    if (!response.ok) throw new Error(result.error.message);
    return { ...served(model, result, pixels), time: { asking: performance.now() - started } };
  };
}

// The service's JSON as what `engine` answers. A logit is the mean of its class's map.
function served(model, { pictures: [answer] }, { width, height }) {
  const { predictions, score, none_of_these: refused, class_maps: maps } = answer;
  const chances = new Map(predictions.map(({ name, probability }) => [name, probability]));
  const flat = maps && model.classes.map((name) => maps[name].flat());
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const seen = spans([height, width], model.input.slice(1), model.preprocessing.fit);
  return {
    probabilities: model.classes.map((name) => chances.get(name)),
    logits: flat && flat.map(mean),
    maps: flat && Float32Array.from(flat.flat()),
    score,
    refused,
    axes: model.maps && seen.map((span, i) => axis(model.maps.cells[i], span)),
  };
}
