/* 1 x 1 convolutions in training with the batch norm and ReLU around them, in one pass over memory.

   A layer is z = ReLU(x * scale + offset), what batch norm and its ReLU make of x, and y = z W. x and
   y are float32, rows x channels: what channels-last pictures are, a row for each position. z is
   never in memory: it is made again, a block of rows at a time, where it is needed. While a block is
   computed, memory is asked for the next one.

   What is found of a block is added up over the blocks in double, and the weights' gradient over
   PARTS of the blocks, always in the same order: nothing depends on the number of threads. */

#include <string.h>

#include "products.h"

/* Given from outside (networks/pixel_networks.py):
   BLOCK: rows that are worked on at a time, a multiple of SUMS
   PARTS: of the rows, each of which adds up its own gradient of the weights
   MOST: channels */

#define LINE 16 /* values that memory gives at a time */

typedef int mask __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

/* A layer's inputs and outputs, at least LANES of each. */
typedef struct {
    long rows, channels, outputs, threads;
} sizes;

/* Of batch norm and its ReLU, of each channel. y = x * scale + offset, at least `low`; the gradient
   of x is that of y * scale + x * slope + shift. */
typedef struct {
    const float *scale, *offset, *mean, *slope, *shift;
    float low;
} line;

INLINE long padded(long channels) { return rounded_up(channels, LANES); }
INLINE long blocks_of(const sizes *s) { return parts(s->rows, BLOCK); }

/* 0 or less behind the last block. */
INLINE long rows_of(const sizes *s, long block) { return least(BLOCK, s->rows - block * BLOCK); }

/* Where the vector of channels after `c` begins: the last one ends with the channels. */
INLINE long next_of(long c, long channels) {
    return c + LANES == channels ? channels : least(c + LANES, channels - LANES);
}

INLINE vector where(mask is, vector v) { return (vector)(is & (mask)v); }

/* The larger one; what is no number stays none. */
INLINE vector at_least(vector v, vector low) {
    mask is_lower = v < low;
    return (vector)((is_lower & (mask)low) | (~is_lower & (mask)v));
}

/* ---- Of a block of rows ---- */

static void normalise(const float *restrict x, const line *l, long rows, long channels,
                      float *restrict z, long step) {
    vector low = spread(l->low);
    for (long row = 0; row < rows; row++, x += channels, z += step)
        for (long c = 0; c < channels; c = next_of(c, channels))
            store(z + c, at_least(load(x + c) * load(l->scale + c) + load(l->offset + c), low));
}

/* The gradient of x, from that of what `normalise` makes of it. */
static void gradient_of(const float *restrict x, const float *restrict g, const line *l, long rows,
                        long channels, float *restrict found, long step) {
    vector low = spread(l->low);
    for (long row = 0; row < rows; row++, x += channels, g += channels, found += step)
        for (long c = 0; c < channels; c = next_of(c, channels)) {
            vector v = load(x + c), own = load(g + c), scale = load(l->scale + c);
            own = where(~(v * scale + load(l->offset + c) <= low), own);
            store(found + c, own * scale + (v * load(l->slope + c) + load(l->shift + c)));
        }
}

/* The mean of each channel, and the sum of squared differences from it. */
static void statistics_of(const float *y, long rows, long channels, float *means, float *squares) {
    for (long c = 0; c < channels; c += LANES) {
        vector total = {0}, square = {0};
        for (long row = 0; row < rows; row++) total += load(y + row * channels + c);
        vector mean = total / (float)rows;
        for (long row = 0; row < rows; row++) {
            vector away = load(y + row * channels + c) - mean;
            square += away * away;
        }
        store(means + c, mean);
        store(squares + c, square);
    }
}

/* The gradient h of z, as the ReLU lets it through: the sums of it and of it * (x - mean). */
static void sums_of(const float *x, const float *z, const float *h, long step, const line *l,
                    long rows, long channels, float *plain, float *products) {
    for (long c = 0; c < channels; c = next_of(c, channels)) {
        vector sum = {0}, product = {0}, mean = load(l->mean + c), low = {0};
        for (long row = 0; row < rows; row++) {
            vector own = where(~(load(z + row * step + c) <= low), load(h + row * step + c));
            sum += own;
            product += own * (load(x + row * channels + c) - mean);
        }
        store(plain + c, sum);
        store(products + c, product);
    }
}

/* Rows whose values are `step` apart, one after the other. */
static void write_rows(const float *from, long step, long rows, long channels, float *to) {
    if (step == channels)
        memcpy(to, from, rows * channels * sizeof(float));
    else
        for (long row = 0; row < rows; row++)
            memcpy(to + row * channels, from + row * step, channels * sizeof(float));
}

INLINE void ask_for(const float *values, long count) {
    for (long i = 0; i < count; i += LINE) __builtin_prefetch(values + i);
}

/* A product (see `multiply`) that asks for values ahead, some before each SUMS rows. */
static void multiply_asking(const float *ahead, long count, const float *values, long row_step,
                            long value_step, const float *factors, long factor_step, long steps,
                            float *sums, long sum_step, long rows, long columns, int adds) {
    long each = rounded_up(parts(count, parts(rows, SUMS)), LINE);
    for (long row = 0; row < rows; row += SUMS, ahead += each, count -= each) {
        ask_for(ahead, least(count, each));
        multiply(values + row * row_step, row_step, value_step, factors, factor_step, steps,
                 sums + row * sum_step, sum_step, least(SUMS, rows - row), columns, adds);
    }
}

/* ---- What is called from outside ---- */

/* Products take rows in groups: so many more are read, and written. */
INLINE long with_slack(long rows, long channels) {
    return (rounded_up(rows, SUMS) + 1) * padded(channels);
}

/* What a thread works on: z and as much again, and the gradient of y or y. */
static long room_of_thread(const sizes *s) {
    return 2 * with_slack(BLOCK, s->channels) + with_slack(BLOCK, s->outputs);
}

/* How many values the threads need for what is between, and for what is found of each block. */
long forward_room(const sizes *s) {
    return s->threads * room_of_thread(s) + blocks_of(s) * 2 * padded(s->outputs);
}

long backward_room(const sizes *s) {
    return s->threads * room_of_thread(s) + PARTS * with_slack(s->outputs, s->channels) +
           blocks_of(s) * 2 * s->channels;
}

/* y = ReLU(x * scale + offset) W, and the mean and (biased) variance of each output. Weights are
   channels x outputs, these padded with zeros to a multiple of LANES, as are mean and variance. */
void forward(const float *x, const sizes *s, const line *l, const float *weights, float *y,
             float *scratch, float *mean, float *variance) {
    long blocks = blocks_of(s), step = padded(s->channels), columns = padded(s->outputs);
    float *found = scratch + s->threads * room_of_thread(s);
#pragma omp parallel num_threads(s->threads)
    {
        float *z = scratch + omp_get_thread_num() * room_of_thread(s);
        float *own = z + with_slack(BLOCK, s->channels);
        memset(z, 0, room_of_thread(s) * sizeof(float));
#pragma omp for schedule(static)
        for (long block = 0; block < blocks; block++) {
            long first = block * BLOCK, rows = rows_of(s, block), more = rows_of(s, block + 1);
            const float *from = x + first * s->channels;
            float *means = found + block * 2 * columns;
            normalise(from, l, rows, s->channels, z, step);
            multiply_asking(from + rows * s->channels, more * s->channels, z, step, 1, weights,
                            columns, s->channels, own, columns, rows, columns / LANES, 0);
            write_rows(own, columns, rows, s->outputs, y + first * s->outputs);
            statistics_of(own, rows, columns, means, means + columns);
        }
    }
    double totals[MOST] = {0}, squares[MOST] = {0};
    for (long block = 0; block < blocks; block++)
        for (long i = 0; i < columns; i++)
            totals[i] += (double)found[block * 2 * columns + i] * rows_of(s, block);
    for (long block = 0; block < blocks; block++)
        for (long i = 0; i < columns; i++) {
            const float *own = found + block * 2 * columns + i;
            double away = own[0] - totals[i] / s->rows;
            squares[i] += own[columns] + away * away * rows_of(s, block);
        }
    for (long i = 0; i < columns; i++) {
        mean[i] = (float)(totals[i] / s->rows);
        variance[i] = (float)(squares[i] / s->rows);
    }
}

/* From the gradient g of what the next batch norm (`next`) makes of y: the gradient h of z, that of
   the weights, and of h as the ReLU lets it through, the sums of it and of it * (x - mean). Weights
   are outputs x channels, these padded with zeros to a multiple of LANES, as is their gradient. */
void backward(const float *x, const float *y, const float *g, const sizes *s, const line *l,
              const line *next, const float *weights, float *h, float *of_weights, float *scratch,
              float *of_h, float *of_products) {
    long blocks = blocks_of(s), step = padded(s->outputs), columns = padded(s->channels);
    long part_size = with_slack(s->outputs, s->channels);
    float *in_parts = scratch + s->threads * room_of_thread(s);
    float *found = in_parts + PARTS * part_size;
#pragma omp parallel num_threads(s->threads)
    {
        float *z = scratch + omp_get_thread_num() * room_of_thread(s);
        float *own = z + with_slack(BLOCK, s->channels);
        float *of_y = own + with_slack(BLOCK, s->channels);
        memset(z, 0, room_of_thread(s) * sizeof(float));
#pragma omp for schedule(static)
        for (long part = 0; part < PARTS; part++) {
            float *total = in_parts + part * part_size;
            memset(total, 0, part_size * sizeof(float));
            for (long block = part * blocks / PARTS; block < (part + 1) * blocks / PARTS; block++) {
                long first = block * BLOCK, rows = rows_of(s, block), more = rows_of(s, block + 1);
                const float *from = x + first * s->channels;
                const float *y_from = y + first * s->outputs, *g_from = g + first * s->outputs;
                float *sums = found + block * 2 * s->channels;
                gradient_of(y_from, g_from, next, rows, s->outputs, of_y, step);
                normalise(from, l, rows, s->channels, z, columns);
                multiply_asking(y_from + rows * s->outputs, more * s->outputs, of_y, 1, step, z,
                                columns, rows, total, columns, s->outputs, columns / LANES, 1);
                multiply_asking(g_from + rows * s->outputs, more * s->outputs, of_y, step, 1,
                                weights, columns, s->outputs, own, columns, rows, columns / LANES,
                                0);
                write_rows(own, columns, rows, s->channels, h + first * s->channels);
                sums_of(from, z, own, columns, l, rows, s->channels, sums, sums + s->channels);
                ask_for(from + rows * s->channels, more * s->channels);
            }
        }
    }
    memcpy(of_weights, in_parts, s->outputs * columns * sizeof(float));
    for (long part = 1; part < PARTS; part++)
        for (long i = 0; i < s->outputs * columns; i++)
            of_weights[i] += in_parts[part * part_size + i];
    double plain[MOST] = {0}, products[MOST] = {0};
    for (long block = 0; block < blocks; block++)
        for (long i = 0; i < s->channels; i++) {
            plain[i] += found[block * 2 * s->channels + i];
            products[i] += found[(block * 2 + 1) * s->channels + i];
        }
    for (long i = 0; i < s->channels; i++) {
        of_h[i] = (float)plain[i];
        of_products[i] = (float)products[i];
    }
}
