// What the parts of the encoder share: the model, a batch, and vectors as wide as a register.
//
// Weights w [n, k] of a layer, packed so that 16 columns times 4 bytes of the inner dimension make a line of
// 64 bytes (float32: g = 1 number, bfloat16: 2, int8: 4), which AMX tiles, VNNI and plain vectors all read:
//
//     panel 0 (columns 0..15)     line 0: | c0: 0 .. g-1 | c1: 0 .. g-1 | ... | c15: 0 .. g-1 |
//                                 line 1: | c0: g .. 2g-1 | ...
//     panel 1 (columns 16..31)    ...
//
// A batch: texts one after another, without padding; a thread takes a chunk of them at a time:
//
//     ids     | text 0 | text 1 | text 2 | text 3 | ...
//     start   0        5        9        20 ...          first token of every text
//     chunk   0                 2 ...                    first text of every chunk
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "amx.h"
#include "threads.h"
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// What encode() returns besides 0.
enum { NO_MEMORY = 1, UNKNOWN_ID = 2, TOO_LONG = 3 };
enum { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2 };
// Numbers a register holds, and a block of sums: its columns, its rows, and its rows of integers. It takes
// most of the registers, the rest hold a line of weights, a number of a row and what is between. A vector
// wider than a register is kept in memory by gcc, at a fiftieth of the speed.
#if defined(__AVX512F__)
enum { WIDE = 16, COLUMNS = 32, ROWS = 14, INT_ROWS = 14 }; // 28 of 32 registers
#elif defined(__AVX2__) && defined(__AVXVNNI__)
enum { WIDE = 8, COLUMNS = 16, ROWS = 6, INT_ROWS = 6 }; // 12 of 16
#elif defined(__AVX2__)
enum { WIDE = 8, COLUMNS = 16, ROWS = 6, INT_ROWS = 5 }; // 12 and 10 of 16
#elif defined(__aarch64__)
enum { WIDE = 4, COLUMNS = 16, ROWS = 6, INT_ROWS = 6 }; // 24 of 32
#else
enum { WIDE = 4, COLUMNS = 16, ROWS = 2, INT_ROWS = 1 }; // 8 of 16
#endif
// Rows of a layer's halves, rows that may be read beyond the last.
enum { TEXT_ROWS = 144, FEED_ROWS = 112, SPARE = 32, GROUP = 8, PART = 24 * 1024 / 4 / COLUMNS };

typedef struct {
  int64_t n, k;                      // output and inner dimension; n is a multiple of 32
  const void *packed;                // the layout above, k filled up with zeros to 64 bytes
  const float *scale, *shift, *bias; // [n]; int8: a step of the weights, and scale * sum of codes
} Linear;

typedef struct {
  Linear qkv, out, up, down;
  const float *gain1, *bias1, *gain2, *bias2; // the two layer norms, [hidden]
} Layer;

typedef struct {
  int64_t precision, hidden, heads;
  int64_t mixed; // numbers of all heads: hidden where none was pruned
  int64_t feed, n_layers, n_words, n_positions;
  double epsilon;
  const Layer *layers;
  const int8_t *words;      // int8: codes [vocabulary, hidden] ...
  const float *word_scale;  // ... and their steps [vocabulary]
  const float *word_rows;   // otherwise rows [vocabulary, hidden]
  const float *positions;   // [positions, hidden], token type included
  const float *gain, *bias; // layer norm of the embedding
} Model;

typedef struct {
  int64_t n_texts, n_chunks;
  const int64_t *start; // [n_texts + 1] first token of every text
  const int64_t *chunk; // [n_chunks + 1] first text of every chunk
  const int32_t *ids;   // [tokens]
  const float *weight;  // [tokens] how much a token counts in the pooled vector
  float *vectors;       // [n_texts, hidden]
  atomic_long *next;
} Batch;

typedef float floats __attribute__((vector_size(4 * WIDE)));
typedef int32_t wholes __attribute__((vector_size(4 * WIDE)));
typedef float unaligned __attribute__((vector_size(4 * WIDE), aligned(4), may_alias));

static int64_t row_bytes(int precision, int64_t k) {
  return up_to(precision == INT8 ? k : precision == BFLOAT16 ? 2 * k : 4 * k, 64);
}
