/* Coarse products: blocks of items times panels of queries, most of whose pairs are out before they leave the
 * registers. */

#pragma once
#include "search_fine.h"

#if NUMBERS
/* Screen one item by its products with NUMBERS queries after q. */
INLINE void screen(const Scan *p, Found *f, Reals score, int64_t from, Block block, int64_t i, int64_t q) {
  const int64_t item = from + i;
  score = times(score, all(p->factor[item]));
  if (p->margin) score = times_plus(all(p->margin[item]), load(p->spread + q), score);
  for (int64_t t = 0; t < p->n_terms; t++) {
    Reals term = all(p->term[t * p->n_items + item]);
    score = times_plus(term, load(p->term_scale + t * padded(p) + q), score);
  }
  unsigned passed = not_below(score, load(f->gate + q));
  for (; passed; passed &= passed - 1) {
    int64_t which = q + __builtin_ctz(passed);
    if (which < p->n_queries) consider(p, f, item, which, fine_score(p, item, block, i, which));
  }
}

/* ---------------------------------------------------------------- 8 bits */

/* Sums of whole numbers of `rows` items with `width` panels. Each step multiplies 4 bytes of an item with 4
   of every query:

     line of a panel  | q0: 0 1 2 3 | q1: 0 1 2 3 | ... |    times    | 0 1 2 3 | 0 1 2 3 | ... | of the item

   With DOT that is one instruction, and sums have 32 bits. Without it, AVX2 multiplies and adds pairs in 16
   bits, which saturate: codes of queries have 6 bits, so that no pair does (at most 2 * 63 * 128). Sums over
   CHUNK = 16 dimensions then wrap around at 16 bits; they start at what RAISE will add, taken off, so they
   end at the sum of 8 products of numbers of at most 31 and 128, which fits: what wrapped wraps back. */
INLINE void tile_int(const Scan *p, Found *f, int64_t from, Block block, int64_t first, const int32_t *offset,
                     int64_t panel, const int rows, const int width) {
  const int64_t panel_bytes = up_to(p->d, 64) * LANES;
  const int8_t *codes = (const int8_t *)block.tiles + first * block.tile_bytes;
  const uint8_t *queries = (const uint8_t *)p->coarse + panel * panel_bytes;
  const int registers = width * REGISTERS;
  Wholes sum[ROWS][WIDTH * REGISTERS];
#define LINE(r) (queries + (r) / REGISTERS * panel_bytes + (r) % REGISTERS * BYTES)
#ifdef DOT
  UNROLL for (int i = 0; i < rows; i++) {
    UNROLL for (int r = 0; r < registers; r++) { sum[i][r] = all_wholes(offset[i]); }
  }
  for (int64_t step = 0; step < (p->d + 3) / 4; step++) {
    Wholes query[WIDTH * REGISTERS];
    UNROLL for (int r = 0; r < registers; r++) { query[r] = load_bytes(LINE(r) + step * 4 * LANES); }
    UNROLL for (int i = 0; i < rows; i++) {
      const Wholes code = all_four(codes + i * block.tile_bytes + 4 * step);
      UNROLL for (int r = 0; r < registers; r++) { DOT(sum[i][r], query[r], code); }
    }
  }
#else
  const int64_t chunks = block.tile_bytes / CHUNK;
  UNROLL for (int i = 0; i < rows; i++) {
    UNROLL for (int r = 0; r < registers; r++) { sum[i][r] = all_wholes(0); }
  }
  for (int64_t chunk = 0; chunk < (p->d + CHUNK - 1) / CHUNK; chunk++) {
    Wholes part[ROWS][WIDTH * REGISTERS];
    UNROLL for (int i = 0; i < rows; i++) {
      UNROLL for (int r = 0; r < registers; r++) { part[i][r] = all_wholes(offset[i * chunks + chunk]); }
    }
    UNROLL for (int step = 0; step < CHUNK / 4; step++) {
      const int64_t at = chunk * CHUNK / 4 + step;
      Wholes query[WIDTH * REGISTERS];
      UNROLL for (int r = 0; r < registers; r++) { query[r] = load_bytes(LINE(r) + at * 4 * LANES); }
      UNROLL for (int i = 0; i < rows; i++) {
        const Wholes code = all_four(codes + i * block.tile_bytes + 4 * at);
        UNROLL for (int r = 0; r < registers; r++) {
          const Wholes pairs = _mm256_maddubs_epi16(query[r], code);
          __asm__("vpaddw %1, %0, %0" : "+x"(part[i][r]) : "x"(pairs)); /* in this order, or GCC spills */
        }
      }
    }
    UNROLL for (int i = 0; i < rows; i++) {
      UNROLL for (int r = 0; r < registers; r++) {
        const Wholes pairs = _mm256_madd_epi16(part[i][r], _mm256_set1_epi16(1));
        sum[i][r] = _mm256_add_epi32(sum[i][r], pairs);
      }
    }
  }
#endif
#undef LINE
  UNROLL for (int i = 0; i < rows; i++) {
    UNROLL for (int r = 0; r < registers; r++) {
      const int64_t q = panel * LANES + r * NUMBERS;
      screen(p, f, times(reals(sum[i][r]), load(p->coarse_scale + q)), from, block, first + i, q);
    }
  }
}

/* What raising the codes of queries adds to the products of items, with the opposite sign: of each item, or
   of each CHUNK of it and apart for the two halves of a register's 32-bit places. */
static void offsets(Block block, int64_t n, int32_t *out) {
  for (int64_t i = 0; i < n; i++) {
    const uint8_t *code = block.tiles + i * block.tile_bytes;
#if NUMBERS == 16
    __m512i sum = _mm512_setzero_si512();
    for (int64_t j = 0; j < block.tile_bytes; j += 64)
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), _mm512_loadu_si512(code + j));
    out[i] = -RAISE * _mm512_reduce_add_epi32(sum);
#elif !defined(DOT)
    for (int64_t j = 0; j < block.tile_bytes; j += CHUNK) {
      __m128i sum = _mm_maddubs_epi16(_mm_set1_epi8(1), _mm_loadu_si128((const __m128i *)(code + j)));
      sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0x4e));
      sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0xb1));
      *out++ = _mm_cvtsi128_si32(_mm_mullo_epi16(sum, _mm_set1_epi16(-RAISE)));
    }
#else
    int32_t sum = 0;
    for (int64_t j = 0; j < block.tile_bytes; j++) sum += (int8_t)code[j];
    out[i] = -RAISE * sum;
#endif
  }
}

/* ---------------------------------------------------------------- floats */

INLINE void tile_float(const Scan *p, Found *f, int64_t from, Block block, int64_t first, int64_t panel,
                       const int rows, const int width) {
  const float *codes = (const float *)block.codes + first * block.stride;
  const float *queries = (const float *)p->coarse + panel * p->d * LANES;
  const int registers = width * REGISTERS;
  Reals sum[ROWS][WIDTH * REGISTERS];
  UNROLL for (int i = 0; i < rows; i++) {
    UNROLL for (int r = 0; r < registers; r++) { sum[i][r] = all(0); }
  }
  for (int64_t j = 0; j < p->d; j++) {
    Reals query[WIDTH * REGISTERS];
    UNROLL for (int r = 0; r < registers; r++) {
      query[r] = load(queries + (r / REGISTERS * p->d + j) * LANES + r % REGISTERS * NUMBERS);
    }
    UNROLL for (int i = 0; i < rows; i++) {
      const Reals code = all(codes[i * block.stride + j]);
      UNROLL for (int r = 0; r < registers; r++) { sum[i][r] = times_plus(query[r], code, sum[i][r]); }
    }
  }
  UNROLL for (int i = 0; i < rows; i++) {
    UNROLL for (int r = 0; r < registers; r++) {
      screen(p, f, sum[i][r], from, block, first + i, panel * LANES + r * NUMBERS);
    }
  }
}

/* ---------------------------------------------------------------- tables */

/* Entries of tables as 8 bits; a sum of up to 257 of them fits 16. */
static void panel_table(const Scan *p, Found *f, int64_t from, Block block, int64_t i, int64_t panel) {
  const uint8_t *code = (const uint8_t *)block.codes + i * block.stride;
  const uint8_t *table = (const uint8_t *)p->coarse + panel * p->d * p->entries * LANES;
  Entries sum = no_entries();
  for (int64_t j = 0; j < p->d; j++) sum = plus_entries(sum, table + (j * p->entries + code[j]) * LANES);
  UNROLL for (int r = 0; r < REGISTERS; r++) {
    const int64_t q = panel * LANES + r * NUMBERS;
    screen(p, f, times_plus(entries(sum, r), load(p->coarse_scale + q), load(p->coarse_min + q)), from, block,
           i, q);
  }
}

/* ---------------------------------------------------------------- a block with all panels */

INLINE void scan_panels(const Scan *p, Found *f, int64_t from, int64_t n, Block block, const int32_t *offset,
                        int64_t panel, const int width) {
  const int64_t whole = n / ROWS * ROWS, each = offsets_of(block.tile_bytes);
  if (p->kind == PRODUCT) {
    for (int64_t i = 0; i < n; i++) panel_table(p, f, from, block, i, panel);
  } else if (block.tiles) {
    for (int64_t i = 0; i < whole; i += ROWS)
      tile_int(p, f, from, block, i, offset + i * each, panel, ROWS, width);
    for (int64_t i = whole; i < n; i++) tile_int(p, f, from, block, i, offset + i * each, panel, 1, width);
  } else {
    for (int64_t i = 0; i < whole; i += ROWS) tile_float(p, f, from, block, i, panel, ROWS, width);
    for (int64_t i = whole; i < n; i++) tile_float(p, f, from, block, i, panel, 1, width);
  }
}

static void scan_many(const Scan *p, Found *f, int64_t from, int64_t n, Block block, int32_t *offset) {
  const int64_t panels = padded(p) / LANES;
  if (block.tiles) offsets(block, n, offset);
  for (int64_t panel = 0; panel < panels;) {
    const int width = panel + WIDTH <= panels && p->kind != PRODUCT ? WIDTH : 1;
    if (width == WIDTH)
      scan_panels(p, f, from, n, block, offset, panel, WIDTH);
    else
      scan_panels(p, f, from, n, block, offset, panel, 1);
    panel += width;
  }
}
#endif
