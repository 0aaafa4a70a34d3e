// A network, run by two loops (kernel.c) and a few lines of JavaScript for each layer.
//
// `model.layers` are the description's layers with their places, as netinnet/export/page.py writes
// them: {layer, name, output: [c, h, w], …}, with `pads`, `factors`, `opens` and `closes` where they
// have them. What depends on the network alone is decided once; running it is a list of calls.
"use strict";

const FIRST_BYTE = 131072; // what lies below is the compiler's
const NO_PADS = [[0, 0], [0, 0]];
const shapeOf = (value) => [value.channels, value.rows, value.columns];

// Makes a network ready. `tensors` are Float32Arrays by name; `wasm` are the bytes of kernel.wasm,
// null for plain JavaScript. Returns run(input), whose input is height × width × channels, and whose
// results are Float32Arrays: logits, and maps (classes × rows × columns) and features if there are.
function prepared(model, tensors, wasm) {
  const calls = new Calls(model, tensors);
  const size = 65536 * Math.ceil(calls.bytes / 65536);
  const memory = wasm ? new WebAssembly.Memory({ initial: size / 65536 }) : { buffer: new ArrayBuffer(size) };
  const heap = { floats: new Float32Array(memory.buffer), addresses: new Int32Array(memory.buffer) };
  const module = wasm && new WebAssembly.Module(wasm);
  const kernel = wasm ? new WebAssembly.Instance(module, { env: { memory } }).exports : plainKernel(heap);
  for (const [kind, at, array] of calls.constants) heap[kind].set(array, at);
  return (input) => {
    const results = {};
    calls.start(heap.floats, input);
    for (const call of calls.list) call(kernel, heap.floats, results);
    return results;
  };
}

// A map in memory: rows × columns × channels with a border of zeros, as the next layer wants it.
class Value {
  constructor([channels, rows, columns], [[top, bottom], [left, right]], lanes) {
    this.stride = Math.ceil(channels / lanes) * lanes; // from one pixel to the next
    this.line = (left + columns + right) * this.stride;
    this.size = (top + rows + bottom) * this.line;
    Object.assign(this, { channels, rows, columns, top, left });
  }

  // Where a pixel is, in values.
  at(row, column) {
    return this.base + (row + this.top) * this.line + (column + this.left) * this.stride;
  }

  // The addresses of pixels, in bytes, `change` being called with the row and the column of each.
  // There are a multiple of 4 of them: the last one is repeated, and so computed again.
  addresses(rows, columns, change) {
    const result = [];
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) result.push(4 * change(row, column));
    while (result.length % 4) result.push(result[result.length - 1]);
    return result;
  }
}

class Calls {
  constructor(model, tensors) {
    Object.assign(this, { model, tensors, list: [], constants: [], bytes: FIRST_BYTE, next: 0 });
    const first = this.coming();
    this.input = this.value = this.make(model.input, first && first.layer === "Conv" ? 1 : 4);
    let start = null; // the input of a residual block
    while (this.next < model.layers.length) {
      const layer = model.layers[this.next];
      if (layer.opens) start = this.value;
      this.outputs(layer);
      this.next += 1;
      LAYERS[layer.layer](this, layer);
      if (model.layers[this.next - 1].closes) this.add(start);
    }
    const { value } = this, end = value.base + model.classes.length;
    this.call((kernel, floats, results) => (results.logits = floats.slice(value.base, end)));
  }

  call(call) {
    this.list.push(call);
  }

  // The values that are asked for on the way: class maps, and the features of the score.
  outputs({ name }) {
    const { maps, features, classes } = this.model, { value } = this;
    if (maps && name === maps.pool) {
      const [weight, bias] = ["weight", "bias"].map((part) => this.tensors[`${maps.linear}.${part}`]);
      this.call((kernel, floats, results) => {
        results.maps = classMaps(floats, value, classes.length, weight, bias);
      });
    }
    if (features && name === features.layer)
      this.call((kernel, floats, results) => (results.features = means(floats, value)));
  }

  // The next layer that does something.
  coming() {
    return this.model.layers.slice(this.next).find(({ layer }) => layer !== "Dropout");
  }

  // The next layer, taken, if it is one of these and nobody else asks for the value in front of it.
  taken(...kinds) {
    const layer = this.model.layers[this.next], last = this.model.layers[this.next - 1];
    if (!layer || last.closes || layer.opens || !kinds.includes(layer.layer)) return null;
    this.next += 1;
    return layer;
  }

  // Place for a layer's output. A convolution that comes next decides its border.
  make(shape, lanes = 4) {
    const coming = this.coming();
    const value = new Value(shape, coming && coming.layer === "Conv" ? coming.pads : NO_PADS, lanes);
    value.base = this.reserve(value.size) / 4;
    return value;
  }

  // The address of so many numbers, in bytes.
  reserve(count) {
    const address = this.bytes;
    this.bytes += 16 * Math.ceil(count / 4);
    return address;
  }

  // The address of constants that are copied to memory once: `floats` or `addresses`.
  keep(kind, array) {
    const address = this.reserve(array.length);
    this.constants.push([kind, address / 4, array]);
    return address;
  }

  start(floats, input) {
    const value = this.input;
    for (let row = 0, from = 0; row < value.rows; row++)
      for (let column = 0; column < value.columns; column++)
        for (let c = 0; c < value.channels; c++) floats[value.at(row, column) + c] = input[from++];
  }

  // A new value of the same shape, whose every pixel is made by change(floats, from, to, row, column).
  each(change) {
    const from = this.value, to = this.make(shapeOf(from));
    this.call((kernel, floats) => {
      for (let row = 0; row < to.rows; row++)
        for (let column = 0; column < to.columns; column++)
          change(floats, from.at(row, column), to.at(row, column), row, column);
    });
    this.value = to;
  }

  // The same, made of each number by itself.
  pointwise(change) {
    const { channels } = this.value;
    this.each((floats, from, to) => {
      for (let c = 0; c < channels; c++) floats[to + c] = change(floats[from + c], c);
    });
  }

  add(start) {
    const { channels } = start;
    this.each((floats, from, to, row, column) => {
      const other = start.at(row, column);
      for (let c = 0; c < channels; c++) floats[to + c] = floats[from + c] + floats[other + c];
    });
  }

  // A convolution or a linear layer, with the batch norm and the activation behind it: one call.
  // A window is `rows` rows of `run` values each.
  product({ name, output, stride = 1 }, rows, run) {
    const from = this.value, norm = this.taken("BatchNorm"), relu = this.taken("ReLU", "LeakyReLU");
    const to = this.make(output), bias = new Float32Array(to.stride);
    const [scale, shift] = norm ? affine(this.tensors, norm) : [() => 1, () => 0];
    const own = this.tensors[`${name}.bias`];
    const packed = new Float32Array(to.stride * rows * run); // in blocks of 8 outputs, then 4
    const tensor = this.tensors[`${name}.weight`], area = rows * rows;
    const ins = tensor.length / area / to.channels, outs = (to.channels * ins) / from.channels; // of a group
    for (let o = 0; o < to.channels; o++) {
      const first = o - (o % 8), wide = Math.min(8, to.stride - first), factor = scale(o);
      const at = first * rows * run + o - first + wide * ins * Math.floor(o / outs);
      pack(tensor, o * ins * area, ins, area, factor, packed, at, wide, from.stride);
      bias[o] = (own ? own[o] : 0) * factor + shift(o);
    }
    const begins = (row, column) => from.base + row * stride * from.line + column * stride * from.stride;
    const tables = [
      from.addresses(to.rows, to.columns, begins),
      to.addresses(to.rows, to.columns, (row, column) => to.at(row, column)),
    ].map((table) => this.keep("addresses", table));
    const pixels = 4 * Math.ceil((to.rows * to.columns) / 4);
    const slope = relu ? (relu.slope ?? 0) : 1;
    const [weights, biases] = [packed, bias].map((array) => this.keep("floats", array));
    const args = [...tables, pixels, weights, biases, to.stride, rows, 4 * from.line, run, slope];
    this.call((kernel) => kernel.conv(...args));
    this.value = to;
  }

  pool({ output, kernel: size, stride, pads, factors }) {
    const from = this.value, to = this.make(output), windows = [];
    const cut = (start, end) => [Math.max(start, 0), Math.min(start + size, end)];
    for (let row = 0; row < to.rows; row++)
      for (let column = 0; column < to.columns; column++) {
        const [top, bottom] = cut(row * stride - pads[0][0], from.rows);
        const [left, right] = cut(column * stride - pads[1][0], from.columns);
        windows.push(4 * from.at(top, left), bottom - top, right - left, 4 * to.at(row, column));
      }
    const table = this.keep("addresses", windows);
    const divided = factors ? this.keep("floats", factors.flat()) : 0;
    const args = [table, divided, to.rows * to.columns, to.stride, 4 * from.line];
    this.call((kernel) => kernel.pool(...args));
    this.value = to;
  }
}

// One output's weights, ins × area, to their places. (By itself: the browser soon compiles what is small.)
function pack(from, at, ins, area, factor, to, first, wide, stride) {
  for (let c = 0; c < ins; c++)
    for (let i = 0; i < area; i++) to[first + (i * stride + c) * wide] = from[at++] * factor;
}

// What a batch norm multiplies channel c by, and what it adds then.
function affine(tensors, { name, epsilon }) {
  const [weight, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map(
    (part) => tensors[`${name}.${part}`],
  );
  const scale = (c) => weight[c] / Math.sqrt(variance[c] + epsilon);
  return [scale, (c) => bias[c] - mean[c] * scale(c)];
}

// The mean of each channel.
function means(floats, value) {
  const { channels, rows, columns } = value, sums = new Float64Array(channels);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      for (let c = 0, at = value.at(row, column); c < channels; c++) sums[c] += floats[at + c];
  return Float32Array.from(sums, (sum) => sum / (rows * columns));
}

// Classes × rows × columns: what is pooled, or the linear layer behind the pooling at every pixel.
function classMaps(floats, value, classes, weight, bias) {
  const { channels, rows, columns } = value, result = new Float32Array(classes * rows * columns);
  for (let k = 0, to = 0; k < classes; k++)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++, to++) {
        const at = value.at(row, column);
        let sum = weight ? (bias ? bias[k] : 0) : floats[at + k];
        for (let c = 0; weight && c < channels; c++) sum += weight[k * channels + c] * floats[at + c];
        result[to] = sum;
      }
  return result;
}

// How each layer of the vocabulary is run.
const LAYERS = {
  Conv: (calls, layer) => calls.product(layer, layer.kernel, layer.kernel * calls.value.stride),
  BatchNorm(calls, layer) {
    const [scale, shift] = affine(calls.tensors, layer);
    calls.pointwise((x, c) => x * scale(c) + shift(c));
  },
  ReLU: (calls) => calls.pointwise((x) => Math.max(x, 0)),
  LeakyReLU: (calls, { slope }) => calls.pointwise((x) => Math.max(x, slope * x)),
  GELU(calls) {
    const root = Math.sqrt(2 / Math.PI);
    calls.pointwise((x) => 0.5 * x * (1 + Math.tanh(root * (x + 0.044715 * x * x * x))));
  },
  Sigmoid: (calls) => calls.pointwise((x) => 1 / (1 + Math.exp(-x))),
  MaxPool: (calls, layer) => calls.pool(layer),
  AvgPool: (calls, layer) => calls.pool(layer),
  GlobalAvgPool(calls, { output }) {
    const from = calls.value, to = calls.make(output);
    calls.call((kernel, floats) => floats.set(means(floats, from), to.at(0, 0)));
    calls.value = to;
  },
  Dropout() {}, // nothing in prediction
  Flatten(calls, { output }) {
    const from = calls.value, to = calls.make(output);
    calls.call((kernel, floats) => {
      for (let c = 0, at = to.at(0, 0); c < from.channels; c++)
        for (let row = 0; row < from.rows; row++)
          for (let column = 0; column < from.columns; column++)
            floats[at++] = floats[from.at(row, column) + c];
    });
    calls.value = to;
  },
  Linear: (calls, layer) => calls.product(layer, 1, calls.value.channels),
};

// The two functions of kernel.c in JavaScript.
function plainKernel({ floats, addresses }) {
  return {
    conv(from, to, pixels, weights, bias, channels, rows, rowBytes, run, slope) {
      const row = rowBytes >> 2;
      for (let first = 0, w = weights >> 2; first < channels; first += 8) {
        const wide = Math.min(8, channels - first);
        // 4 pixels × 4 channels at a time: as many numbers as a processor can keep at hand.
        for (let half = first; half < first + wide; half += 4) {
          const b = (bias >> 2) + half;
          for (let i = 0; i < pixels; i += 4) {
            const p = (from >> 2) + i, q = (to >> 2) + i;
            let p0 = addresses[p] >> 2, p1 = addresses[p + 1] >> 2;
            let p2 = addresses[p + 2] >> 2, p3 = addresses[p + 3] >> 2;
            let at = w + half - first;
            let a0 = floats[b], b0 = floats[b + 1], c0 = floats[b + 2], d0 = floats[b + 3];
            let a1 = a0, b1 = b0, c1 = c0, d1 = d0, a2 = a0, b2 = b0, c2 = c0, d2 = d0;
            let a3 = a0, b3 = b0, c3 = c0, d3 = d0;
            for (let r = 0; r < rows; r++, p0 += row, p1 += row, p2 += row, p3 += row)
              for (let k = 0; k < run; k++, at += wide) {
                const wa = floats[at], wb = floats[at + 1], wc = floats[at + 2], wd = floats[at + 3];
                const x0 = floats[p0 + k], x1 = floats[p1 + k];
                const x2 = floats[p2 + k], x3 = floats[p3 + k];
                a0 += x0 * wa; b0 += x0 * wb; c0 += x0 * wc; d0 += x0 * wd;
                a1 += x1 * wa; b1 += x1 * wb; c1 += x1 * wc; d1 += x1 * wd;
                a2 += x2 * wa; b2 += x2 * wb; c2 += x2 * wc; d2 += x2 * wd;
                a3 += x3 * wa; b3 += x3 * wb; c3 += x3 * wc; d3 += x3 * wd;
              }
            const sums = [a0, b0, c0, d0, a1, b1, c1, d1, a2, b2, c2, d2, a3, b3, c3, d3];
            for (let j = 0; j < 16; j++) {
              const place = (addresses[q + (j >> 2)] >> 2) + half + (j & 3);
              floats[place] = Math.max(sums[j], slope * sums[j]);
            }
          }
        }
        w += 8 * rows * run;
      }
    },
    pool(windows, factors, pixels, channels, rowBytes) {
      for (let i = 0, w = windows >> 2; i < pixels; i++, w += 4)
        for (let c = 0; c < channels; c++) {
          let result = factors ? 0 : -Infinity;
          for (let y = 0; y < addresses[w + 1]; y++)
            for (let x = 0; x < addresses[w + 2]; x++) {
              const v = floats[((addresses[w] + y * rowBytes) >> 2) + x * channels + c];
              result = factors ? result + v : Math.max(result, v);
            }
          floats[(addresses[w + 3] >> 2) + c] = factors ? result * floats[(factors >> 2) + i] : result;
        }
    },
  };
}
