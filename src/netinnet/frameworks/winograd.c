/* Convolutions with fewer multiplications, by Winograd's minimal filtering (Lavin and Gray, "Fast
   Algorithms for Convolutional Neural Networks", 2016).

   Pictures are float32, channels-last. A tile of 6 x 6 pixels gives 4 x 4 outputs of a 3 x 3 window
   or 2 x 2 outputs of a 5 x 5 window. Tile, window and outputs are seen as polynomials, given by
   their values at the points 0, 1, -1, 2, -2 and infinity in each direction. At each of these 36
   places a convolution is a product of two numbers, and over all channels, a matrix product.

   What is worked on at a time fits in a core's own cache. The order of a sum does not depend on the
   number of threads. */

#include <string.h>

#include "products.h"

#define SIDE 6
#define PLACES (SIDE * SIDE)
#define LARGEST_WINDOW 5
#define MOST_COLUMNS 4 /* vectors of output channels that are worked on at a time */
#define MOST_OUTPUTS 4 /* of a tile, in each direction */
#define GRADIENT_TILES 24 /* of which gradients are added up at a time */
#define CACHE (1300 * 1024) /* bytes that are worked on at a time, for 2 MB of a core's own */

/* Pictures in, pictures out, and how the first are cut into tiles. Output channels are a multiple
   of LANES. */
typedef struct {
    long count, height, width, channels;
    long out_height, out_width, out_channels;
    long window, padding, threads;
} sizes;

INLINE long outputs_of(const sizes *s) { return SIDE + 1 - s->window; }
INLINE long across(const sizes *s) { return parts(s->out_width, outputs_of(s)); }
INLINE long down(const sizes *s) { return parts(s->out_height, outputs_of(s)); }
INLINE long tiles_of(const sizes *s) { return s->count * down(s) * across(s); }

/* Vectors of a block of output channels: as many as divide them. */
INLINE long columns_of(const sizes *s) {
    long columns = MOST_COLUMNS;
    while (s->out_channels % (columns * LANES)) columns--;
    return columns;
}

INLINE long block_width(const sizes *s) { return columns_of(s) * LANES; }

/* ---- Transforms, in one direction. Values are `step` vectors apart. ---- */

/* 6 pixels: what they are worth at each point (in the paper, B transposed times d). */
INLINE void transform_input(const vector *d, vector *found, int step) {
    vector d0 = d[0], d1 = d[step], d2 = d[2 * step];
    vector d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    vector even = d4 - 4 * d2, odd = d3 - 4 * d1, even2 = d4 - d2, odd2 = 2 * (d3 - d1);
    found[0] = 4 * d0 - 5 * d2 + d4;
    found[step] = even + odd;
    found[2 * step] = even - odd;
    found[3 * step] = even2 + odd2;
    found[4 * step] = even2 - odd2;
    found[5 * step] = 4 * d1 - 5 * d3 + d5;
}

/* Products at each point: the outputs (A transposed times m). */
INLINE void transform_output(const vector *m, int step, vector *y, int y_step, int outputs) {
    vector sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    vector sum2 = m[3 * step] + m[4 * step], difference2 = m[3 * step] - m[4 * step];
    y[0] = m[0] + sum + sum2;
    if (outputs == 2) {
        y[y_step] = difference + 2 * difference2 + m[5 * step];
    } else {
        y[y_step] = difference + 2 * difference2;
        y[2 * y_step] = sum + 4 * sum2;
        y[3 * y_step] = difference + 8 * difference2 + m[5 * step];
    }
}

/* The transpose of `transform_output`: gradients of outputs, at each point. */
INLINE void transform_gradient(const vector *y, int y_step, vector *m, int step, int outputs) {
    vector y0 = y[0], y1 = y[y_step], zero = {0};
    vector y2 = outputs == 2 ? zero : y[2 * y_step], y3 = outputs == 2 ? zero : y[3 * y_step];
    vector even = y0 + y2, odd = y1 + y3, even2 = y0 + 4 * y2, odd2 = 2 * y1 + 8 * y3;
    m[0] = y0;
    m[step] = even + odd;
    m[2 * step] = even - odd;
    m[3 * step] = even2 + odd2;
    m[4 * step] = even2 - odd2;
    m[5 * step] = outputs == 2 ? y1 : y3;
}

/* What a pixel of a window counts at a point (the paper's G). At infinity only the highest power of
   a polynomial counts: the window's last pixel. */
INLINE float factor(int point, long pixel, long window) {
    static const float finite[SIDE - 1][LARGEST_WINDOW] = {
        {1 / 4.f, 0, 0, 0, 0},
        {-1 / 6.f, -1 / 6.f, -1 / 6.f, -1 / 6.f, -1 / 6.f},
        {-1 / 6.f, 1 / 6.f, -1 / 6.f, 1 / 6.f, -1 / 6.f},
        {1 / 24.f, 1 / 12.f, 1 / 6.f, 1 / 3.f, 2 / 3.f},
        {1 / 24.f, -1 / 12.f, 1 / 6.f, -1 / 3.f, 2 / 3.f},
    };
    return point < SIDE - 1 ? finite[point][pixel] : pixel == window - 1;
}

/* ---- Tiles of pictures ---- */

/* `side` x `side` pixels of a picture, LANES channels of each; outside there are zeros. */
INLINE void read_tile(const float *picture, long height, long width, long channels, long top,
                      long left, int side, vector *tile) {
    for (long i = 0; i < side; i++)
        for (long j = 0; j < side; j++) {
            long y = top + i, x = left + j;
            int is_inside = y >= 0 && y < height && x >= 0 && x < width;
            const float *at = picture + (y * width + x) * channels;
            tile[i * side + j] = is_inside ? load(at) : (vector){0};
        }
}

/* Tiles of the input: found[place, tile, channel], of `channels` channels from `first` on. */
static void read_input(const float *x, const sizes *s, long begin, long end, long first,
                       long channels, float *found, long place_step) {
    long each = down(s) * across(s), outputs = outputs_of(s);
    for (long tile = begin; tile < end; tile++) {
        const float *picture = x + tile / each * s->height * s->width * s->channels + first;
        long top = tile % each / across(s) * outputs - s->padding;
        long left = tile % across(s) * outputs - s->padding;
        for (long c = 0; c < channels; c += LANES) {
            vector d[PLACES], t[PLACES], u[PLACES];
            read_tile(picture + c, s->height, s->width, s->channels, top, left, SIDE, d);
            for (int i = 0; i < SIDE; i++) transform_input(d + i, t + i, SIDE);
            for (int i = 0; i < SIDE; i++) transform_input(t + i * SIDE, u + i * SIDE, 1);
            float *own = found + (tile - begin) * channels + c;
            for (int place = 0; place < PLACES; place++) store(own + place * place_step, u[place]);
        }
    }
}

INLINE void read_gradient_of(const float *g, const sizes *s, long begin, long end, long first,
                             float *found, long place_step, int outputs) {
    long each = down(s) * across(s), channels = block_width(s);
    for (long tile = begin; tile < end; tile++) {
        const float *picture = g + tile / each * s->out_height * s->out_width * s->out_channels;
        long top = tile % each / across(s) * outputs, left = tile % across(s) * outputs;
        for (long k = 0; k < channels; k += LANES) {
            vector d[MOST_OUTPUTS * MOST_OUTPUTS], t[SIDE * MOST_OUTPUTS], u[PLACES];
            read_tile(picture + first + k, s->out_height, s->out_width, s->out_channels, top, left,
                      outputs, d);
            for (int j = 0; j < outputs; j++)
                transform_gradient(d + j, outputs, t + j, outputs, outputs);
            for (int i = 0; i < SIDE; i++)
                transform_gradient(t + i * outputs, 1, u + i * SIDE, 1, outputs);
            float *own = found + (tile - begin) * channels + k;
            for (int place = 0; place < PLACES; place++) store(own + place * place_step, u[place]);
        }
    }
}

/* Tiles of the outputs' gradient: found[place, tile, channel], of a block of channels. */
static void read_gradient(const float *g, const sizes *s, long begin, long end, long first,
                          float *found, long place_step) {
    if (outputs_of(s) == 2)
        read_gradient_of(g, s, begin, end, first, found, place_step, 2);
    else
        read_gradient_of(g, s, begin, end, first, found, place_step, MOST_OUTPUTS);
}

INLINE void write_output_of(const float *found, long place_step, const sizes *s, long begin,
                            long end, long first, const float *bias, float *y, int outputs) {
    long each = down(s) * across(s), channels = block_width(s);
    for (long tile = begin; tile < end; tile++) {
        float *picture = y + tile / each * s->out_height * s->out_width * s->out_channels + first;
        long top = tile % each / across(s) * outputs, left = tile % across(s) * outputs;
        for (long k = 0; k < channels; k += LANES) {
            vector m[PLACES], t[MOST_OUTPUTS * SIDE], out[MOST_OUTPUTS * MOST_OUTPUTS];
            const float *own = found + (tile - begin) * channels + k;
            for (int place = 0; place < PLACES; place++) m[place] = load(own + place * place_step);
            for (int j = 0; j < SIDE; j++) transform_output(m + j, SIDE, t + j, SIDE, outputs);
            for (int i = 0; i < outputs; i++)
                transform_output(t + i * SIDE, 1, out + i * outputs, 1, outputs);
            vector plus = bias ? load(bias + first + k) : (vector){0};
            for (long i = 0; i < least(outputs, s->out_height - top); i++)
                for (long j = 0; j < least(outputs, s->out_width - left); j++)
                    store(picture + ((top + i) * s->out_width + left + j) * s->out_channels + k,
                          out[i * outputs + j] + plus);
        }
    }
}

/* A block of output channels, from products[place, tile, channel]. */
static void write_output(const float *found, long place_step, const sizes *s, long begin, long end,
                         long first, const float *bias, float *y) {
    if (outputs_of(s) == 2)
        write_output_of(found, place_step, s, begin, end, first, bias, y, 2);
    else
        write_output_of(found, place_step, s, begin, end, first, bias, y, MOST_OUTPUTS);
}

/* ---- Windows ---- */

/* LANES outputs' weights of one channel, `pixel_step` values apart: at each place. */
static void read_window(const float *weights, long pixel_step, long window, float *found,
                        long place_step) {
    vector t[SIDE][LARGEST_WINDOW];
    for (int i = 0; i < SIDE; i++)
        for (long j = 0; j < window; j++) {
            t[i][j] = (vector){0};
            for (long p = 0; p < window; p++)
                t[i][j] += factor(i, p, window) * load(weights + (p * window + j) * pixel_step);
        }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            vector total = {0};
            for (long q = 0; q < window; q++) total += factor(j, q, window) * t[i][q];
            store(found + (i * SIDE + j) * place_step, total);
        }
}

/* The transpose: gradients at each place, as gradients of the weights. */
static void write_window(const float *sums, long place_step, long window, float *found,
                         long pixel_step) {
    vector t[LARGEST_WINDOW][SIDE];
    for (long p = 0; p < window; p++)
        for (long j = 0; j < SIDE; j++) {
            t[p][j] = (vector){0};
            for (int i = 0; i < SIDE; i++)
                t[p][j] += factor(i, p, window) * load(sums + (i * SIDE + j) * place_step);
        }
    for (long p = 0; p < window; p++)
        for (long q = 0; q < window; q++) {
            vector total = {0};
            for (int j = 0; j < SIDE; j++) total += factor(j, q, window) * t[p][j];
            store(found + (p * window + q) * pixel_step, total);
        }
}

/* ---- What is worked on at a time. It decides no sum's order. ---- */

/* Tiles of all channels: as many as stay in the cache, few enough that each thread has some. */
static long chunk_of(const sizes *s) {
    long bytes = PLACES * (s->channels + block_width(s)) * sizeof(float);
    long fitting = CACHE / bytes / SUMS * SUMS;
    long share = rounded_up(parts(tiles_of(s), s->threads), SUMS);
    return fitting > SUMS ? least(fitting, share) : SUMS;
}

/* Rows of a block of the weights' gradient: input channels. */
static long block_rows(const sizes *s) {
    static const long wanted[] = {96, 64, 48, 32, 16, 8};
    long columns = s->out_channels / block_width(s);
    for (int i = 0; i < 6; i++)
        if (s->channels % wanted[i] == 0 && wanted[i] % LANES == 0 &&
            s->channels / wanted[i] * columns >= s->threads)
            return wanted[i];
    return LANES;
}

static long padded_rows(const sizes *s) { return rounded_up(block_rows(s), SUMS); }

/* ---- What is called from outside ---- */

/* How many values each thread needs for what is between. */
long convolve_room(const sizes *s) { return PLACES * chunk_of(s) * (s->channels + block_width(s)); }

long weight_gradient_room(const sizes *s) {
    long of_tiles = GRADIENT_TILES * (padded_rows(s) + block_width(s));
    return PLACES * (of_tiles + padded_rows(s) * block_width(s));
}

/* Weights [row, column, channel, output] at each place: [block, place, channel, output]. */
void transform_weights(const float *weights, const sizes *s, float *found) {
    long width = block_width(s), blocks = s->out_channels / width;
    long place_step = s->channels * width, pixel_step = s->channels * s->out_channels;
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (long unit = 0; unit < blocks * s->channels; unit++) {
        long block = unit / s->channels, channel = unit % s->channels;
        for (long k = 0; k < width; k += LANES)
            read_window(weights + channel * s->out_channels + block * width + k, pixel_step,
                        s->window, found + (block * PLACES * s->channels + channel) * width + k,
                        place_step);
    }
}

/* The convolution of x with transformed weights, and where there is one, the bias. */
void convolve(const float *x, const sizes *s, const float *factors, const float *bias, float *y,
              float *scratch) {
    long tiles = tiles_of(s), columns = columns_of(s), width = columns * LANES;
    long chunk = chunk_of(s), room = convolve_room(s);
#pragma omp parallel num_threads(s->threads)
    {
        float *values = scratch + omp_get_thread_num() * room;
        float *products = values + PLACES * chunk * s->channels;
        memset(values, 0, PLACES * chunk * s->channels * sizeof(float)); /* rows beyond the last */
#pragma omp for schedule(static)
        for (long begin = 0; begin < tiles; begin += chunk) {
            long end = least(begin + chunk, tiles);
            read_input(x, s, begin, end, 0, s->channels, values, chunk * s->channels);
            for (long first = 0; first < s->out_channels; first += width) {
                const float *own = factors + first * PLACES * s->channels;
                for (long place = 0; place < PLACES; place++)
                    multiply(values + place * chunk * s->channels, s->channels, 1,
                             own + place * s->channels * width, width, s->channels,
                             products + place * chunk * width, width, end - begin, columns, 0);
                write_output(products, chunk * width, s, begin, end, first, bias, y);
            }
        }
    }
}

/* The gradient of the weights, [row, column, channel, output], from that of the outputs. */
void weight_gradient(const float *x, const float *g, const sizes *s, float *found, float *scratch) {
    long tiles = tiles_of(s), columns = columns_of(s), width = columns * LANES;
    long rows = block_rows(s), padded = padded_rows(s);
    long room = weight_gradient_room(s), column_blocks = s->out_channels / width;
#pragma omp parallel num_threads(s->threads)
    {
        float *values = scratch + omp_get_thread_num() * room;
        float *gradients = values + PLACES * GRADIENT_TILES * padded;
        float *sums = gradients + PLACES * GRADIENT_TILES * width;
        /* Rows beyond the last are the next step's values: their sums are padding. */
        memset(values, 0, PLACES * GRADIENT_TILES * padded * sizeof(float));
#pragma omp for schedule(static)
        for (long unit = 0; unit < s->channels / rows * column_blocks; unit++) {
            long channel = unit / column_blocks * rows, output = unit % column_blocks * width;
            memset(sums, 0, PLACES * padded * width * sizeof(float));
            for (long begin = 0; begin < tiles; begin += GRADIENT_TILES) {
                long end = least(begin + GRADIENT_TILES, tiles);
                read_input(x, s, begin, end, channel, rows, values, GRADIENT_TILES * rows);
                read_gradient(g, s, begin, end, output, gradients, GRADIENT_TILES * width);
                for (long place = 0; place < PLACES; place++)
                    multiply(values + place * GRADIENT_TILES * rows, 1, rows,
                             gradients + place * GRADIENT_TILES * width, width, end - begin,
                             sums + place * padded * width, width, rows, columns, 1);
            }
            for (long row = 0; row < rows; row++)
                for (long k = 0; k < width; k += LANES)
                    write_window(sums + row * width + k, padded * width, s->window,
                                 found + (channel + row) * s->out_channels + output + k,
                                 s->channels * s->out_channels);
        }
    }
}
