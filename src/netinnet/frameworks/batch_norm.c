/* Batch norm in training, with the ReLU behind it, each in one pass over memory.

   Values are rows x channels: what channels-last pictures are, a row for each position. They are
   float32, or bfloat16 where BFLOAT16 is defined; what is computed of them is float32. Of few
   channels several rows count as one, so that loops over channels are long: `channels` is then a
   multiple, `turns` times what there are, and what there is of each channel is given as often.

   A sum is added up block by block in float32, and over the blocks in double, always in the same
   order: it does not depend on the number of threads, and is as exact as sums of sums are. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 128 /* rows that are worked on at a time: they stay in the cache */

#ifdef BFLOAT16
typedef uint16_t value;

static inline float widened(value v) {
    uint32_t bits = (uint32_t)v << 16;
    float found;
    memcpy(&found, &bits, sizeof found);
    return found;
}

/* To the nearest, halves to even. What is no number stays none. */
static inline value narrowed(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return v == v ? (value)rounded : (value)0x7fc0;
}
#else
typedef float value;

static inline float widened(value v) { return v; }
static inline value narrowed(float v) { return v; }
#endif

static inline long blocks_of(long rows) { return (rows + BLOCK - 1) / BLOCK; }

static inline long rows_of(long block, long rows) {
    long left = rows - block * BLOCK;
    return left < BLOCK ? left : BLOCK;
}

/* What a ReLU makes of lower values; without one there are none. */
static inline float lowest(int relu) { return relu ? 0 : -INFINITY; }

/* A gradient where the ReLU has let its value through. One that is no number is let through, so
   that it is noticed. */
static inline float let_through(float gradient, float x, float scale, float offset, float low) {
    return x * scale + offset <= low ? 0 : gradient;
}

/* How many values `statistics` and `sums` need for what they find of each block. */
long scratch_size(long rows, long channels) { return blocks_of(rows) * 2 * channels; }

/* The mean and the (biased) variance of each channel, once. */
void statistics(const value *restrict x, long rows, long channels, long turns, int threads,
                float *restrict scratch, float *restrict mean, float *restrict variance) {
    long blocks = blocks_of(rows);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long block = 0; block < blocks; block++) {
        const value *restrict own = x + block * BLOCK * channels;
        float *restrict means = scratch + block * 2 * channels;
        float *restrict squares = means + channels;
        long count = rows_of(block, rows), row = 0;
        memset(means, 0, 2 * channels * sizeof(float));
        for (; row + 4 <= count; row += 4) {
            const value *restrict a = own + row * channels, *restrict b = a + channels;
            const value *restrict c = b + channels, *restrict d = c + channels;
#pragma omp simd
            for (long i = 0; i < channels; i++)
                means[i] += (widened(a[i]) + widened(b[i])) + (widened(c[i]) + widened(d[i]));
        }
        for (; row < count; row++)
#pragma omp simd
            for (long i = 0; i < channels; i++) means[i] += widened(own[row * channels + i]);
#pragma omp simd
        for (long i = 0; i < channels; i++) means[i] /= (float)count;
        for (row = 0; row + 4 <= count; row += 4) {
            const value *restrict a = own + row * channels, *restrict b = a + channels;
            const value *restrict c = b + channels, *restrict d = c + channels;
#pragma omp simd
            for (long i = 0; i < channels; i++) {
                float p = widened(a[i]) - means[i], q = widened(b[i]) - means[i];
                float r = widened(c[i]) - means[i], s = widened(d[i]) - means[i];
                squares[i] += (p * p + q * q) + (r * r + s * s);
            }
        }
        for (; row < count; row++)
#pragma omp simd
            for (long i = 0; i < channels; i++) {
                float p = widened(own[row * channels + i]) - means[i];
                squares[i] += p * p;
            }
    }
    long different = channels / turns;
    for (long i = 0; i < different; i++) {
        double total = 0, squares = 0;
        for (long block = 0; block < blocks; block++)
            for (long turn = 0; turn < turns; turn++) {
                long at = block * 2 * channels + turn * different + i;
                total += (double)scratch[at] * rows_of(block, rows);
            }
        double centre = total / (rows * turns);
        for (long block = 0; block < blocks; block++)
            for (long turn = 0; turn < turns; turn++) {
                const float *own = scratch + block * 2 * channels + turn * different + i;
                double away = own[0] - centre;
                squares += own[channels] + away * away * rows_of(block, rows);
            }
        mean[i] = (float)centre;
        variance[i] = (float)(squares / (rows * turns));
    }
}

/* y = x * scale + offset, and its ReLU. */
void normalise(const value *restrict x, value *restrict y, long rows, long channels, int threads,
               const float *restrict scale, const float *restrict offset, int relu) {
    float low = lowest(relu);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < rows; row++) {
        const value *restrict from = x + row * channels;
        value *restrict to = y + row * channels;
#pragma omp simd
        for (long i = 0; i < channels; i++) {
            float v = widened(from[i]) * scale[i] + offset[i];
            to[i] = narrowed(v < low ? low : v);
        }
    }
}

/* Of the gradient g of y, as the ReLU lets it through: the sums of g and of g * (x - mean) of each
   channel, once. */
void sums(const value *restrict x, const value *restrict gradient, long rows, long channels,
          long turns, int threads, float *restrict scratch, const float *restrict mean,
          const float *restrict scale, const float *restrict offset, int relu,
          float *restrict of_g, float *restrict of_products) {
    long blocks = blocks_of(rows);
    float low = lowest(relu);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long block = 0; block < blocks; block++) {
        float *restrict plain = scratch + block * 2 * channels;
        float *restrict products = plain + channels;
        long row = block * BLOCK, last = row + rows_of(block, rows);
        memset(plain, 0, 2 * channels * sizeof(float));
        for (; row + 2 <= last; row += 2) {
            const value *restrict a = x + row * channels, *restrict b = a + channels;
            const value *restrict of_a = gradient + row * channels, *restrict of_b = of_a + channels;
#pragma omp simd
            for (long i = 0; i < channels; i++) {
                float p = widened(a[i]), q = widened(b[i]);
                float g = let_through(widened(of_a[i]), p, scale[i], offset[i], low);
                float h = let_through(widened(of_b[i]), q, scale[i], offset[i], low);
                plain[i] += g + h;
                products[i] += g * (p - mean[i]) + h * (q - mean[i]);
            }
        }
        for (; row < last; row++)
#pragma omp simd
            for (long i = 0; i < channels; i++) {
                float p = widened(x[row * channels + i]), g = widened(gradient[row * channels + i]);
                g = let_through(g, p, scale[i], offset[i], low);
                plain[i] += g;
                products[i] += g * (p - mean[i]);
            }
    }
    long different = channels / turns;
    for (long i = 0; i < different; i++) {
        double plain = 0, products = 0;
        for (long block = 0; block < blocks; block++)
            for (long turn = 0; turn < turns; turn++) {
                long at = block * 2 * channels + turn * different + i;
                plain += scratch[at];
                products += scratch[at + channels];
            }
        of_g[i] = (float)plain;
        of_products[i] = (float)products;
    }
}

/* The gradient of x: g * scale + x * slope + shift. It may take the place of g. */
void input_gradient(const value *restrict x, const value *gradient, value *of_x,
                    long rows, long channels, int threads, const float *restrict scale,
                    const float *restrict offset, const float *restrict slope,
                    const float *restrict shift, int relu) {
    float low = lowest(relu);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < rows; row++) {
        const value *restrict from = x + row * channels;
        const value *g = gradient + row * channels;
        value *to = of_x + row * channels;
#pragma omp simd
        for (long i = 0; i < channels; i++) {
            float v = widened(from[i]);
            float own = let_through(widened(g[i]), v, scale[i], offset[i], low);
            to[i] = narrowed(own * scale[i] + (v * slope[i] + shift[i]));
        }
    }
}
