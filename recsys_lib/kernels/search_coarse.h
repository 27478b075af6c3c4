/* Coarse products: blocks of items times panels of queries, most of whose pairs are out before they leave the
 * registers. */

#pragma once
#include "search_fine.h"

/* ---------------------------------------------------------------- matrix units */

#if TILES
/* sums [GROUP][16] = GROUP rows of codes times a panel [steps][16][64 bytes]. The compiler does not see that
 * tiles touch memory. */
#define TILE_PRODUCTS(name, type, dot)                                                                \
  static __attribute__((noinline)) void name(const uint8_t *codes, int64_t stride, const void *panel, \
                                             int64_t steps, type *sums) {                             \
    __asm__ volatile("" ::: "memory");                                                                \
    _tile_zero(0);                                                                                    \
    _tile_zero(1);                                                                                    \
    _tile_zero(2);                                                                                    \
    _tile_zero(3);                                                                                    \
    for (int64_t step = 0; step < steps; step++) {                                                    \
      const uint8_t *rows = codes + 64 * step;                                                        \
      _tile_loadd(6, (const char *)panel + 1024 * step, 64);                                          \
      _tile_loadd(4, rows, stride);                                                                   \
      dot(0, 4, 6);                                                                                   \
      _tile_loadd(5, rows + 16 * stride, stride);                                                     \
      dot(1, 5, 6);                                                                                   \
      _tile_loadd(4, rows + 32 * stride, stride);                                                     \
      dot(2, 4, 6);                                                                                   \
      _tile_loadd(5, rows + 48 * stride, stride);                                                     \
      dot(3, 5, 6);                                                                                   \
    }                                                                                                 \
    _tile_stored(0, sums, 64);                                                                        \
    _tile_stored(1, sums + 256, 64);                                                                  \
    _tile_stored(2, sums + 512, 64);                                                                  \
    _tile_stored(3, sums + 768, 64);                                                                  \
    __asm__ volatile("" ::: "memory");                                                                \
  }
TILE_PRODUCTS(tiles_int, int32_t, _tile_dpbsud)
TILE_PRODUCTS(tiles_float, float, _tile_dpbf16ps)
#endif

/* ---------------------------------------------------------------- coarse products */

#if WIDE
/* Screen one item by its products with a panel of queries. */
static inline void screen(const Scan *p, Found *f, __m512 score, int64_t from, Block block, int64_t i,
                          int64_t panel) {
  const int64_t q = panel * LANES, item = from + i;
  score = _mm512_mul_ps(score, _mm512_set1_ps(p->factor[item]));
  if (p->margin)
    score = _mm512_fmadd_ps(_mm512_set1_ps(p->margin[item]), _mm512_loadu_ps(p->spread + q), score);
  for (int64_t t = 0; t < p->n_terms; t++) {
    __m512 term = _mm512_set1_ps(p->term[t * p->n_items + item]);
    score = _mm512_fmadd_ps(term, _mm512_loadu_ps(p->term_scale + t * padded(p) + q), score);
  }
  unsigned passed = _mm512_cmp_ps_mask(score, _mm512_loadu_ps(f->gate + q), _CMP_NLT_UQ);
  for (; passed; passed &= passed - 1) {
    int64_t which = q + __builtin_ctz(passed);
    if (which < p->n_queries) consider(p, f, item, which, fine_score(p, item, block, i, which));
  }
}

/* ROWS items with `width` panels of queries, all sums in registers. */
static inline __attribute__((always_inline)) void tile_int(const Scan *p, Found *f, int64_t from, Block block,
                                                           int64_t first, const int32_t *offset,
                                                           int64_t panel, const int width) {
  const int64_t steps = (p->d + 3) / 4, panel_bytes = (p->d + 63) / 64 * 64 * LANES;
  const int8_t *codes = (const int8_t *)block.tiles + first * block.tile_bytes;
  const uint8_t *queries = (const uint8_t *)p->coarse + panel * panel_bytes;
  __m512i sum[ROWS][WIDTH];
  UNROLL for (int i = 0; i < ROWS; i++) {
    UNROLL for (int w = 0; w < width; w++) { sum[i][w] = _mm512_set1_epi32(offset[i]); }
  }
  for (int64_t step = 0; step < steps; step++) {
    __m512i query[WIDTH];
    UNROLL for (int w = 0; w < width; w++) {
      query[w] = _mm512_loadu_si512(queries + w * panel_bytes + step * 4 * LANES);
    }
    UNROLL for (int i = 0; i < ROWS; i++) {
      int32_t four;
      memcpy(&four, codes + i * block.tile_bytes + 4 * step, 4);
      __m512i code = _mm512_set1_epi32(four);
      /* The intrinsic of this instruction makes GCC 12 spill every sum, which halves the speed. */
      UNROLL for (int w = 0; w < width; w++) {
        __asm__("vpdpbusd %2, %1, %0" : "+v"(sum[i][w]) : "v"(query[w]), "v"(code));
      }
    }
  }
  UNROLL for (int i = 0; i < ROWS; i++) {
    UNROLL for (int w = 0; w < width; w++) {
      __m512 scale = _mm512_loadu_ps(p->coarse_scale + (panel + w) * LANES);
      screen(p, f, _mm512_mul_ps(_mm512_cvtepi32_ps(sum[i][w]), scale), from, block, first + i, panel + w);
    }
  }
}

static inline __attribute__((always_inline)) void tile_float(const Scan *p, Found *f, int64_t from,
                                                             Block block, int64_t first, int64_t panel,
                                                             const int width) {
  const float *codes = (const float *)block.codes + first * block.stride;
  const float *queries = (const float *)p->coarse + panel * p->d * LANES;
  __m512 sum[ROWS][WIDTH];
  UNROLL for (int i = 0; i < ROWS; i++) {
    UNROLL for (int w = 0; w < width; w++) { sum[i][w] = _mm512_setzero_ps(); }
  }
  for (int64_t j = 0; j < p->d; j++) {
    __m512 query[WIDTH];
    UNROLL for (int w = 0; w < width; w++) { query[w] = _mm512_loadu_ps(queries + (w * p->d + j) * LANES); }
    UNROLL for (int i = 0; i < ROWS; i++) {
      __m512 code = _mm512_set1_ps(codes[i * block.stride + j]);
      UNROLL for (int w = 0; w < width; w++) { sum[i][w] = _mm512_fmadd_ps(query[w], code, sum[i][w]); }
    }
  }
  UNROLL for (int i = 0; i < ROWS; i++) {
    UNROLL for (int w = 0; w < width; w++) { screen(p, f, sum[i][w], from, block, first + i, panel + w); }
  }
}

/* Entries of tables as 8 bits; a sum of up to 257 of them fits 16. */
static void panel_table(const Scan *p, Found *f, int64_t from, Block block, int64_t i, int64_t panel) {
  const uint8_t *code = (const uint8_t *)block.codes + i * block.stride;
  const uint8_t *table = (const uint8_t *)p->coarse + panel * p->d * p->entries * LANES;
  __m256i sum = _mm256_setzero_si256();
  for (int64_t j = 0; j < p->d; j++) {
    __m128i entry = _mm_loadu_si128((const __m128i *)(table + (j * p->entries + code[j]) * LANES));
    sum = _mm256_add_epi16(sum, _mm256_cvtepu8_epi16(entry));
  }
  __m512 total = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sum));
  __m512 scale = _mm512_loadu_ps(p->coarse_scale + panel * LANES);
  __m512 min = _mm512_loadu_ps(p->coarse_min + panel * LANES);
  screen(p, f, _mm512_fmadd_ps(total, scale, min), from, block, i, panel);
}

#if TILES
/* GROUP items after `first`, of which those before `fresh` were screened, with all panels. */
static void scan_group(const Scan *p, Found *f, int64_t from, Block block, int64_t first, int64_t fresh,
                       const int32_t *offset) {
  const int64_t steps = block.tile_bytes / 64;
  const uint8_t *codes = block.tiles + first * block.tile_bytes;
  union {
    int32_t whole[GROUP][LANES];
    float real[GROUP][LANES];
  } sums __attribute__((aligned(64)));
  const int64_t panels = padded(p) / LANES;
  for (int64_t panel = 0; panel < panels; panel++) {
    const char *queries = (const char *)p->coarse + panel * steps * 1024;
    /* The next group, a part with every panel. */
    for (int64_t line = panel * 64; line < GROUP * block.tile_bytes; line += panels * 64)
      __builtin_prefetch(codes + GROUP * block.tile_bytes + line);
    if (is_float(p)) {
      tiles_float(codes, block.tile_bytes, queries, steps, sums.real[0]);
      for (int64_t i = fresh; i < first + GROUP; i++)
        screen(p, f, _mm512_load_ps(sums.real[i - first]), from, block, i, panel);
      continue;
    }
    tiles_int(codes, block.tile_bytes, queries, steps, sums.whole[0]);
    const __m512 scale = _mm512_loadu_ps(p->coarse_scale + panel * LANES);
    for (int64_t i = fresh; i < first + GROUP; i++) {
      __m512i sum = _mm512_add_epi32(_mm512_load_si512(sums.whole[i - first]), _mm512_set1_epi32(offset[i]));
      screen(p, f, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), from, block, i, panel);
    }
  }
}
#endif

/* What raising the codes of queries by 128 adds to a product, with the opposite sign. */
static void offsets(Block block, int64_t n, int32_t *out) {
  for (int64_t i = 0; i < n; i++) {
    __m512i sum = _mm512_setzero_si512();
    for (int64_t j = 0; j < block.tile_bytes; j += 64)
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1),
                                _mm512_loadu_si512(block.tiles + i * block.tile_bytes + j));
    out[i] = -128 * _mm512_reduce_add_epi32(sum);
  }
}

static void scan_many(const Scan *p, Found *f, int64_t from, int64_t n, Block block, float *score,
                      int32_t *offset) {
  const int64_t panels = padded(p) / LANES;
  int64_t whole = p->kind == PRODUCT ? n : n / ROWS * ROWS;
  if (block.tiles && !is_float(p)) offsets(block, n, offset);
#if TILES
  if (block.tiles && p->tiles) {
    whole = n < GROUP ? 0 : n;
    for (int64_t i = 0; i < whole; i += GROUP)
      scan_group(p, f, from, block, i + GROUP <= n ? i : n - GROUP, i, offset);
    scan_few(p, f, from, n, block, whole, score);
    return;
  }
#endif
  for (int64_t panel = 0; panel < panels;) {
    const int width = panel + WIDTH <= panels && p->kind != PRODUCT ? WIDTH : 1;
    if (p->kind == PRODUCT)
      for (int64_t i = 0; i < whole; i++) panel_table(p, f, from, block, i, panel);
    else if (block.tiles && width == WIDTH)
      for (int64_t i = 0; i < whole; i += ROWS) tile_int(p, f, from, block, i, offset + i, panel, WIDTH);
    else if (block.tiles)
      for (int64_t i = 0; i < whole; i += ROWS) tile_int(p, f, from, block, i, offset + i, panel, 1);
    else if (width == WIDTH)
      for (int64_t i = 0; i < whole; i += ROWS) tile_float(p, f, from, block, i, panel, WIDTH);
    else
      for (int64_t i = 0; i < whole; i += ROWS) tile_float(p, f, from, block, i, panel, 1);
    panel += width;
  }
  scan_few(p, f, from, n, block, whole, score);
}

/* ---------------------------------------------------------------- product codes of 4 bits */

/* Screen the 16 items after `item` by their coarse scores of one query. */
static inline void screen_items(const Scan *p, Found *f, __m512 score, int64_t item, __mmask16 some,
                                int64_t q) {
  score = _mm512_mul_ps(score, _mm512_maskz_loadu_ps(some, p->factor + item));
  if (p->margin)
    score =
        _mm512_fmadd_ps(_mm512_maskz_loadu_ps(some, p->margin + item), _mm512_set1_ps(p->spread[q]), score);
  for (int64_t t = 0; t < p->n_terms; t++) {
    __m512 term = _mm512_maskz_loadu_ps(some, p->term + t * p->n_items + item);
    score = _mm512_fmadd_ps(term, _mm512_set1_ps(p->term_scale[t * padded(p) + q]), score);
  }
  unsigned passed = _mm512_mask_cmp_ps_mask(some, score, _mm512_set1_ps(f->gate[q]), _CMP_NLT_UQ);
  for (; passed; passed &= passed - 1) {
    const int64_t which = item + __builtin_ctz(passed);
    uint8_t code[MAX_PARTS];
    unpack_parts(p, which, code);
    consider(p, f, which, q, fine_score(p, which, (Block){code, 0, 1, NULL, 0}, 0, q));
  }
}

/* 16 sums of 16 bits: quarter i, a literal number, of the lower and of the upper halves. */
#define QUARTER(a, b, i) _mm256_set_m128i(_mm512_extracti32x4_epi32(b, i), _mm512_extracti32x4_epi32(a, i))

/* A group of items with `width` queries: one instruction looks a part of all its items up. Entries have 7
   bits, so that two of them add up in 8 and all of them in 16: once over pairs of bytes, once over their
   higher halves, whose part is then taken off. */
static inline __attribute__((always_inline)) void group_parts(const Scan *p, Found *f, int64_t from,
                                                              int64_t n, int64_t q, const int width) {
  const uint8_t *codes = p->codes + from * p->row_bytes, *tables = (const uint8_t *)p->coarse + q * p->d * 16;
  const __m512i low = _mm512_set1_epi8(15);
  __m512i sum[AT_ONCE], odd[AT_ONCE];
  UNROLL for (int w = 0; w < width; w++) { sum[w] = odd[w] = _mm512_setzero_si512(); }
  for (int64_t j = 0; j < p->row_bytes; j++) {
    __m512i both = _mm512_loadu_si512(codes + j * GROUP);
    __m512i first = _mm512_and_si512(both, low), second = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    UNROLL for (int w = 0; w < width; w++) {
      const uint8_t *table = tables + (w * p->d + j) * 16;
      __m512i a = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)), first);
      __m512i b = _mm512_shuffle_epi8(
          _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(table + p->row_bytes * 16))), second);
      a = _mm512_add_epi8(a, b);
      sum[w] = _mm512_add_epi16(sum[w], a), odd[w] = _mm512_add_epi16(odd[w], _mm512_srli_epi16(a, 8));
    }
  }
  UNROLL for (int w = 0; w < width; w++) {
    __m512i even = _mm512_sub_epi16(sum[w], _mm512_slli_epi16(odd[w], 8));
    /* Each quarter of these two has 8 items one after another. */
    __m512i a = _mm512_unpacklo_epi16(even, odd[w]), b = _mm512_unpackhi_epi16(even, odd[w]);
    const __m256i quarters[4] = {QUARTER(a, b, 0), QUARTER(a, b, 1), QUARTER(a, b, 2), QUARTER(a, b, 3)};
    const __m512 scale = _mm512_set1_ps(p->coarse_scale[q + w]);
    const __m512 min = _mm512_set1_ps(p->coarse_min[q + w]);
    UNROLL for (int i = 0; i < 4; i++) {
      const int64_t left = n - 16 * i;
      if (left <= 0) break;
      __m512 total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(quarters[i])), scale, min);
      screen_items(p, f, total, from + 16 * i, left < 16 ? (1u << left) - 1 : 0xffff, q + w);
    }
  }
}

static void scan_parts(const Scan *p, Found *f, int64_t from, int64_t n) {
  for (int64_t q = 0; q < p->n_queries;) {
    const int width = q + AT_ONCE <= p->n_queries ? AT_ONCE : 1;
    for (int64_t i = 0; i < n; i += GROUP) {
      if (!q) fetch_ahead(p->codes + (from + i) * p->row_bytes, GROUP * p->row_bytes);
      if (width == AT_ONCE)
        group_parts(p, f, from + i, n - i, q, AT_ONCE);
      else
        group_parts(p, f, from + i, n - i, q, 1);
    }
    q += width;
  }
}
#else
static void scan_many(const Scan *p, Found *f, int64_t from, int64_t n, Block block, float *score,
                      int32_t *offset) {
  (void)offset;
  scan_few(p, f, from, n, block, 0, score);
}
#endif
