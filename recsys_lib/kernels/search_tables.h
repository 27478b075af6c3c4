/* Parts of 4 bits: one instruction looks a part of many items up in a table of 16 bytes.

     codes  [groups, row_bytes, 64]  byte j of 64 items: two parts of 4 bits, row j and row row_bytes + j of a table
     table  [parts, 16] of a query   PRODUCT4: entries of 7 bits, so that two of them add up in 8 and all in 16
                                     BITS: how many of 4 signs differ, so that 62 of them add up in 8 */

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

   A fine score and a place among the k best cost more than the coarse scores of hundreds of items. So pairs that pass
   the gate are put aside with their coarse scores. A full list is cut: the k-th best coarse score is wrong by up to
   the coarse slack, and so is any other, hence what lies more than twice that below it cannot be among the k best.
   What is left at the end is scored finely: the k best are those of all fine scores, wherever the lists were cut. */

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

/* As many items as a register has bytes, with `width` queries. `pairs` bytes of a code add up in 8 bits. The sums
   of those are kept twice: over pairs of bytes, and over their higher halves, whose part is then taken off. */
INLINE void group_parts(const Scan *p, Found *f, const uint8_t *codes, int64_t item, int64_t n, int64_t q,
                        const int width, const int pairs) {
  const int64_t size = 32 * p->row_bytes; /* of the tables of a query */
  const uint8_t *tables = (const uint8_t *)p->coarse + q * size;
  Wholes sum[AT_ONCE], odd[AT_ONCE];
  UNROLL for (int w = 0; w < width; w++) { sum[w] = odd[w] = all_wholes(0); }
  for (int64_t start = 0; start < p->row_bytes; start += pairs) {
    const int64_t left = p->row_bytes - start, end = pairs == 1 ? 1 : left < pairs ? left : pairs;
    Wholes part[AT_ONCE];
    for (int64_t j = 0; j < end; j++) {
      const Wholes both = load_bytes(codes + (start + j) * GROUP);
      const Wholes first = low_half(both), second = high_half(both);
      UNROLL for (int w = 0; w < width; w++) {
        const uint8_t *table = tables + w * size + (start + j) * 16;
        const Wholes pair = plus8(look_up(table, first), look_up(table + p->row_bytes * 16, second));
        part[w] = j ? plus8(part[w], pair) : pair;
      }
    }
    UNROLL for (int w = 0; w < width; w++) {
      sum[w] = plus16(sum[w], part[w]), odd[w] = plus16(odd[w], odd_of(part[w]));
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

/* The items from ... from + n - 1, whose groups begin at `groups`, with all queries. */
INLINE void scan_groups_of(const Scan *p, Found *f, const uint8_t *groups, int64_t from, int64_t n,
                           const int pairs) {
  for (int64_t q = 0; q < p->n_queries;) {
    const int width = q + AT_ONCE <= p->n_queries ? AT_ONCE : 1;
    for (int64_t i = 0; i < n; i += BYTES) {
      const uint8_t *codes = groups + i / GROUP * GROUP * p->row_bytes + i % GROUP;
      if (!q && i % GROUP == 0 && p->kind == PRODUCT4) fetch_ahead(codes, GROUP * p->row_bytes);
      if (width == AT_ONCE)
        group_parts(p, f, codes, from + i, n - i, q, AT_ONCE, pairs);
      else
        group_parts(p, f, codes, from + i, n - i, q, 1, pairs);
    }
    q += width;
  }
}

static void scan_parts(const Scan *p, Found *f, int64_t from, int64_t n) {
  scan_groups_of(p, f, p->codes + from / GROUP * GROUP * p->row_bytes, from, n, 1);
}

static void scan_signs(const Scan *p, Found *f, int64_t from, int64_t n, Block block) {
  scan_groups_of(p, f, block.tiles, from, n, 31);
}
#endif
