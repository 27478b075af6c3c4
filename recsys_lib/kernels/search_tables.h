/* Product codes of 4 bits: one instruction looks a part of many items up in a table of 16 bytes.

     codes  [groups, row_bytes, 64]  byte j of 64 items: two parts of 4 bits, row j and row row_bytes + j of a table
     table  [parts, 16] of a query   entries of 7 bits, so that two of them add up in 8 and all of them in 16 */

#pragma once
#include "search_fine.h"

#if NUMBERS
/* Screen the items after `item`, `n` or as many as a register has, by their coarse scores of one query. */
INLINE void screen_items(const Scan *p, Found *f, Reals score, int64_t item, int64_t n, int64_t q) {
  score = times(score, load_some(p->factor + item, n));
  if (p->margin) score = times_plus(load_some(p->margin + item, n), all(p->spread[q]), score);
  for (int64_t t = 0; t < p->n_terms; t++) {
    Reals term = load_some(p->term + t * p->n_items + item, n);
    score = times_plus(term, all(p->term_scale[t * padded(p) + q]), score);
  }
  unsigned passed = not_below(score, all(f->gate[q]));
  if (n < NUMBERS) passed &= (1u << n) - 1;
  for (; passed; passed &= passed - 1) {
    const int64_t which = item + __builtin_ctz(passed);
    uint8_t code[MAX_PARTS];
    unpack_parts(p, which, code);
    consider(p, f, which, q, fine_score(p, which, (Block){code, 0, 1, NULL, 0}, 0, q));
  }
}

/* As many items as a register has bytes, with `width` queries. The sums are kept twice: over pairs of bytes,
   and over their higher halves, whose part is then taken off. */
INLINE void group_parts(const Scan *p, Found *f, const uint8_t *codes, int64_t item, int64_t n, int64_t q,
                        const int width) {
  const uint8_t *tables = (const uint8_t *)p->coarse + q * p->d * 16;
  Wholes sum[AT_ONCE], odd[AT_ONCE];
  UNROLL for (int w = 0; w < width; w++) { sum[w] = odd[w] = all_wholes(0); }
  for (int64_t j = 0; j < p->row_bytes; j++) {
    const Wholes both = load_bytes(codes + j * GROUP), first = low_half(both), second = high_half(both);
    UNROLL for (int w = 0; w < width; w++) {
      const uint8_t *table = tables + (w * p->d + j) * 16;
      Wholes pair = plus8(look_up(table, first), look_up(table + p->row_bytes * 16, second));
      sum[w] = plus16(sum[w], pair), odd[w] = plus16(odd[w], odd_of(pair));
    }
  }
  UNROLL for (int w = 0; w < width; w++) {
    const Wholes even = less_odd(sum[w], odd[w]);
    const Reals scale = all(p->coarse_scale[q + w]), min = all(p->coarse_min[q + w]);
    UNROLL for (int i = 0; i < 4; i++) {
      if (n <= NUMBERS * i) break;
      Reals score = times_plus(in_turn(even, odd[w], i), scale, min);
      screen_items(p, f, score, item + NUMBERS * i, n - NUMBERS * i, q + w);
    }
  }
}

static void scan_parts(const Scan *p, Found *f, int64_t from, int64_t n) {
  for (int64_t q = 0; q < p->n_queries;) {
    const int width = q + AT_ONCE <= p->n_queries ? AT_ONCE : 1;
    for (int64_t i = 0; i < n; i += BYTES) {
      const uint8_t *codes = p->codes + (from + i) / GROUP * GROUP * p->row_bytes + i % GROUP;
      if (!q && i % GROUP == 0) fetch_ahead(codes, GROUP * p->row_bytes);
      if (width == AT_ONCE)
        group_parts(p, f, codes, from + i, n - i, q, AT_ONCE);
      else
        group_parts(p, f, codes, from + i, n - i, q, 1);
    }
    q += width;
  }
}
#endif
