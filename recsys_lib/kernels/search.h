/* What the parts of the search kernel share: the problem, the results, and the candidates of a query.

   The arrays of a scan (item i, query q, d dimensions, 16 queries in a panel, LANES):

     codes   [n_items, row_bytes]         item 0 | item 1 | ...
             read once, in blocks of about 96 KiB
     codes   [groups, row_bytes, 64]      PRODUCT4: the same byte of 64 items together, one vector register
     fine    [n_queries, d]               query 0 | query 1 | ...
             one product of a pair, always summed in one order
     coarse  [panels, d/4, 16, 4] bytes   | q0: 0 1 2 3 | q1: 0 1 2 3 | ... | q15: 0 1 2 3 |
             4 dimensions of 16 queries make a line of 64 bytes, one vector register

   Found, one for each thread, per query: a heap of the k best lower bounds, and a list of the items whose
   upper bound reaches the limit, which is the k-th best lower bound less the slack. */

#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "search_lanes.h"
#include "threads.h"

#if NUMBERS == 16 && AMX && defined(__AVX512BF16__)
#define TILES 1
#else
#define TILES 0
#endif

#define GROUP 64 /* items whose sums with a panel fit the matrix registers; bytes of a line of the cache */
#if NUMBERS
#define REGISTERS_OF_GROUP (GROUP / BYTES)
#endif
#define MAX_PARTS 256
#define MAX_TERMS 4             /* whose extremes a block notes */
#define TOGETHER 2              /* bytes of PRODUCT4 whose coarse entries add up in 8 bits */
#define AT_ONCE 4               /* queries whose sums over parts fit the vector registers */
#define BLOCK_BYTES (96 * 1024) /* of codes, unpacked: they stay in the cache while all queries pass */
#define SIDE_BY_SIDE 4          /* 4-bit items whose fine products with one query are summed at once */
#define SAMPLE 32               /* one block of so many comes first */
/* Bytes: how far ahead of its use a code is fetched; processors themselves stop at the end of a 4 KB page. */
#define AHEAD 8192

enum { INT8, INT4, BINARY, FLOAT32, FLOAT16, BFLOAT16, PRODUCT, PRODUCT4, BITS };

typedef struct {
  int64_t n_items, d, kind, row_bytes, entries, n_queries, k, capacity, n_terms;
  int64_t tiles;        /* whether matrix units may be used, see matrix_units() */
  int64_t aside;        /* whether pairs are put aside by their coarse scores, see put_aside() */
  int64_t longer;       /* whether longer codes of the same items follow as p[1], see consider() */
  const uint8_t *codes; /* [n_items, row_bytes], PRODUCT4 [groups, row_bytes, GROUP]; PRODUCT: d parts */
  const uint8_t *rows;  /* [n_items, row_bytes]: of PRODUCT4 the same item by item, or NULL */
  const float *factor, *margin, *term;    /* [n_items], [n_items] or NULL for 0, [n_terms, n_items] */
  const float *extremes;                  /* [1 + n_terms, 2]: least and largest factor and terms, or NULL */
  const void *fine, *coarse;              /* see kernel.py; without coarse ones, all products are fine */
  const float *fine_scale, *coarse_scale; /* [padded]: what a code of a query stands for */
  const float *coarse_min;                /* [padded]: what 0 stands for in coarse tables */
  const float *spread, *term_scale;       /* [padded], [n_terms, padded]; see padded() */
  const float *slack, *coarse_slack;      /* [n_queries]: how far below the k-th best a score may be */
  const int64_t *seen_start, *seen;       /* items to leave out: CSR with ascending ids, or NULL */
  _Atomic int64_t *next;                  /* how many blocks of items were taken */
} Scan;

typedef struct {
  float *limit, *gate; /* [padded]: below them a fine or a coarse score is out */
  float *best;         /* [n_queries, k]: the best lower bounds so far, a heap with the worst on top */
  int32_t *best_id;    /* [n_queries, k] */
  float *reach;        /* [n_queries, capacity]: upper bounds, or coarse scores of pairs put aside */
  int32_t *id;         /* [n_queries, capacity]; ~id of what awaits its longer code */
  int64_t *count;      /* [n_queries]: candidates, or -1 where there were too many */
} Found;

/* In search.c: one pass over all codes by up to `threads` threads, each with a Found of its own. */
int scan(const Scan *p, Found *f, int64_t threads);

/* Codes of some items, unpacked: int8, float or, for product codes and BITS, bytes; stride in codes, and the
   size of a code. tiles: the same as matrix registers read them, int8 or bfloat16, rows of whole 64 bytes;
   NULL where they do not. */
typedef struct {
  const void *codes;
  int64_t stride, size;
  const uint8_t *tiles;
  int64_t tile_bytes;
} Block;

static inline void fetch_ahead(const void *code, int64_t bytes) {
  for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch((const char *)code + AHEAD + line);
}

static inline int is_float(const Scan *p) { return p->kind >= FLOAT32 && p->kind <= BFLOAT16; }

/* How many numbers correct the products of an item, see offsets(). */
static inline int64_t offsets_of(int64_t tile_bytes) { return MAX_CODE == 127 ? 1 : tile_bytes / CHUNK; }

/* n_queries up to a multiple of 16. */
static inline int64_t padded(const Scan *p) { return (p->n_queries + LANES - 1) / LANES * LANES; }

/* The least and the largest of n numbers; of none, infinities the other way round. */
static void range_of(const float *x, int64_t n, float *low, float *high) {
  float lows[LANES], highs[LANES]; /* that many at once, which compilers turn into vector instructions */
  for (int j = 0; j < LANES; j++) lows[j] = INFINITY, highs[j] = -INFINITY;
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int j = 0; j < LANES; j++) {
      lows[j] = x[i + j] < lows[j] ? x[i + j] : lows[j];
      highs[j] = x[i + j] > highs[j] ? x[i + j] : highs[j];
    }
  for (; i < n; i++) {
    lows[0] = x[i] < lows[0] ? x[i] : lows[0];
    highs[0] = x[i] > highs[0] ? x[i] : highs[0];
  }
  for (int half = LANES / 2; half; half /= 2)
    for (int j = 0; j < half; j++) {
      lows[j] = lows[j + half] < lows[j] ? lows[j + half] : lows[j];
      highs[j] = highs[j + half] > highs[j] ? highs[j + half] : highs[j];
    }
  *low = lows[0], *high = highs[0];
}

/* ---------------------------------------------------------------- candidates */

static int worse(float a, int32_t a_id, float b, int32_t b_id) { return a < b || (a == b && a_id > b_id); }

/* Put a score in the place of the worst of k. */
static void replace_worst(float *score, int32_t *id, int64_t k, float new_score, int32_t new_id) {
  int64_t at = 0;
  for (;;) {
    int64_t child = 2 * at + 1;
    if (child >= k) break;
    if (child + 1 < k && worse(score[child + 1], id[child + 1], score[child], id[child])) child++;
    if (!worse(score[child], id[child], new_score, new_id)) break;
    score[at] = score[child], id[at] = id[child], at = child;
  }
  score[at] = new_score, id[at] = new_id;
}

static int is_seen(const Scan *p, int64_t q, int64_t item) {
  if (!p->seen) return 0;
  int64_t low = p->seen_start[q], high = p->seen_start[q + 1];
  while (low < high) {
    int64_t middle = (low + high) / 2;
    if (p->seen[middle] < item)
      low = middle + 1;
    else
      high = middle;
  }
  return low < p->seen_start[q + 1] && p->seen[low] == item;
}

/* Keep the candidates that reach the limit. */
static int64_t compact(float *reach, int32_t *id, int64_t count, float limit) {
  int64_t kept = 0;
  for (int64_t j = 0; j < count; j++)
    if (!(reach[j] < limit)) reach[kept] = reach[j], id[kept] = id[j], kept++;
  return kept;
}

static inline float margin_of(const Scan *p, int64_t item, int64_t q) {
  return p->margin ? p->margin[item] * p->spread[q] : 0;
}

/* Take a lower bound of an item's score into the k best, if it belongs there. */
static void raise_limit(const Scan *p, Found *f, int64_t q, float lower, int32_t item) {
  float *best = f->best + q * p->k;
  if (!worse(best[0], f->best_id[q * p->k], lower, item)) return;
  replace_worst(best, f->best_id + q * p->k, p->k, lower, item);
  f->limit[q] = best[0] - p->slack[q];
  f->gate[q] = f->limit[q] - p->coarse_slack[q];
}

/* What an upper bound by the codes that are read first must reach. */
static inline float first_limit(const Scan *p, const Found *f, int64_t q) {
  return p->longer ? f->gate[q] : f->limit[q];
}

/* In search_longer.h: the score by longer codes, and the same for what was listed without it. */
static float longer_score(const Scan *p, int64_t item, int64_t q);
static void score_longer(const Scan *p, Found *f, int64_t q);

static void enlist(const Scan *p, Found *f, int64_t q, float upper, int32_t item) {
  float *reach = f->reach + q * p->capacity;
  int32_t *id = f->id + q * p->capacity;
  if (f->count[q] == p->capacity) {
    f->count[q] = compact(reach, id, p->capacity, f->limit[q]);
    if (p->longer && 2 * f->count[q] > p->capacity) score_longer(p, f, q);
    if (2 * f->count[q] > p->capacity) { /* the bounds do not prune: give the query up */
      f->count[q] = -1, f->limit[q] = f->gate[q] = INFINITY;
      return;
    }
  }
  reach[f->count[q]] = upper, id[f->count[q]++] = item;
}

static void consider(const Scan *p, Found *f, int64_t item, int64_t q, float score) {
  float margin = margin_of(p, item, q);
  if (score + margin < first_limit(p, f, q) || f->count[q] < 0 || is_seen(p, q, item)) return;
  if (p->longer) {
    if (!(score > f->best[q * p->k])) { /* it would hardly raise the limit */
      enlist(p, f, q, score + margin + p->coarse_slack[q], ~(int32_t)item);
      return;
    }
    score = longer_score(p, item, q), margin = margin_of(p + 1, item, q);
    if (score + margin < f->limit[q]) return;
  }
  raise_limit(p, f, q, score - margin, (int32_t)item);
  if (p->capacity && !p->aside) enlist(p, f, q, score + margin, (int32_t)item);
}

/* ---------------------------------------------------------------- parts of codes */

/* Parts of an item of PRODUCT4: all lower halves of bytes first, as kernel.py orders tables. */
static void unpack_parts(const Scan *p, int64_t item, uint8_t *out) {
  const uint8_t *code = p->codes + item / GROUP * GROUP * p->row_bytes + item % GROUP;
  if (p->rows) { /* a loop of its own, which compilers turn into vector instructions */
    code = p->rows + item * p->row_bytes;
    for (int64_t j = 0; j < p->row_bytes; j++) out[j] = code[j] & 15, out[p->row_bytes + j] = code[j] >> 4;
    return;
  }
  for (int64_t j = 0; j < p->row_bytes; j++, code += GROUP)
    out[j] = *code & 15, out[p->row_bytes + j] = *code >> 4;
}

#if NUMBERS
INLINE Reals widened(int64_t kind, const uint16_t *bits) {
  return kind == FLOAT16 ? from_float16(bits) : from_bfloat16(bits);
}
#endif
