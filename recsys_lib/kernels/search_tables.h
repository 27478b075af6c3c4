/* Parts of 4 bits: one instruction looks a part of many items up in a table of 16 bytes.

     codes  [groups, row_bytes, 64]  byte j of 64 items: two parts of 4 bits, row j and row row_bytes + j of a
                                     table
     table  [parts, 16] of a query   PRODUCT4: entries, of which those of TOGETHER bytes add up in 8 bits,
                                     and all in 16
                                     BITS: how many of 4 signs are equal, so that 62 of them add up in 8 */

#pragma once
#include "search_fine.h"

/* Consider a pair by its fine score, wherever its code lies. */
static void consider_fine(const Scan *p, Found *f, int64_t item, int64_t q) {
  Block block = {p->codes + item * p->row_bytes, 0, 1, NULL, 0};
  uint8_t parts[MAX_PARTS];
  if (p->kind == PRODUCT4) unpack_parts(p, item, parts), block.codes = parts;
  consider(p, f, item, q, fine_score(p, item, block, 0, q));
}

/* ---------------------------------------------------------------- pairs put aside

   A fine score and a place among the k best cost more than the coarse scores of hundreds of items. So pairs
   that pass the gate are put aside with their coarse scores. A full list is cut: the k-th best coarse score
   is wrong by up to the coarse slack, and so is any other, hence what lies more than twice that below it
   cannot be among the k best. What is left at the end is scored finely: the k best are those of all fine
   scores, wherever the lists were cut. */

/* Bring the k largest scores to the front; k < n. */
static void largest_first(float *score, int32_t *id, int64_t n, int64_t k) {
  for (int64_t low = 0, high = n - 1; low < high;) {
    const float pivot = score[(low + high) / 2];
    int64_t i = low, j = high;
    while (i <= j) {
      while (score[i] > pivot) i++;
      while (score[j] < pivot) j--;
      if (i > j) break;
      const float s = score[i];
      const int32_t which = id[i];
      score[i] = score[j], id[i] = id[j], score[j] = s, id[j] = which;
      i++, j--;
    }
    if (k <= j + 1)
      high = j;
    else if (k > i)
      low = i;
    else
      return;
  }
}

/* Score finely what was put aside, as long as it may be among the k best. */
static void settle(const Scan *p, Found *f, int64_t q) {
  const int64_t count = f->count[q];
  const float gate = f->gate[q], *score = f->reach + q * p->capacity;
  const int32_t *id = f->id + q * p->capacity;
  f->count[q] = 0, f->gate[q] = f->limit[q] - p->coarse_slack[q];
  for (int64_t j = 0; j < count; j++) {
    if (p->rows && j + 8 < count) __builtin_prefetch(p->rows + id[j + 8] * p->row_bytes);
    if (!(score[j] < f->gate[q])) consider_fine(p, f, id[j], q);
  }
  if (f->gate[q] < gate) f->gate[q] = gate;
}

/* Raise the gate by what was put aside, and leave what passes it. */
static void cut(const Scan *p, Found *f, int64_t q) {
  float *score = f->reach + q * p->capacity, kth = INFINITY;
  int32_t *id = f->id + q * p->capacity;
  if (f->count[q] <= p->k) return;
  largest_first(score, id, f->count[q], p->k);
  for (int64_t j = 0; j < p->k; j++) kth = score[j] < kth ? score[j] : kth;
  const float gate = kth - 2 * p->coarse_slack[q];
  if (gate > f->gate[q]) f->gate[q] = gate;
  f->count[q] = compact(score, id, f->count[q], f->gate[q]);
}

/* What is not a number is never among the best. */
static void put_aside(const Scan *p, Found *f, int64_t item, int64_t q, float score) {
  if (score != score || is_seen(p, q, item)) return;
  if (f->count[q] == p->capacity) {
    cut(p, f, q);
    if (2 * f->count[q] > p->capacity) settle(p, f, q);
    if (score < f->gate[q]) return;
  }
  const int64_t at = q * p->capacity + f->count[q]++;
  f->reach[at] = score, f->id[at] = (int32_t)item;
}

static void settle_all(const Scan *p, Found *f) {
  for (int64_t q = 0; p->aside && q < p->n_queries; q++) cut(p, f, q), settle(p, f, q);
}

#if NUMBERS
/* ---------------------------------------------------------------- screening */

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
  if (!passed) return;
  float scores[NUMBERS];
  store(scores, score);
  for (; passed; passed &= passed - 1) {
    const int which = __builtin_ctz(passed);
    if (p->aside)
      put_aside(p, f, item + which, q, scores[which]);
    else
      consider_fine(p, f, item + which, q);
  }
}

/* Screen items by their sums of 16 bits, of which even and odd ones lie in two registers. */
static void screen_sums(const Scan *p, Found *f, Wholes even, Wholes odd, int64_t item, int64_t n,
                        int64_t q) {
  const Reals scale = all(p->coarse_scale[q]), min = all(p->coarse_min[q]);
  UNROLL for (int i = 0; i < 4; i++) {
    if (n <= NUMBERS * i) break;
    const Reals score = times_plus(in_turn(even, odd, i), scale, min);
    screen_items(p, f, score, item + NUMBERS * i, n - NUMBERS * i, q);
  }
}

/* ---------------------------------------------------------------- what a sum must reach

   Before sums become scores they are compared as whole numbers: with the least that can pass the gate of a
   query, whichever item of the block it belongs to. */

/* What the numbers of a block's items lie between: their factors, terms, and margins. */
typedef struct {
  float factor_low, factor_high, margin_high, term_low[MAX_TERMS], term_high[MAX_TERMS];
} Extremes;

static Extremes extremes_of(const Scan *p, int64_t from, int64_t n) {
  Extremes e = {0};
  float low;
  if (p->extremes) { /* of all items, which a short scan does not read once more */
    e.factor_low = p->extremes[0], e.factor_high = p->extremes[1];
    for (int64_t t = 0; t < p->n_terms && t < MAX_TERMS; t++)
      e.term_low[t] = p->extremes[2 + 2 * t], e.term_high[t] = p->extremes[3 + 2 * t];
    return e;
  }
  range_of(p->factor + from, n, &e.factor_low, &e.factor_high);
  if (p->margin) range_of(p->margin + from, n, &low, &e.margin_high);
  for (int64_t t = 0; t < p->n_terms && t < MAX_TERMS; t++)
    range_of(p->term + t * p->n_items + from, n, e.term_low + t, e.term_high + t);
  return e;
}

/* The least sum of entries with which any item of a block can pass the gate of a query; 0 where that is not
   known. The bounds of the gate cover what float32 loses, so that in float64 none has to be added. */
static uint16_t least_sum(const Scan *p, const Found *f, const Extremes *e, int64_t q) {
  if (p->n_terms > MAX_TERMS || !(e->factor_low >= 0)) return 0;
  double left = f->gate[q];
  if (p->margin) left -= (double)e->margin_high * p->spread[q];
  for (int64_t t = 0; t < p->n_terms; t++) {
    const double scale = p->term_scale[t * padded(p) + q];
    left -= scale * (scale > 0 ? e->term_high[t] : e->term_low[t]);
  }
  const double needed = left / (left > 0 ? e->factor_high : e->factor_low);
  const double least = (needed - p->coarse_min[q]) / p->coarse_scale[q];
  /* What is not a number passes. */
  return least > UINT16_MAX ? UINT16_MAX : least > 1 ? (uint16_t)least : 0;
}

/* ---------------------------------------------------------------- sums of entries */

typedef struct {
  Wholes at[REGISTERS_OF_GROUP][AT_ONCE]; /* registers of items, queries */
} Sums;

/* Look byte j of codes up in the tables of `width` queries, and add it to what is there unless it is the
   first. */
INLINE void add_byte(Sums *part, const uint8_t *codes, const uint8_t *tables, int64_t row_bytes, int64_t j,
                     const int first, const int registers, const int width) {
  __builtin_prefetch(codes + j * GROUP + AHEAD);
  UNROLL for (int r = 0; r < registers; r++) {
    const Wholes both = load_bytes(codes + j * GROUP + r * BYTES);
    const Wholes low = low_half(both), high = high_half(both);
    UNROLL for (int w = 0; w < width; w++) {
      const uint8_t *table = tables + (2 * w * row_bytes + j) * 16;
      const Wholes pair = plus8(look_up(table, low), look_up(table + row_bytes * 16, high));
      part->at[r][w] = first ? pair : plus8(part->at[r][w], pair);
    }
  }
}

INLINE void add_widened(Sums *sum, Sums *odd, const Sums *part, const int registers, const int width) {
  UNROLL for (int r = 0; r < registers; r++) {
    UNROLL for (int w = 0; w < width; w++) {
      ADD16(sum->at[r][w], part->at[r][w]);
      ADD16(odd->at[r][w], odd_of(part->at[r][w]));
    }
  }
}

/* As many items as `registers` have bytes, with `width` queries. `together` bytes of a code add up in 8 bits.
   Sums of those are kept twice: over pairs of bytes, and over their higher halves, whose part is then taken
   off. */
INLINE void group_parts(const Scan *p, Found *f, const Extremes *e, uint16_t *least, const uint8_t *codes,
                        int64_t item, int64_t n, int64_t q, const int registers, const int width,
                        const int together) {
  const int64_t row_bytes = p->row_bytes;
  const uint8_t *tables = (const uint8_t *)p->coarse + q * 32 * row_bytes;
  Sums sum, odd, part;
  UNROLL for (int r = 0; r < registers; r++) {
    UNROLL for (int w = 0; w < width; w++) { sum.at[r][w] = odd.at[r][w] = all_wholes(0); }
  }
  int64_t j = 0;
  while (j + together <= row_bytes) {
    add_byte(&part, codes, tables, row_bytes, j++, 1, registers, width);
    UNROLL for (int more = 1; more < together; more++) {
      add_byte(&part, codes, tables, row_bytes, j++, 0, registers, width);
    }
    add_widened(&sum, &odd, &part, registers, width);
  }
  if (j < row_bytes) {
    add_byte(&part, codes, tables, row_bytes, j++, 1, registers, width);
    for (; j < row_bytes; j++) add_byte(&part, codes, tables, row_bytes, j, 0, registers, width);
    add_widened(&sum, &odd, &part, registers, width);
  }
  UNROLL for (int r = 0; r < registers; r++) {
    UNROLL for (int w = 0; w < width; w++) {
      const Wholes even = less_odd(sum.at[r][w], odd.at[r][w]);
      if (any_from16(even, odd.at[r][w], all16(least[w]))) {
        const int64_t at = r * BYTES;
        screen_sums(p, f, even, odd.at[r][w], item + at, n - at, q + w);
        least[w] = least_sum(p, f, e, q + w);
      }
    }
  }
}

/* The items from ... from + n - 1, whose groups begin at `groups`, with all queries. */
INLINE void scan_groups_of(const Scan *p, Found *f, const uint8_t *groups, int64_t from, int64_t n,
                           const int together) {
  const Extremes e = extremes_of(p, from, n);
  for (int64_t q = 0; q < p->n_queries;) {
    const int width = q + AT_ONCE <= p->n_queries ? AT_ONCE : 1;
    const int64_t step = width == 1 ? GROUP : BYTES;
    uint16_t least[AT_ONCE];
    for (int w = 0; w < width; w++) least[w] = least_sum(p, f, &e, q + w);
    for (int64_t i = 0; i < n; i += step) {
      const uint8_t *codes = groups + i / GROUP * GROUP * p->row_bytes + i % GROUP;
      if (width == AT_ONCE)
        group_parts(p, f, &e, least, codes, from + i, n - i, q, 1, AT_ONCE, together);
      else
        group_parts(p, f, &e, least, codes, from + i, n - i, q, REGISTERS_OF_GROUP, 1, together);
    }
    q += width;
  }
}

static void scan_parts(const Scan *p, Found *f, int64_t from, int64_t n) {
  scan_groups_of(p, f, p->codes + from / GROUP * GROUP * p->row_bytes, from, n, TOGETHER);
}

static void scan_signs(const Scan *p, Found *f, int64_t from, int64_t n, Block block) {
  scan_groups_of(p, f, block.tiles, from, n, 31);
}
#endif
