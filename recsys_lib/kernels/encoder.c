// A BERT encoder over ragged batches: no padding is computed, activations stay in the cache, and products are made in 8-bit
// integers, bfloat16 or float32 with whatever the processor has for them.
//
// Texts lie one after another. A thread takes a chunk of them through all layers; inside a layer it works on blocks of rows small enough
// for the level-2 cache, so that the weights are read from further away once per block.
//
// Integers: weights are symmetric per output channel; activations are rounded per token to 0..255 between the token's least and greatest value
// (asymmetric, as GELU's output is). With x = least + step * code and w = scale * code, a product is
//     sum x w = scale * (step * sum code code) + least * (scale * sum w code):
// the sums of products are exact 32-bit integers, and so are they on every machine.
//
// All three precisions keep weights in the same layout of 64-byte lines, [columns / 16][inner / g][16 columns][g], where g numbers fill 4 bytes
// (1 float32, 2 bfloat16, 4 int8). It is the layout that AMX tiles, VNNI and plain vectors all read.
#define _GNU_SOURCE
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "threads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__) && defined(__AMX_INT8__) && defined(__AMX_BF16__)
#define HAVE_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

// What encode() returns besides 0.
enum { NO_MEMORY = 1, UNKNOWN_ID = 2, TOO_LONG = 3 };
enum { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2 };
// Numbers a register holds, and rows a block of sums has: as many as there are registers for. A vector wider than a register is kept in
// memory by gcc, at a fiftieth of the speed.
#if defined(__AVX512F__)
enum { WIDE = 16, ROWS = 14 };
#elif defined(__AVX2__)
enum { WIDE = 8, ROWS = 3 };
#elif defined(__aarch64__)
enum { WIDE = 4, ROWS = 3 };
#else
enum { WIDE = 4, ROWS = 1 };
#endif
// Rows of a layer's halves, rows that may be read beyond the last.
enum { TEXT_ROWS = 144, FEED_ROWS = 112, SPARE = 32, GROUP = 8, PART = 192 };

typedef struct {
  int64_t n, k;                       // output and inner dimension; n is a multiple of 32
  const void *packed;                 // the layout above, k filled up with zeros to 64 bytes
  const float *scale, *shift, *bias;  // [n]; int8: a step of the weights, and scale * sum of codes
} Linear;

typedef struct {
  Linear qkv, out, up, down;
  const float *gain1, *bias1, *gain2, *bias2;  // the two layer norms, [hidden]
} Layer;

typedef struct {
  int64_t precision, hidden, heads, mixed, feed, n_layers, n_words, n_positions;  // mixed: numbers of all heads, hidden where none was taken away
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
  const int64_t *start;  // [n_texts + 1] first token of every text
  const int64_t *chunk;  // [n_chunks + 1] first text of every chunk
  const int32_t *ids;    // [tokens]
  const float *weight;   // [tokens] how much a token counts in the pooled vector
  float *vectors;        // [n_texts, hidden]
  atomic_long *next;
} Batch;

typedef float floats __attribute__((vector_size(4 * WIDE)));
typedef int32_t wholes __attribute__((vector_size(4 * WIDE)));
typedef float unaligned __attribute__((vector_size(4 * WIDE), aligned(4), may_alias));

static int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
static int64_t row_bytes(int precision, int64_t k) { return up_to(precision == INT8 ? k : precision == BFLOAT16 ? 2 * k : 4 * k, 64); }

// ---------------------------------------------------------------- products

// acc += WIDE columns of b (a line or a part of one) times 4 bytes of a.
static inline __attribute__((always_inline)) floats dot_f32(floats acc, const uint8_t *a, const uint8_t *b) {
  float x;
  memcpy(&x, a, 4);
  return acc + x * *(const unaligned *)b;
}

static inline __attribute__((always_inline)) floats dot_bf16(floats acc, const uint8_t *a, const uint8_t *b) {
#ifdef __AVX512BF16__
  int32_t x;
  memcpy(&x, a, 4);
  return (floats)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32(x), (__m512bh)_mm512_loadu_si512(b));
#else
  // The upper half of a float32 is its bfloat16.
  uint32_t x;
  wholes y;
  memcpy(&x, a, 4), memcpy(&y, b, sizeof y);
  uint32_t low = x << 16, high = x & 0xffff0000u;
  float first, second;
  memcpy(&first, &low, 4), memcpy(&second, &high, 4);
  return acc + first * (floats)(y << 16) + second * (floats)(y & (int32_t)0xffff0000u);
#endif
}

static inline __attribute__((always_inline)) wholes dot_int8(wholes acc, const uint8_t *a, const uint8_t *b) {
#if defined(__AVX512VNNI__)
  int32_t x;
  memcpy(&x, a, 4);
  return (wholes)_mm512_dpbusd_epi32((__m512i)acc, _mm512_set1_epi32(x), _mm512_loadu_si512(b));
#elif defined(__AVX2__) && !defined(__AVX512F__)
  // Even and odd bytes apart, widened to 16 bits: the one instruction that multiplies bytes as they are may overflow.
  int32_t x;
  memcpy(&x, a, 4);
  __m256i all = _mm256_set1_epi32(x), w = _mm256_loadu_si256((const __m256i *)b);
  __m256i even = _mm256_madd_epi16(_mm256_and_si256(all, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8));
  __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(all, 8), _mm256_srai_epi16(w, 8));
  return acc + (wholes)_mm256_add_epi32(even, odd);
#else
  wholes w;
  memcpy(&w, b, sizeof w);
  return acc + a[0] * (w << 24 >> 24) + a[1] * (w << 16 >> 24) + a[2] * (w << 8 >> 24) + a[3] * (w >> 24);
#endif
}

// Sums of ROWS rows and 32 columns over `lines` groups of 4 bytes, into sums [ROWS][32].
#define BLOCK(name, vector, dot)                                                                                  \
  static void name(const uint8_t *a, int64_t stride, const uint8_t *b, int64_t panel, int64_t lines, void *sums) { \
    vector acc[ROWS][32 / WIDE];                                                                                  \
    memset(acc, 0, sizeof acc);                                                                                   \
    for (int64_t i = 0; i < lines; i++)                                                                           \
      for (int r = 0; r < ROWS; r++)                                                                              \
        for (int c = 0; c < 32 / WIDE; c++)                                                                       \
          acc[r][c] = dot(acc[r][c], a + r * stride + 4 * i, b + c * WIDE / 16 * panel + 64 * i + c * WIDE % 16 * 4); \
    memcpy(sums, acc, sizeof acc);                                                                                \
  }
BLOCK(block_f32, floats, dot_f32)
BLOCK(block_bf16, floats, dot_bf16)
BLOCK(block_int8, wholes, dot_int8)

// What the sums of one row and 32 columns stand for; `more` adds them to what an earlier part of the inner dimension gave.
static inline void finish(int integer, int more, const void *sums, const Linear *w, int64_t column, float step, float least, float *out) {
  for (int c = 0; c < 32; c += WIDE) {
    unaligned *to = (unaligned *)(out + column + c);
    floats sum;
    if (integer) {
      wholes whole;
      memcpy(&whole, (const int32_t *)sums + c, sizeof whole);
      sum = __builtin_convertvector(whole, floats) * (step * *(const unaligned *)(w->scale + column + c));
      sum += least * *(const unaligned *)(w->shift + column + c);
    } else {
      memcpy(&sum, (const float *)sums + c, sizeof sum);
    }
    *to = sum + (more ? *to : *(const unaligned *)(w->bias + column + c));
  }
}

#ifdef HAVE_AMX
static int amx_allowed(void) {
  static atomic_int known;  // 0 not asked, 1 allowed, 2 refused
  if (!known) known = syscall(SYS_arch_prctl, 0x1023, 18) == 0 ? 1 : 2;  // ARCH_REQ_XCOMP_PERM, tile data
  return known == 1;
}

static void amx_begin(void) {
  struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } __attribute__((packed)) config;
  memset(&config, 0, sizeof config);
  config.palette = 1;
  for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
  _tile_loadconfig(&config);
}

// Tiles 0..3 hold sums, 4 and 5 rows of a, 6 and 7 columns of b. The compiler does not see that tiles touch memory: BARRIER tells it.
#define BARRIER __asm__ volatile("" ::: "memory")
#define AMX_BLOCK(name, dot)                                                                                               \
  static void name(const uint8_t *a, int64_t stride, const uint8_t *b, int64_t panel, int64_t lines, int two, void *sums) { \
    BARRIER;                                                                                                               \
    _tile_zero(0);                                                                                                         \
    _tile_zero(1);                                                                                                         \
    _tile_zero(2);                                                                                                         \
    _tile_zero(3);                                                                                                         \
    for (int64_t i = 0; i < lines; i += 16) {                                                                              \
      _tile_loadd(6, b + 64 * i, 64);                                                                                      \
      _tile_loadd(4, a + 4 * i, stride);                                                                                   \
      _tile_loadd(7, b + panel + 64 * i, 64);                                                                              \
      dot(0, 4, 6);                                                                                                        \
      dot(1, 4, 7);                                                                                                        \
      if (two) {                                                                                                           \
        _tile_loadd(5, a + 16 * stride + 4 * i, stride);                                                                   \
        dot(2, 5, 6);                                                                                                      \
        dot(3, 5, 7);                                                                                                      \
      }                                                                                                                    \
    }                                                                                                                      \
    _tile_stored(0, sums, 128);                                                                                            \
    _tile_stored(1, (char *)sums + 64, 128);                                                                               \
    if (two) {                                                                                                             \
      _tile_stored(2, (char *)sums + 16 * 128, 128);                                                                       \
      _tile_stored(3, (char *)sums + 16 * 128 + 64, 128);                                                                  \
    }                                                                                                                      \
    BARRIER;                                                                                                               \
  }
AMX_BLOCK(amx_int8, _tile_dpbusd)
AMX_BLOCK(amx_bf16, _tile_dpbf16ps)
#else
static int amx_allowed(void) { return 0; }
#endif

// out [m, n] = a [m, k] w + bias; a is coded, with `step` and `least` per row if in integers. Up to SPARE rows after a are read, none written.
// The lines of two panels stay in the level-1 cache while all rows pass; in float32 that takes parts of the inner dimension.
static void product(int precision, int amx, const uint8_t *a, int64_t m, const float *step, const float *least, const Linear *w, float *out) {
  int64_t stride = row_bytes(precision, w->k), lines = stride / 4, panel = 64 * lines, part = precision == FLOAT32 ? PART : lines;
  int32_t sums[32][32] __attribute__((aligned(64)));
  int64_t high = amx && precision != FLOAT32 ? 32 : ROWS;
  for (int64_t column = 0; column < w->n; column += 32)
    for (int64_t line = 0; line < lines; line += part) {
      const uint8_t *b = (const uint8_t *)w->packed + column / 16 * panel + 64 * line;
      int64_t n = lines - line < part ? lines - line : part;
      for (int64_t row = 0; row < m; row += high) {
        const uint8_t *rows = a + row * stride + 4 * line;
#ifdef HAVE_AMX
        if (high == 32) (precision == INT8 ? amx_int8 : amx_bf16)(rows, stride, b, panel, n, row + 16 < m, sums);
        else
#endif
          (precision == INT8 ? block_int8 : precision == BFLOAT16 ? block_bf16 : block_f32)(rows, stride, b, panel, n, sums);
        int64_t last = row + high < m ? high : m - row;
        for (int64_t r = 0; r < last; r++)
          finish(precision == INT8, line > 0, sums[r], w, column, step ? step[row + r] : 0, least ? least[row + r] : 0, out + (row + r) * w->n);
      }
    }
}

// ---------------------------------------------------------------- between products

// One row as the next product reads it; k is filled up with zeros.
static void code_row(int precision, const float *x, int64_t k, uint8_t *out, float *step, float *least) {
  if (precision == FLOAT32) {
    memcpy(out, x, 4 * k);
    memset(out + 4 * k, 0, row_bytes(precision, k) - 4 * k);
  } else if (precision == BFLOAT16) {
    uint16_t *half = (uint16_t *)out;
    for (int64_t i = 0; i < k; i++) {  // to nearest, ties to even
      uint32_t bits;
      memcpy(&bits, x + i, 4);
      half[i] = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    }
    memset(half + k, 0, row_bytes(precision, k) - 2 * k);
  } else {
    float low = x[0], high = x[0];
#pragma omp simd reduction(min : low) reduction(max : high)
    for (int64_t i = 0; i < k; i++) {
      low = x[i] < low ? x[i] : low;
      high = x[i] > high ? x[i] : high;
    }
    float width = (high - low) / 255, per = width > 0 ? 1 / width : 0;
#pragma omp simd
    for (int64_t i = 0; i < k; i++) {
      int32_t code = (int32_t)((x[i] - low) * per + 0.5f);  // never negative: cutting off rounds
      out[i] = (uint8_t)(code > 255 ? 255 : code);
    }
    memset(out + k, 0, row_bytes(precision, k) - k);
    *step = width, *least = low;
  }
}

// x = layer norm of (x + y); y may be NULL.
static void add_and_norm(float *x, const float *y, int64_t n, const float *gain, const float *bias, float epsilon) {
  float sum = 0, squares = 0;
  if (y) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += x[i] += y[i];
  } else {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += x[i];
  }
  float mean = sum / n;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
  float per = 1 / sqrtf(squares / n + epsilon);
#pragma omp simd
  for (int64_t i = 0; i < n; i++) x[i] = (x[i] - mean) * per * gain[i] + bias[i];
}

// x * Phi(x): Phi is .5 + x P(x²) up to |x| = 4.5, fitted so that the product errs by at most 4e-5 there.
static void gelu(float *x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float v = x[i], c = v < -4.5f ? -4.5f : v > 4.5f ? 4.5f : v, t = c * c, p = 3.03631368e-11f;
    p = p * t + -3.31455298e-09f;
    p = p * t + 1.59095177e-07f;
    p = p * t + -4.45162791e-06f;
    p = p * t + 8.14238656e-05f;
    p = p * t + -1.03758188e-03f;
    p = p * t + 9.58516790e-03f;
    p = p * t + -6.59846067e-02f;
    p = p * t + 3.98712614e-01f;
    x[i] = v * (0.5f + c * p);
  }
}

// e^x for x <= 0, relative error below 1e-6: 2^whole times a polynomial of 2^rest. Below -87 it is as good as nothing.
static inline floats exponential(floats x) {
#ifdef __AVX512F__
  x = (floats)_mm512_max_ps((__m512)x, _mm512_set1_ps(-87.0f));
#else
  floats least = (floats){0} - 87.0f;
  wholes tiny = x < least;
  x = (floats)(((wholes)x & ~tiny) | ((wholes)least & tiny));
#endif
  floats t = x * 1.44269504f;
  wholes whole = __builtin_convertvector(t - 0.5f, wholes);
  floats f = (t - __builtin_convertvector(whole, floats)) * 0.69314718f;
  floats p = 1 + f * (1 + f * (0.5f + f * (0.166666667f + f * (0.0416666667f + f * (0.00833333333f + f * 0.00138888889f)))));
  return (floats)((wholes)p + (whole << 23));
}

static inline float largest(floats x) {
#ifdef __AVX512F__
  return _mm512_reduce_max_ps((__m512)x);
#else
  float most = x[0];
  for (int i = 1; i < WIDE; i++) most = x[i] > most ? x[i] : most;
  return most;
#endif
}

static inline float total(floats x) {
#ifdef __AVX512F__
  return _mm512_reduce_add_ps((__m512)x);
#else
  float sum = 0;
  for (int i = 0; i < WIDE; i++) sum += x[i];
  return sum;
#endif
}

// Attention inside one text of `length` tokens. qkv [length, 3 mixed]; out [length, mixed]; room: (d + GROUP) * wide floats.
static void attend(const float *qkv, int64_t length, int64_t mixed, int64_t heads, float *out, float *room) {
  int64_t d = mixed / heads, wide = up_to(length, WIDE), stride = 3 * mixed;
  float *keys = room, *score = room + d * wide, per = 1 / sqrtf((float)d);
  floats absent = {0};  // what is added to the last scores: minus infinity where there is no token
  for (int64_t j = 0; j < WIDE; j++) absent[j] = wide - WIDE + j < length ? 0 : -INFINITY;
  memset(keys, 0, 4 * d * wide);
  for (int64_t head = 0; head < heads; head++) {
    const float *q = qkv + head * d, *k = q + mixed, *v = k + mixed;
    for (int64_t j = 0; j < length; j++)
      for (int64_t c = 0; c < d; c++) keys[c * wide + j] = k[j * stride + c] * per;
    for (int64_t i = 0; i < length; i += GROUP) {
      int64_t n = length - i < GROUP ? length - i : GROUP;
      const float *rows = q + (length < GROUP ? 0 : i + n - GROUP) * stride;  // the last group reaches back; of few rows some are read twice
      int64_t step[GROUP];
      for (int r = 0; r < GROUP; r++) step[r] = (r < length ? r : length - 1) * stride;
      for (int64_t j = 0; j < wide; j += WIDE) {
        floats a0 = {0}, a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
        for (int64_t c = 0; c < d; c++) {
          floats line = *(const unaligned *)(keys + c * wide + j);
          const float *x = rows + c;
          a0 += x[step[0]] * line, a1 += x[step[1]] * line, a2 += x[step[2]] * line, a3 += x[step[3]] * line;
          a4 += x[step[4]] * line, a5 += x[step[5]] * line, a6 += x[step[6]] * line, a7 += x[step[7]] * line;
        }
        floats all[GROUP] = {a0, a1, a2, a3, a4, a5, a6, a7};
        for (int r = 0; r < GROUP; r++) *(unaligned *)(score + r * wide + j) = all[r];
      }
      float share[GROUP];
      for (int r = 0; r < GROUP; r++) {
        float *s = score + r * wide;
        unaligned *end = (unaligned *)(s + wide - WIDE);
        *end += absent;
        floats most = *end, sum = {0};
        for (int64_t j = 0; j < wide - WIDE; j += WIDE) {
          floats x = *(unaligned *)(s + j);
          wholes more = x > most;
          most = (floats)(((wholes)x & more) | ((wholes)most & ~more));
        }
        float top = largest(most);
        for (int64_t j = 0; j < wide; j += WIDE) sum += *(unaligned *)(s + j) = exponential(*(unaligned *)(s + j) - top);
        share[r] = 1 / total(sum);
      }
      for (int64_t c = 0; c < d; c += WIDE) {
        floats a0 = {0}, a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
        for (int64_t j = 0; j < length; j++) {
          floats line = *(const unaligned *)(v + j * stride + c);
          const float *x = score + j;
          a0 += x[0] * line, a1 += x[wide] * line, a2 += x[2 * wide] * line, a3 += x[3 * wide] * line;
          a4 += x[4 * wide] * line, a5 += x[5 * wide] * line, a6 += x[6 * wide] * line, a7 += x[7 * wide] * line;
        }
        floats all[GROUP] = {a0, a1, a2, a3, a4, a5, a6, a7};
        float *to = out + (rows - q) / stride * mixed + head * d + c;
        for (int r = 0; r < GROUP && r < length; r++) *(unaligned *)(to + r * mixed) = all[r] * share[r];
      }
    }
  }
}

// ---------------------------------------------------------------- layers

typedef struct {
  float *x, *mixed, *wide, *y, *room, *step, *least, *step2, *least2;
  uint8_t *codes, *codes2;
} Space;

static void embed(const Model *m, const Batch *b, int64_t text, float *x) {
  int64_t h = m->hidden;
  for (int64_t t = b->start[text]; t < b->start[text + 1]; t++, x += h) {
    int64_t id = b->ids[t];
    const float *position = m->positions + (t - b->start[text]) * h;
    if (m->words) {
      const int8_t *word = m->words + id * h;
      float scale = m->word_scale[id];
      for (int64_t i = 0; i < h; i++) x[i] = word[i] * scale + position[i];
    } else {
      for (int64_t i = 0; i < h; i++) x[i] = m->word_rows[id * h + i] + position[i];
    }
    add_and_norm(x, NULL, h, m->gain, m->bias, m->epsilon);
  }
}

/* What a block made is added to its rows, which are normed and rounded for the next one. */
static void add_and_code(const Model *m, const float *gain, const float *bias, int64_t row, int64_t rows, Space *s) {
  int64_t h = m->hidden, bytes = row_bytes(m->precision, h);
  for (int64_t r = 0; r < rows; r++) {
    float *x = s->x + (row + r) * h;
    add_and_norm(x, s->y + r * h, h, gain, bias, m->epsilon);
    code_row(m->precision, x, h, s->codes + (row + r) * bytes, s->step + row + r, s->least + row + r);
  }
}

// Rows of a layer's first half: texts from .. to, whose first token is at x.
static void attention_block(const Model *m, int amx, const Layer *l, const int64_t *start, int64_t n_texts, int64_t row, Space *s) {
  int p = m->precision;
  int64_t h = m->mixed, rows = start[n_texts] - start[0], bytes = row_bytes(p, h);
  product(p, amx, s->codes + row * row_bytes(p, m->hidden), rows, s->step + row, s->least + row, &l->qkv, s->wide);
  for (int64_t i = 0; i < n_texts; i++) {
    int64_t at = start[i] - start[0];
    attend(s->wide + at * 3 * h, start[i + 1] - start[i], h, m->heads, s->mixed + at * h, s->room);
  }
  for (int64_t r = 0; r < rows; r++) code_row(p, s->mixed + r * h, h, s->codes2 + r * bytes, s->step2 + r, s->least2 + r);
  product(p, amx, s->codes2, rows, s->step2, s->least2, &l->out, s->y);
  add_and_code(m, l->gain1, l->bias1, row, rows, s);
}

static void feed_block(const Model *m, int amx, const Layer *l, int64_t row, int64_t rows, Space *s) {
  int p = m->precision;
  int64_t h = m->hidden, f = m->feed, bytes = row_bytes(p, h), wide = row_bytes(p, f);
  product(p, amx, s->codes + row * bytes, rows, s->step + row, s->least + row, &l->up, s->wide);
  for (int64_t r = 0; r < rows; r++) {
    gelu(s->wide + r * f, f);
    code_row(p, s->wide + r * f, f, s->codes2 + r * wide, s->step2 + r, s->least2 + r);
  }
  product(p, amx, s->codes2, rows, s->step2, s->least2, &l->down, s->y);
  add_and_code(m, l->gain2, l->bias2, row, rows, s);
}

static void run_chunk(const Model *m, int amx, const Batch *b, int64_t from, int64_t to, Space *s) {
  int64_t h = m->hidden, first = b->start[from], rows = b->start[to] - first, bytes = row_bytes(m->precision, h);
  for (int64_t text = from; text < to; text++) embed(m, b, text, s->x + (b->start[text] - first) * h);
  for (int64_t r = 0; r < rows; r++) code_row(m->precision, s->x + r * h, h, s->codes + r * bytes, s->step + r, s->least + r);
  for (int64_t i = 0; i < m->n_layers; i++) {
    const Layer *l = m->layers + i;
    for (int64_t text = from, end; text < to; text = end) {
      for (end = text + 1; end < to && b->start[end + 1] - b->start[text] <= TEXT_ROWS; end++) {}
      attention_block(m, amx, l, b->start + text, end - text, b->start[text] - first, s);
    }
    for (int64_t row = 0; row < rows; row += FEED_ROWS) feed_block(m, amx, l, row, rows - row < FEED_ROWS ? rows - row : FEED_ROWS, s);
  }
  for (int64_t text = from; text < to; text++) {
    float *vector = b->vectors + text * h;
    memset(vector, 0, 4 * h);
    for (int64_t t = b->start[text]; t < b->start[text + 1]; t++)
      for (int64_t i = 0; i < h; i++) vector[i] += b->weight[t] * s->x[(t - first) * h + i];
  }
}

static void *take(char **place, int64_t bytes) {
  void *taken = *place;
  *place += up_to(bytes, 64);
  return taken;
}

// Lays out the space for chunks of `rows` tokens with texts of up to `longest`; returns its bytes. With base NULL it only counts.
static int64_t lay_out(const Model *m, int64_t rows, int64_t longest, char *base, Space *s) {
  int64_t h = m->hidden, a = m->mixed, f = m->feed, block = rows < TEXT_ROWS ? rows : longest > TEXT_ROWS ? longest : TEXT_ROWS;
  int64_t feed = rows < FEED_ROWS ? rows : FEED_ROWS, most = block > feed ? block : feed, d = a / m->heads;
  int64_t coded = block * row_bytes(m->precision, a), coded_feed = feed * row_bytes(m->precision, f);
  int64_t wide = 3 * a * block > f * feed ? 3 * a * block : f * feed, spare = SPARE * row_bytes(m->precision, f > h ? f : h);
  char *place = base;
  s->x = take(&place, 4 * h * rows);
  s->mixed = take(&place, 4 * a * block);
  s->wide = take(&place, 4 * wide);
  s->y = take(&place, 4 * h * most);
  s->room = take(&place, 4 * (d + GROUP) * up_to(longest, 16));
  s->step = take(&place, 4 * rows);
  s->least = take(&place, 4 * rows);
  s->step2 = take(&place, 4 * most);
  s->least2 = take(&place, 4 * most);
  s->codes = take(&place, rows * row_bytes(m->precision, h) + spare);
  s->codes2 = take(&place, (coded > coded_feed ? coded : coded_feed) + spare);
  return place - base;
}

typedef struct {
  const Model *model;
  const Batch *batch;
  int64_t rows, longest;  // tokens of the largest chunk and of the longest text
  int amx;
} Job;

// Encodes chunks until none is left. Returns NO_MEMORY where there is none for the activations.
static int encode_chunks(const void *argument, void *nothing) {
  const Job *job = argument;
  (void)nothing;
  Space space;
  int64_t bytes = lay_out(job->model, job->rows, job->longest, NULL, &space);
  char *memory = aligned_alloc(64, bytes);
  if (!memory) return NO_MEMORY;
  lay_out(job->model, job->rows, job->longest, memory, &space);
  // Products read up to SPARE rows past the last and drop what these give. As found, they may hold denormal numbers, whose
  // arithmetic takes twenty times as long.
  memset(space.codes, 0, memory + bytes - (char *)space.codes);
#ifdef HAVE_AMX
  if (job->amx) amx_begin();
#endif
  for (int64_t i; (i = atomic_fetch_add(job->batch->next, 1)) < job->batch->n_chunks;)
    run_chunk(job->model, job->amx, job->batch, job->batch->chunk[i], job->batch->chunk[i + 1], &space);
#ifdef HAVE_AMX
  if (job->amx) _tile_release();
#endif
  free(memory);
  return 0;
}

// What products are made with: 3 AMX, 2 AVX-512 (VNNI, BF16), 1 AVX2, 0 plain.
int64_t instructions(void) {
  if (amx_allowed()) return 3;
#if defined(__AVX512VNNI__)
  return 2;
#elif defined(__AVX2__)
  return 1;
#else
  return 0;
#endif
}

// Whether every token has a row in the table of words, and every text fits the table of positions.
static int check_ids(const Model *m, const Batch *b) {
  for (int64_t t = 0; t < b->start[b->n_texts]; t++)
    if (b->ids[t] < 0 || b->ids[t] >= m->n_words) return UNKNOWN_ID;
  for (int64_t i = 0; i < b->n_texts; i++)
    if (b->start[i + 1] - b->start[i] > m->n_positions) return TOO_LONG;
  return 0;
}

// Fills batch->vectors; without `amx` the AMX units rest. Returns 0, NO_MEMORY, UNKNOWN_ID or TOO_LONG.
int encode(const Model *model, const Batch *batch, int64_t n_threads, int64_t amx) {
  int64_t rows = 0, longest = 1, n = n_threads < 1 ? 1 : n_threads;
  if (batch->n_chunks < 1) return 0;
  int failed = check_ids(model, batch);
  if (failed) return failed;
  for (int64_t i = 0; i < batch->n_chunks; i++) {
    int64_t size = batch->start[batch->chunk[i + 1]] - batch->start[batch->chunk[i]];
    rows = size > rows ? size : rows;
  }
  for (int64_t i = 0; i < batch->n_texts; i++) {
    int64_t size = batch->start[i + 1] - batch->start[i];
    longest = size > longest ? size : longest;
  }
  Job job = {model, batch, rows, longest, amx && amx_allowed()};
  return in_parallel(&job, NULL, 0, n < batch->n_chunks ? n : batch->n_chunks, encode_chunks);
}
