// What the page asks of a model: an answer for a picture. Runs in a worker, or beside the page.
"use strict";

// Bytes of base64. (`fetch` of a data: address is not allowed to a page that may ask for nothing.)
function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

// Numbers of 16 bits (IEEE 754) as Float32Array.
function halves(bytes) {
  if (globalThis.Float16Array) return new Float32Array(new Float16Array(bytes.buffer));
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  const numbers = new Float32Array(words.length), bits = new Uint32Array(numbers.buffer);
  for (let i = 0; i < words.length; i++) {
    const word = words[i], size = word & 0x7fff;
    bits[i] = ((word & 0x8000) << 16) | ((size << 13) + (112 << 23));
    // Below the smallest normal number the exponent means nothing.
    if (size < 1024) numbers[i] = (word & 0x8000 ? -size : size) * 2 ** -24;
  }
  return numbers;
}

const singles = (bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);

// `model` is the page's data: see netinnet/export/page.py. Returns answer(rgba, width, height).
function engine(model) {
  const numbersOf = (text) => (model.precision === "float16" ? halves : singles)(bytesOf(text));
  const numbers = numbersOf(model.weights);
  const tensors = {};
  let at = 0;
  for (const [name, size] of model.tensors) tensors[name] = numbers.subarray(at, (at += size));
  const kernel = bytesOf(model.kernel);
  const wasm = typeof WebAssembly === "object" && WebAssembly.validate(kernel) ? kernel : null;
  const run = prepared(model, tensors, wasm);
  const score = model.calibration ? scorer(model.calibration, numbersOf) : null;
  const temperature = model.calibration ? model.calibration.temperature : 1;
  return (rgba, width, height) => {
    const started = performance.now();
    const input = prepare(rgba, width, height, model.input, model.preprocessing);
    const computing = performance.now();
    const { logits, maps, features } = run(input);
    const ended = performance.now();
    const seen = spans([height, width], model.input.slice(1), model.preprocessing.fit);
    const value = score && score(logits, features ?? logits);
    return {
      logits, maps, features,
      probabilities: softmax(logits, temperature),
      score: value,
      refused: score !== null && model.calibration.threshold !== null && value < model.calibration.threshold,
      axes: model.maps && seen.map((span, i) => axis(model.maps.cells[i], span)),
      time: { preparing: computing - started, running: ended - computing, kernel: wasm ? "WebAssembly" : "JavaScript" },
    };
  };
}

// Where the maps' cells lie in the picture, in its pixels: {first, step, seen}.
function axis([first, step], { start, length, at, size }) {
  const scale = length / size;
  return { first: start + (first - at) * scale, step: step * scale, seen: [start, start + length] };
}

function softmax(logits, temperature) {
  const highest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

// How much a picture is like those the model knows: netinnet/calibration.py.
function scorer({ temperature, energy, means, whitening, shape: [classes, size] }, numbersOf) {
  const [centres, matrix] = [means, whitening].map(numbersOf);
  return (logits, features) => {
    const highest = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
    const free = highest / temperature + Math.log(powers.reduce((sum, power) => sum + power, 0));
    const whitened = new Float64Array(size);
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) whitened[j] += features[i] * matrix[i * size + j];
    let nearest = Infinity;
    for (let k = 0; k < classes; k++) {
      let square = 0;
      for (let j = 0; j < size; j++) square += (whitened[j] - centres[k * size + j]) ** 2;
      nearest = Math.min(nearest, square);
    }
    return energy * free - Math.sqrt(nearest);
  };
}
