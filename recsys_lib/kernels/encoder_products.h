// Products of coded rows and packed weights, in 8-bit integers, bfloat16 or float32.
#pragma once
#include "encoder.h"

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
  return (floats)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32(x),
                                  (__m512bh)_mm512_loadu_si512(b));
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  uint32_t x;
  memcpy(&x, a, 4);
  return (floats)vbfdotq_f32((float32x4_t)acc, vreinterpretq_bf16_u32(vdupq_n_u32(x)),
                             vreinterpretq_bf16_u8(vld1q_u8(b)));
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

// Four products of bytes a (unsigned) and b (signed) more in every sum. AVX2 without VNNI adds two of them in
// 16 bits first: exact where two neighbouring weights are at most 128 together (255 * 128 < 2^15), which
// whoever rounds them asks adds_pairs() about.
#if (defined(__AVX512BW__) || (defined(__AVX2__) && !defined(__AVX512F__))) && \
    !defined(__AVX512VNNI__) && (defined(__AVX512F__) || !defined(__AVXVNNI__))
enum { ADDS_PAIRS = 1 };
#else
enum { ADDS_PAIRS = 0 };
#endif
static inline __attribute__((always_inline)) wholes dot_int8(wholes acc, const uint8_t *a, const uint8_t *b) {
#if defined(__AVX512VNNI__)
  int32_t x;
  memcpy(&x, a, 4);
  return (wholes)_mm512_dpbusd_epi32((__m512i)acc, _mm512_set1_epi32(x), _mm512_loadu_si512(b));
#elif defined(__AVX512BW__)
  int32_t x;
  memcpy(&x, a, 4);
  __m512i pairs = _mm512_maddubs_epi16(_mm512_set1_epi32(x), _mm512_loadu_si512(b));
  return acc + (wholes)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(__AVX2__) && !defined(__AVX512F__)
  int32_t x;
  memcpy(&x, a, 4);
  __m256i all = _mm256_set1_epi32(x), w = _mm256_loadu_si256((const __m256i *)b);
#ifdef __AVXVNNI__
  return (wholes)_mm256_dpbusd_avx_epi32((__m256i)acc, all, w);
#else
  return acc + (wholes)_mm256_madd_epi16(_mm256_maddubs_epi16(all, w), _mm256_set1_epi16(1));
#endif
#elif defined(__ARM_FEATURE_MATMUL_INT8)
  uint32_t x;
  memcpy(&x, a, 4);
  const uint8x16_t all = vreinterpretq_u8_u32(vdupq_n_u32(x));
  return (wholes)vusdotq_s32((int32x4_t)acc, all, vld1q_s8((const int8_t *)b));
#elif defined(__ARM_FEATURE_DOTPROD)
  // Signed only: a - 128, and 128 times the sum of the weights, which all rows of a block share.
  uint32_t x;
  memcpy(&x, a, 4);
  int8x16_t all = vreinterpretq_s8_u32(vdupq_n_u32(x ^ 0x80808080u)), w = vld1q_s8((const int8_t *)b);
  int32x4_t raise = vshlq_n_s32(vdotq_s32(vdupq_n_s32(0), vdupq_n_s8(1), w), 7);
  return (wholes)vaddq_s32(vdotq_s32((int32x4_t)acc, all, w), raise);
#else
  wholes w;
  memcpy(&w, b, sizeof w);
  return acc + a[0] * (w << 24 >> 24) + a[1] * (w << 16 >> 24) + a[2] * (w << 8 >> 24) + a[3] * (w >> 24);
#endif
}

// Sums of `rows` rows and COLUMNS columns over `lines` groups of 4 bytes, into sums [rows][COLUMNS]. No
// memset and no memcpy: gcc would copy the registers through the stack.
#define BLOCK(name, vector, dot, rows)                                                               \
  static void name(const uint8_t *a, int64_t stride, const uint8_t *b, int64_t panel, int64_t lines, \
                   void *sums) {                                                                     \
    vector acc[rows][COLUMNS / WIDE];                                                                \
    for (int r = 0; r < rows; r++)                                                                   \
      for (int c = 0; c < COLUMNS / WIDE; c++) acc[r][c] = (vector){0};                              \
    for (int64_t i = 0; i < lines; i++)                                                              \
      for (int r = 0; r < rows; r++)                                                                 \
        for (int c = 0; c < COLUMNS / WIDE; c++)                                                     \
          acc[r][c] = dot(acc[r][c], a + r * stride + 4 * i,                                         \
                          b + c * WIDE / 16 * panel + 64 * i + c * WIDE % 16 * 4);                   \
    for (int r = 0; r < rows; r++)                                                                   \
      for (int c = 0; c < COLUMNS / WIDE; c++)                                                       \
        ((vector *)sums)[(r * COLUMNS + c * WIDE) / WIDE] = acc[r][c];                               \
  }
BLOCK(block_f32, floats, dot_f32, ROWS)
BLOCK(block_bf16, floats, dot_bf16, ROWS)
BLOCK(block_int8, wholes, dot_int8, INT_ROWS)

// What the sums of one row and `columns` columns stand for; `more` adds them to what an earlier part of the
// inner dimension gave.
static inline __attribute__((always_inline)) void finish(int integer, int more, int columns, const void *sums,
                                                         const Linear *w, int64_t column, float step,
                                                         float min, float *out) {
  for (int c = 0; c < columns; c += WIDE) {
    unaligned *to = (unaligned *)(out + column + c);
    floats sum;
    if (integer) {
      wholes whole;
      memcpy(&whole, (const int32_t *)sums + c, sizeof whole);
      sum = __builtin_convertvector(whole, floats) * (step * *(const unaligned *)(w->scale + column + c));
      sum += min * *(const unaligned *)(w->shift + column + c);
    } else {
      memcpy(&sum, (const float *)sums + c, sizeof sum);
    }
    *to = sum + (more ? *to : *(const unaligned *)(w->bias + column + c));
  }
}

#if AMX
// Tiles 0..3 hold sums, 4 and 5 rows of a, 6 and 7 columns of b. The compiler does not see that tiles touch
// memory: BARRIER tells it.
#define BARRIER __asm__ volatile("" ::: "memory")
#define AMX_BLOCK(name, dot)                                                                         \
  static void name(const uint8_t *a, int64_t stride, const uint8_t *b, int64_t panel, int64_t lines, \
                   int two, void *sums) {                                                            \
    BARRIER;                                                                                         \
    _tile_zero(0);                                                                                   \
    _tile_zero(1);                                                                                   \
    _tile_zero(2);                                                                                   \
    _tile_zero(3);                                                                                   \
    for (int64_t i = 0; i < lines; i += 16) {                                                        \
      _tile_loadd(6, b + 64 * i, 64);                                                                \
      _tile_loadd(4, a + 4 * i, stride);                                                             \
      _tile_loadd(7, b + panel + 64 * i, 64);                                                        \
      dot(0, 4, 6);                                                                                  \
      dot(1, 4, 7);                                                                                  \
      if (two) {                                                                                     \
        _tile_loadd(5, a + 16 * stride + 4 * i, stride);                                             \
        dot(2, 5, 6);                                                                                \
        dot(3, 5, 7);                                                                                \
      }                                                                                              \
    }                                                                                                \
    _tile_stored(0, sums, 128);                                                                      \
    _tile_stored(1, (char *)sums + 64, 128);                                                         \
    if (two) {                                                                                       \
      _tile_stored(2, (char *)sums + 16 * 128, 128);                                                 \
      _tile_stored(3, (char *)sums + 16 * 128 + 64, 128);                                            \
    }                                                                                                \
    BARRIER;                                                                                         \
  }
AMX_BLOCK(amx_int8, _tile_dpbusd)
AMX_BLOCK(amx_bf16, _tile_dpbf16ps)

// As plain_product, in blocks of up to 32 rows and 32 columns.
static void amx_product(int precision, const uint8_t *a, int64_t m, const float *step, const float *min,
                        const Linear *w, float *out) {
  int64_t stride = row_bytes(precision, w->k), lines = stride / 4, panel = 64 * lines;
  int32_t sums[32][32] __attribute__((aligned(64)));
  for (int64_t column = 0; column < w->n; column += 32) {
    const uint8_t *b = (const uint8_t *)w->packed + column / 16 * panel;
    for (int64_t row = 0; row < m; row += 32) {
      const uint8_t *rows = a + row * stride;
      (precision == INT8 ? amx_int8 : amx_bf16)(rows, stride, b, panel, lines, row + 16 < m, sums);
      for (int64_t r = 0; r < 32 && row + r < m; r++)
        finish(precision == INT8, 0, 32, sums[r], w, column, step ? step[row + r] : 0,
               min ? min[row + r] : 0, out + (row + r) * w->n);
    }
  }
}
#endif

// What multiplies one block, by precision; `rows` and `columns` of a block.
typedef struct {
  void (*block)(const uint8_t *a, int64_t stride, const uint8_t *b, int64_t panel, int64_t lines, void *sums);
  int64_t rows;
} Plain;
static const Plain PLAIN[] = {
    [FLOAT32] = {block_f32, ROWS}, [BFLOAT16] = {block_bf16, ROWS}, [INT8] = {block_int8, INT_ROWS}};

// out [m, n] = a [m, k] w + bias; a is coded, with `step` and `min` per row if in integers. Up to SPARE rows
// after a are read, none written. The lines of a block's columns stay in the level-1 cache while all rows
// pass; in float32 that takes parts of the inner dimension.
static void plain_product(int precision, const uint8_t *a, int64_t m, const float *step, const float *min,
                          const Linear *w, float *out) {
  int64_t stride = row_bytes(precision, w->k), lines = stride / 4, panel = 64 * lines,
          part = precision == FLOAT32 ? PART : lines;
  int32_t sums[SPARE][COLUMNS] __attribute__((aligned(64)));
  Plain plain = PLAIN[precision];
  for (int64_t column = 0; column < w->n; column += COLUMNS)
    for (int64_t line = 0; line < lines; line += part) {
      const uint8_t *b = (const uint8_t *)w->packed + column / 16 * panel + 64 * line;
      int64_t n = lines - line < part ? lines - line : part;
      for (int64_t row = 0; row < m; row += plain.rows) {
        plain.block(a + row * stride + 4 * line, stride, b, panel, n, sums);
        int64_t last = row + plain.rows < m ? plain.rows : m - row;
        for (int64_t r = 0; r < last; r++)
          finish(precision == INT8, line > 0, COLUMNS, sums[r], w, column, step ? step[row + r] : 0,
                 min ? min[row + r] : 0, out + (row + r) * w->n);
      }
    }
}

static void product(int precision, int amx, const uint8_t *a, int64_t m, const float *step, const float *min,
                    const Linear *w, float *out) {
#if AMX
  if (amx && precision != FLOAT32) {
    amx_product(precision, a, m, step, min, w, out);
    return;
  }
#endif
  (void)amx;
  plain_product(precision, a, m, step, min, w, out);
}
