/* Scans of codes for what may be among the best k of each query. compiler.py compiles this for the machine it
   runs on.

   In order: search_lanes.h (vector registers), search.h (data, candidates), search_fine.h, search_coarse.h,
   search_tables.h and search_amx.h (products), search_longer.h (longer codes of what short ones leave),
   search_blocks.h (codes as products read them), search_queries.h (tables of queries, and their best in
   order), search_nearest.h (a whole search by codes of 4 bits); here the scan, its threads, and the scores in
   float32 of what it found.

   The score of an item is factor[item] * (query . code) + sum over t of term[t][item] * term_scale[t][query].
   It may be wrong by up to margin[item] * spread[query]: the upper bound of a candidate is compared with the
   query's limit, which is the k-th best lower bound so far. Nearly all pairs fall below it while they are
   still in registers, so scores are never written.

   A pair has one fine product, always summed in the same way. Few queries are scored with it alone. For many,
   blocks of items and panels of queries are multiplied at a time and coarsely: in 8 bits (6 on AVX2), floats
   in bfloat16 where there are matrix units, entries of tables in 8 bits or what adds up in 8, signs by tables
   too. A pair that might pass by its coarse product is scored by the fine one. So results depend neither on
   the number of queries nor on the units of the processor. What is not a number passes every comparison. */

#define _GNU_SOURCE
#include "search_amx.h"
#include "search_blocks.h"
#include "search_coarse.h"
#include "search_longer.h"
#include "search_nearest.h"
#include "search_queries.h"
#include "search_tables.h"

/* The items from ... from + n - 1 with all queries, by the fastest products that there are for them. */
static void scan_block(const Scan *p, Found *f, const Buffers *buffers, int64_t from, int64_t n) {
#if NUMBERS
  if (p->kind == PRODUCT4) {
    scan_parts(p, f, from, n);
    return;
  }
#endif
  Block block = block_of(p, buffers, from, n);
#if TILES
  if (block.tiles && p->tiles) {
    if (!is_float(p)) offsets(block, n, buffers->offset);
    scan_groups(p, f, from, n, block, buffers->score, buffers->offset);
    return;
  }
#endif
#if NUMBERS
  if (p->coarse && p->kind == BITS) {
    scan_signs(p, f, from, n, block);
    return;
  }
  if (p->coarse) {
    scan_many(p, f, from, n, block, buffers->offset);
    return;
  }
#endif
  if (p->kind == BITS)
    scan_few_signs(p, f, from, n);
  else
    scan_few(p, f, from, n, block, 0, buffers->score);
}

/* Take blocks of items until none is left. Returns 1 where there is no memory for a block. */
static int scan_blocks(const Scan *p, Found *f) {
  Buffers buffers = buffers_for(p);
  const int failed = !buffers.score;
  const int64_t n_blocks = (p->n_items + buffers.n - 1) / buffers.n;
#if TILES
  if (p->tiles && !failed) amx_begin();
#endif
  for (int64_t place; !failed && (place = atomic_fetch_add(p->next, 1)) < n_blocks;) {
    const int64_t from = in_order(place, n_blocks) * buffers.n;
    const int64_t n = from + buffers.n < p->n_items ? buffers.n : p->n_items - from;
    scan_block(p, f, &buffers, from, n);
  }
  settle_all(p, f);
  score_all_longer(p, f);
#if TILES
  if (p->tiles && !failed) _tile_release();
#endif
  free(buffers.score), free(buffers.offset), free(buffers.unpacked), free(buffers.tiles);
  return failed;
}

/* Whether there are matrix units here and the system lets them be used. */
int matrix_units(void) {
#if TILES
  return amx_allowed();
#else
  return 0;
#endif
}

/* The largest code of a query in 8-bit coarse products, 0 where there are none; and what is added to it. */
int max_code(void) { return MAX_CODE; }
int raise_of_codes(void) { return RAISE; }

/* Which instructions multiply: a place in kernel.py's INSTRUCTIONS. */
int instructions(void) {
  if (matrix_units()) return 5;
  return NUMBERS == 16 ? 4 : NUMBERS == 8 ? (MAX_CODE == 127 ? 3 : 2) : NUMBERS ? 1 : 0;
}

/* ---------------------------------------------------------------- entry points */

static int scan_task(const void *p, void *f) { return scan_blocks(p, f); }

static void begin(const Scan *p, Found *f, int64_t threads) {
  for (int64_t i = 0; i < threads; i++) { /* a thread that never runs has found nothing */
    for (int64_t q = 0; q < padded(p); q++)
      f[i].limit[q] = f[i].gate[q] = q < p->n_queries ? -INFINITY : INFINITY; /* padding never passes */
    for (int64_t j = 0; j < p->n_queries * p->k; j++) f[i].best[j] = -INFINITY, f[i].best_id[j] = INT32_MAX;
    for (int64_t q = 0; q < p->n_queries; q++) f[i].count[q] = 0;
  }
}

int scan(const Scan *p, Found *f, int64_t threads) {
  begin(p, f, threads);
  return in_parallel(p, f, sizeof(Found), threads, scan_task);
}

/* ---------------------------------------------------------------- scores in float32 */

typedef struct {
  int64_t n_lists, n_queries, k, capacity, d, max_rescored;
  const float *rows, *queries, *weight,
      *margin;               /* [n_items, d], [n_queries, d], [n_items], [n_items] or NULL */
  const float *limit, *band; /* [n_queries]: candidates below it are out; how far below the k-th best */
  float *reach;              /* [n_lists, n_queries, capacity] */
  int32_t *id;
  int64_t *count;    /* [n_lists, n_queries] */
  int64_t *rescored; /* [n_queries], -1 where more than max_rescored would have to be */
  _Atomic int64_t *next;
} Rescore;

static void rescore_query(const Rescore *p, int64_t q, float *best, int32_t *best_id) {
  int64_t total = 0;
  for (int64_t i = 0; i < p->k; i++) best[i] = -INFINITY, best_id[i] = INT32_MAX;
  for (int64_t list = 0; list < p->n_lists; list++) {
    int64_t at = list * p->n_queries + q;
    if (p->count[at] < 0)
      total = p->max_rescored + 1;
    else {
      p->count[at] =
          compact(p->reach + at * p->capacity, p->id + at * p->capacity, p->count[at], p->limit[q]);
      total += p->count[at];
    }
  }
  p->rescored[q] = total > p->max_rescored ? -1 : total;
  for (int64_t list = 0; list < p->n_lists; list++) {
    int64_t at = list * p->n_queries + q;
    if (total > p->max_rescored) p->count[at] = 0;
    float *reach = p->reach + at * p->capacity;
    const int32_t *id = p->id + at * p->capacity;
    for (int64_t j = 0; j < p->count[at]; j++) {
      if (j + 4 < p->count[at])
        for (int64_t line = 0; line < p->d; line += 16) __builtin_prefetch(p->rows + id[j + 4] * p->d + line);
      if (p->margin && isinf(p->margin[id[j]])) {
        reach[j] = INFINITY; /* its length is beyond float32: only float64 can tell */
        continue;
      }
      reach[j] = p->weight[id[j]] * product_float(p->queries + q * p->d, p->rows + id[j] * p->d, p->d);
      if (reach[j] > best[0]) replace_worst(best, best_id, p->k, reach[j], id[j]);
    }
  }
  for (int64_t list = 0; list < p->n_lists; list++) {
    int64_t at = list * p->n_queries + q;
    p->count[at] =
        compact(p->reach + at * p->capacity, p->id + at * p->capacity, p->count[at], best[0] - p->band[q]);
  }
}

/* Take queries until none is left: score their candidates by the float32 rows and leave those that may be
 * among the best k. */
static int rescore_task(const void *problem, void *result) {
  const Rescore *p = problem;
  (void)result;
  float *best = malloc(p->k * sizeof(float));
  int32_t *best_id = malloc(p->k * sizeof(int32_t));
  int failed = !best || !best_id;
  if (!failed)
    for (int64_t q; (q = atomic_fetch_add(p->next, 1)) < p->n_queries;) rescore_query(p, q, best, best_id);
  free(best), free(best_id);
  return failed;
}

int rescore(const Rescore *p, int64_t threads) { return in_parallel(p, NULL, 0, threads, rescore_task); }
