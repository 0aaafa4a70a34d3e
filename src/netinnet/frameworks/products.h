/* Products of small matrices of float32, by vectors of a processor with AVX2 or AVX-512.

   Both make the same bits: each sum is added up in one order, whatever the number of lanes, and a
   product is added without being rounded only where the source says so. */

#pragma once

#include <immintrin.h>

#if !defined(__AVX2__) || !defined(__FMA__)
#error "the processor has no AVX2"
#endif

#if defined(__AVX512F__) && !defined(NARROW)
#define LANES 16
#define SUMS 24  /* vectors of sums that stay in registers */
#define WIDEST 4 /* vectors of columns that are worked on at a time */
#else
#define LANES 8
#define SUMS 12
#define WIDEST 2 /* more would be read from memory again for each row */
#endif

typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

#define INLINE static inline __attribute__((always_inline))

INLINE vector load(const float *at) { return *(const vector *)at; }
INLINE void store(float *at, vector v) { *(vector *)at = v; }

/* a * b + c, rounded once. */
INLINE vector fused(vector a, vector b, vector c) {
#if LANES == 16
    return (vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#else
    return (vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#endif
}

INLINE vector spread(float value) { return value - (vector){0}; }
INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long parts(long length, long each) { return (length + each - 1) / each; }
INLINE long rounded_up(long a, long step) { return parts(a, step) * step; }

int omp_get_thread_num(void);

/* sums[row, column] = values[row, step] * factors[step, column], added up over the steps, where
   `adds` on top of what is there. `columns` is in vectors. There are SUMS / columns rows. */
INLINE void multiply_rows(const float *restrict values, long row_step, long value_step,
                          const float *restrict factors, long factor_step, long steps,
                          float *restrict sums, long sum_step, int columns, int adds) {
    vector total[SUMS], own[WIDEST];
    const int rows = SUMS / columns;
#pragma GCC unroll 24
    for (int i = 0; i < SUMS; i++) total[i] = (vector){0};
    for (long step = 0; step < steps; step++) {
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++) own[j] = load(factors + step * factor_step + j * LANES);
#pragma GCC unroll 24
        for (int i = 0; i < rows; i++) {
            vector value = spread(values[i * row_step + step * value_step]);
#pragma GCC unroll 4
            for (int j = 0; j < columns; j++)
                total[i * columns + j] = fused(value, own[j], total[i * columns + j]);
        }
    }
#pragma GCC unroll 24
    for (int i = 0; i < SUMS; i++) {
        float *at = sums + (i / columns) * sum_step + (i % columns) * LANES;
        store(at, adds ? load(at) + total[i] : total[i]);
    }
}

/* All rows and columns. Rows are taken SUMS at a time or fewer: up to a multiple of SUMS `values`
   must be readable and `sums` writable. What comes out of rows that are too many is not used. */
static void multiply(const float *values, long row_step, long value_step, const float *factors,
                     long factor_step, long steps, float *sums, long sum_step, long rows,
                     long columns, int adds) {
#define CASE(N)                                                                                    \
    case N:                                                                                        \
        for (long row = 0; row < rows; row += SUMS / N)                                            \
            multiply_rows(values + row * row_step, row_step, value_step, factors + c * LANES,      \
                          factor_step, steps, sums + row * sum_step + c * LANES, sum_step, N,      \
                          adds);                                                                   \
        break;
    for (long c = 0, taken; c < columns; c += taken) {
        long left = columns - c; /* one more than the most is two equal halves, not most and 1 */
        taken = left == WIDEST + 1 ? (left + 1) / 2 : least(left, WIDEST);
        switch (taken) {
            CASE(1)
            CASE(2)
#if WIDEST > 2
            CASE(3)
            CASE(4)
#endif
        }
    }
#undef CASE
}

int lanes(void) { return LANES; } /* of whichever source this is part of */
