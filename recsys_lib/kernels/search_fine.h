/* Fine products: a query times a code of any kind, summed in the same order wherever it is called from. */

#pragma once
#include "search.h"

static int32_t product_int(const int16_t *query, const int8_t *code, int64_t d) {
  int64_t j = 0;
  int32_t sum = 0;
#if NUMBERS == 16
  __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  for (; j + 64 <= d; j += 64) UNROLL
    for (int i = 0; i < 2; i++) {
      __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(code + j + 32 * i)));
      sums[i] = _mm512_dpwssd_epi32(sums[i], wide, _mm512_loadu_si512(query + j + 32 * i));
    }
  sum = total_wholes(plus32(sums[0], sums[1]));
#elif NUMBERS == 8
  __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  for (; j + 32 <= d; j += 32) UNROLL
    for (int i = 0; i < 2; i++) {
      __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(code + j + 16 * i)));
      sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(wide, load_bytes(query + j + 16 * i)));
    }
  sum = total_wholes(plus32(sums[0], sums[1]));
#elif NUMBERS == 4
  int32x4_t sums[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
  for (; j + 16 <= d; j += 16) UNROLL
    for (int i = 0; i < 2; i++) {
      int16x8_t wide = vmovl_s8(vld1_s8(code + j + 8 * i)), other = vld1q_s16(query + j + 8 * i);
      sums[i] = vmlal_s16(sums[i], vget_low_s16(wide), vget_low_s16(other));
      sums[i] = vmlal_high_s16(sums[i], wide, other);
    }
  sum = total_wholes(plus32(sums[0], sums[1]));
#endif
  for (; j < d; j++) sum += (int32_t)query[j] * code[j];
  return sum;
}

/* Sums of the products of registers of 4-bit codes with bytes of a query, in 32 bits. AVX2 adds pairs up in
   16 bits: at most 4 * 15 * 128 a step, so STEPS of them fit. */
#if NUMBERS == 16
#define STEPS 16
INLINE Wholes with_halves(Wholes sum, Wholes a, Wholes b, const int8_t *q, int64_t half) {
  DOT(sum, a, load_bytes(q));
  DOT(sum, b, load_bytes(q + half));
  return sum;
}
INLINE Wholes widened_sum(Wholes sum) { return sum; }
#elif NUMBERS == 8
#define STEPS 4
INLINE Wholes with_halves(Wholes sum, Wholes a, Wholes b, const int8_t *q, int64_t half) {
  const Wholes first = _mm256_maddubs_epi16(a, load_bytes(q));
  return plus16(sum, plus16(first, _mm256_maddubs_epi16(b, load_bytes(q + half))));
}
INLINE Wholes widened_sum(Wholes sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
#elif NUMBERS == 4
#define STEPS 16
INLINE Wholes with_halves(Wholes sum, Wholes a, Wholes b, const int8_t *q, int64_t half) {
  DOT(sum, load_bytes(q), a);
  DOT(sum, load_bytes(q + half), b);
  return sum;
}
INLINE Wholes widened_sum(Wholes sum) { return sum; }
#endif

/* A query as [lower bytes, higher bytes, 8 times its sum] times the codes of 4 bits of some items, which stand
   for themselves less 8. All lower halves of bytes come first: kernel.py orders queries likewise. Of several
   items sums do not wait for each other, the query is loaded once, and one reduction serves all. wide: whether
   there are higher bytes that are not 0. */
INLINE void halves(const int items, const int wide, const int8_t *query, const uint8_t *code,
                   int64_t row_bytes, int32_t *sum) {
  const int8_t *higher = query + 2 * row_bytes;
  int64_t j = 0;
  int32_t less;
  memcpy(&less, query + 4 * row_bytes, 4);
  for (int i = 0; i < items; i++) sum[i] = 0;
#if NUMBERS
  Wholes low[SIDE_BY_SIDE], high[SIDE_BY_SIDE];
  UNROLL for (int i = 0; i < items; i++) low[i] = high[i] = all_wholes(0);
  while (j + BYTES <= row_bytes) {
    Wholes some[SIDE_BY_SIDE], more[SIDE_BY_SIDE];
    UNROLL for (int i = 0; i < items; i++) some[i] = more[i] = all_wholes(0);
    for (int step = 0; step < STEPS && j + BYTES <= row_bytes; step++, j += BYTES) UNROLL
      for (int i = 0; i < items; i++) {
        const Wholes both = load_bytes(code + i * row_bytes + j), a = low_half(both), b = high_half(both);
        some[i] = with_halves(some[i], a, b, query + j, row_bytes);
        if (wide) more[i] = with_halves(more[i], a, b, higher + j, row_bytes);
      }
    UNROLL for (int i = 0; i < items; i++) {
      low[i] = plus32(low[i], widened_sum(some[i]));
      if (wide) high[i] = plus32(high[i], widened_sum(more[i]));
    }
  }
  UNROLL for (int i = 0; i < items && wide; i++) low[i] = plus32(low[i], times256(high[i]));
  if (items == 1)
    sum[0] = total_wholes(low[0]);
  else
    totals_of_four(low, sum);
#endif
  UNROLL for (int i = 0; i < items; i++) sum[i] -= less;
  for (; j < row_bytes; j++)
    for (int i = 0; i < items; i++) {
      const int32_t byte = code[i * row_bytes + j];
      sum[i] += (query[j] + 256 * higher[j]) * (byte & 15);
      sum[i] += (query[row_bytes + j] + 256 * higher[row_bytes + j]) * (byte >> 4);
    }
}

static int32_t product_halves(const int8_t *query, const uint8_t *code, int64_t row_bytes) {
  int32_t sum;
  halves(1, 1, query, code, row_bytes, &sum);
  return sum;
}

static float product_float(const float *a, const float *b, int64_t d) {
  float sum = 0;
  int64_t j = 0;
#if NUMBERS
  Reals sums[4] = {all(0), all(0), all(0), all(0)};
  for (; j + 4 * NUMBERS <= d; j += 4 * NUMBERS) UNROLL
    for (int i = 0; i < 4; i++)
      sums[i] = times_plus(load(a + j + NUMBERS * i), load(b + j + NUMBERS * i), sums[i]);
  sum = total(plus(plus(sums[0], sums[1]), plus(sums[2], sums[3])));
#else
  float sums[16] = {0};
  for (; j + 16 <= d; j += 16)
    for (int i = 0; i < 16; i++) sums[i] += a[j + i] * b[j + i];
  for (int i = 0; i < 16; i++) sum += sums[i];
#endif
  for (; j < d; j++) sum += a[j] * b[j];
  return sum;
}

#if NUMBERS
/* As product_float of the unpacked code, for whole steps of 64. */
static float product_narrow(int64_t kind, const float *a, const uint16_t *b, int64_t d) {
  Reals sums[4] = {all(0), all(0), all(0), all(0)};
  for (int64_t j = 0; j < d; j += 4 * NUMBERS) UNROLL
    for (int i = 0; i < 4; i++)
      sums[i] = times_plus(load(a + j + NUMBERS * i), widened(kind, b + j + NUMBERS * i), sums[i]);
  return total(plus(plus(sums[0], sums[1]), plus(sums[2], sums[3])));
}
#endif

static float product_table(const float *table, const uint8_t *code, int64_t parts, int64_t entries) {
  float sums[4] = {0};
  int64_t j = 0;
  for (; j + 4 <= parts; j += 4)
    for (int i = 0; i < 4; i++) sums[i] += table[(j + i) * entries + code[j + i]];
  for (; j < parts; j++) sums[0] += table[j * entries + code[j]];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static int32_t product_bits(const uint8_t *query, const uint8_t *code, int64_t bytes) {
  int64_t differing = 0, j = 0;
  for (; j + 8 <= bytes; j += 8) {
    uint64_t a, b;
    memcpy(&a, query + j, 8), memcpy(&b, code + j, 8);
    differing += __builtin_popcountll(a ^ b);
  }
  for (; j < bytes; j++) differing += __builtin_popcount(query[j] ^ code[j]);
  return (int32_t)(8 * bytes - 2 * differing);
}

/* A query times a code, whatever they are. */
static inline float product(const Scan *p, Block block, int64_t i, int64_t q) {
  const void *code = (const char *)block.codes + i * block.stride * block.size;
  if (p->kind == INT4)
    return p->fine_scale[q] *
           (float)product_halves((const int8_t *)p->fine + q * (2 * p->d + 4), code, p->row_bytes);
  if (p->kind <= BINARY)
    return p->fine_scale[q] * (float)product_int((const int16_t *)p->fine + q * p->d, code, p->d);
  if (p->kind == BITS)
    return p->fine_scale[q] *
           (float)product_bits((const uint8_t *)p->fine + q * p->row_bytes, code, p->row_bytes);
  if (p->kind >= PRODUCT)
    return product_table((const float *)p->fine + q * p->d * p->entries, code, p->d, p->entries);
#if NUMBERS
  if (block.size == 2) return product_narrow(p->kind, (const float *)p->fine + q * p->d, code, p->d);
#endif
  return product_float((const float *)p->fine + q * p->d, code, p->d);
}

/* The same of 4-bit items from i on, SIDE_BY_SIDE at a time; returns where the rest begins. */
static int64_t products(const Scan *p, Block block, int64_t i, int64_t n, int64_t q, float *score) {
#if NUMBERS
  for (; p->kind == INT4 && i + SIDE_BY_SIDE <= n; i += SIDE_BY_SIDE) {
    const uint8_t *code = (const uint8_t *)block.codes + i * p->row_bytes;
    int32_t sum[SIDE_BY_SIDE];
    if (!q) fetch_ahead(code, SIDE_BY_SIDE * p->row_bytes);
    const int8_t *query = (const int8_t *)p->fine + q * (2 * p->d + 4);
    if (p->longer) /* then queries have 8 bits */
      halves(SIDE_BY_SIDE, 0, query, code, p->row_bytes, sum);
    else
      halves(SIDE_BY_SIDE, 1, query, code, p->row_bytes, sum);
    for (int own = 0; own < SIDE_BY_SIDE; own++) score[i + own] = p->fine_scale[q] * (float)sum[own];
  }
#endif
  return i;
}

static inline float fine_score(const Scan *p, int64_t item, Block block, int64_t i, int64_t q) {
  float score = product(p, block, i, q) * p->factor[item];
  for (int64_t t = 0; t < p->n_terms; t++)
    score += p->term[t * p->n_items + item] * p->term_scale[t * padded(p) + q];
  return score;
}

/* Items first ... n - 1 of a block by their fine scores, the same as fine_score gives; many at once pass by
 * unnoticed. */
static void scan_few(const Scan *p, Found *f, int64_t from, int64_t n, Block block, int64_t first,
                     float *score) {
  for (int64_t i = first; i < n; i += LANES) {
    __builtin_prefetch(p->factor + from + i);
    if (p->margin) __builtin_prefetch(p->margin + from + i);
    for (int64_t t = 0; t < p->n_terms; t++) __builtin_prefetch(p->term + t * p->n_items + from + i);
  }
  for (int64_t q = 0; q < p->n_queries; q++) {
    const float *factor = p->factor + from, *margin = p->margin ? p->margin + from : NULL,
                spread = p->spread[q];
    for (int64_t i = products(p, block, first, n, q, score); i < n; i++) {
      if (!q) fetch_ahead((const char *)block.codes + i * block.stride * block.size, p->row_bytes);
      score[i] = product(p, block, i, q);
    }
    for (int64_t i = first; i < n; i++) score[i] *= factor[i];
    for (int64_t t = 0; t < p->n_terms; t++) {
      const float *term = p->term + t * p->n_items + from, scale = p->term_scale[t * padded(p) + q];
      for (int64_t i = first; i < n; i++) score[i] += term[i] * scale;
    }
    for (int64_t i = first; i < n; i += LANES) {
      const int64_t end = i + LANES < n ? i + LANES : n;
      const float limit = first_limit(p, f, q);
      int passed = 0;
      for (int64_t j = i; j < end; j++) passed |= !(score[j] + (margin ? margin[j] * spread : 0) < limit);
      for (int64_t j = i; j < end && passed; j++) consider(p, f, from + j, q, score[j]);
    }
  }
}

/* The same for signs, whose scores have no terms: nearly all are compared as soon as they are counted. */
static void scan_few_signs(const Scan *p, Found *f, int64_t from, int64_t n) {
  for (int64_t q = 0; q < p->n_queries; q++) {
    const uint8_t *query = (const uint8_t *)p->fine + q * p->row_bytes;
    const float scale = p->fine_scale[q];
    for (int64_t i = from; i < from + n; i++) {
      const uint8_t *code = p->codes + i * p->row_bytes;
      if (!q) fetch_ahead(code, p->row_bytes);
      const float score = scale * (float)product_bits(query, code, p->row_bytes) * p->factor[i];
      if (!(score < f->limit[q])) consider(p, f, i, q, score);
    }
  }
}
