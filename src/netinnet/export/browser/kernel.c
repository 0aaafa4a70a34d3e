// The two loops that take a network's time, for WebAssembly with 128-bit SIMD.
//
// Maps are rows × columns × channels, float32, the channels padded to a multiple of 4, with a border
// of zeros where a convolution pads. Where a window begins is read from a table, so that any window,
// stride and padding is the same loop. There is no library and no memory of its own: network.js
// places everything, and has the same two functions for browsers without WebAssembly's SIMD.
//
// Built by `make page-kernel`; kernel.wasm is kept beside this file, so nobody else needs a compiler.
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name), visibility("default")))
#define ADD wasm_f32x4_add
#define MUL wasm_f32x4_mul

// 4 pixels × 8 channels (4 if not wide): 8 sums, 2 weights and a value fit into 16 registers.
static inline __attribute__((always_inline)) void
block(const int *from, const int *to, const float *w, const float *bias, int rows, int row_bytes,
      int run, float slope, int channel, const int wide) {
  v128_t a = wasm_v128_load(bias), b = wide ? wasm_v128_load(bias + 4) : a;
  v128_t a0 = a, a1 = a, a2 = a, a3 = a, b0 = b, b1 = b, b2 = b, b3 = b;
  for (int row = 0, skip = 0; row < rows; row++, skip += row_bytes) {
    const float *p0 = (const float *)(from[0] + skip), *p1 = (const float *)(from[1] + skip);
    const float *p2 = (const float *)(from[2] + skip), *p3 = (const float *)(from[3] + skip);
#pragma clang loop unroll(disable)
    for (int k = 0; k < run; k++) {
      a = wasm_v128_load(w), b = wide ? wasm_v128_load(w + 4) : a;
      v128_t x0 = wasm_v128_load32_splat(p0 + k), x1 = wasm_v128_load32_splat(p1 + k);
      v128_t x2 = wasm_v128_load32_splat(p2 + k), x3 = wasm_v128_load32_splat(p3 + k);
      a0 = ADD(a0, MUL(x0, a)), a1 = ADD(a1, MUL(x1, a));
      a2 = ADD(a2, MUL(x2, a)), a3 = ADD(a3, MUL(x3, a));
      if (wide) {
        b0 = ADD(b0, MUL(x0, b)), b1 = ADD(b1, MUL(x1, b));
        b2 = ADD(b2, MUL(x2, b)), b3 = ADD(b3, MUL(x3, b));
      }
      w += wide ? 8 : 4;
    }
  }
  v128_t s = wasm_f32x4_splat(slope); // of what is below 0: 0 is ReLU, 1 changes nothing
#define STORE(pixel, place, sum)                                                                   \
  wasm_v128_store((float *)to[pixel] + channel + (place), wasm_f32x4_pmax(MUL(sum, s), sum))
  STORE(0, 0, a0), STORE(1, 0, a1), STORE(2, 0, a2), STORE(3, 0, a3);
  if (wide)
    STORE(0, 4, b0), STORE(1, 4, b1), STORE(2, 4, b2), STORE(3, 4, b3);
}

// from, to: tables of addresses, one a pixel; their number is a multiple of 4.
// A window is `rows` runs of `run` values, `row_bytes` apart.
// weights: for each 8 channels (4 at the end) rows × run × 8; bias: one a channel.
EXPORT(conv)
void conv(const int *from, const int *to, int pixels, const float *weights, const float *bias,
          int channels, int rows, int row_bytes, int run, float slope) {
  for (int channel = 0; channel < channels; channel += 8) {
    const int wide = channel + 8 <= channels;
    for (int i = 0; i < pixels; i += 4)
      if (wide)
        block(from + i, to + i, weights, bias + channel, rows, row_bytes, run, slope, channel, 1);
      else
        block(from + i, to + i, weights, bias + channel, rows, row_bytes, run, slope, channel, 0);
    weights += 8 * rows * run;
  }
}

// windows: for each pixel the address of its first value, the rows and columns inside the picture,
// and where it goes. factors: for each pixel what the sum is multiplied by; 0 for the maximum.
EXPORT(pool)
void pool(const int *windows, const float *factors, int pixels, int channels, int row_bytes) {
  int column_bytes = 4 * channels;
  for (int i = 0; i < pixels; i++, windows += 4)
    for (int c = 0; c < channels; c += 4) {
      int at = windows[0] + 4 * c;
      v128_t result = factors ? wasm_f32x4_splat(0) : wasm_f32x4_splat(-__builtin_inff());
      for (int y = 0; y < windows[1]; y++)
        for (int x = 0; x < windows[2]; x++) {
          v128_t v = wasm_v128_load((const float *)(at + y * row_bytes + x * column_bytes));
          result = factors ? ADD(result, v) : wasm_f32x4_pmax(v, result);
        }
      if (factors)
        result = MUL(result, wasm_f32x4_splat(factors[i]));
      wasm_v128_store((float *)windows[3] + c, result);
    }
}
