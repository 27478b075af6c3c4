/* The best k of each query by PRODUCT4 codes in one call: for one query, steps in Python take as long as the
   scan. */

#pragma once
#include "search_queries.h"

typedef struct {
  Scan scan; /* codes and sizes; what is made of queries is NULL */
  int64_t dimension, width;
  const float *queries, *codebook; /* [n_queries, dimension]; the codebook and its parts as in Tables */
  const int64_t *start;
  const double *directions; /* [n_terms, dimension] */
  double rounding, largest_factor; /* what float32 takes from a score; of all items */
  double longest;                  /* the length of the longest item; below 0 for cosine */
  int64_t *ids;                    /* [n_queries, k], best first; -1 where there are no more */
  float *scores;                   /* [n_queries, k] */
} Nearest;

/* ---------------------------------------------------------------- memory */

/* All that a search makes, as Tables, Scan, Found and Ranking have it, in one piece of memory. */
typedef struct {
  int64_t size;       /* of all, in bytes */
  double *unit;       /* [n, dimension]: queries of length 1 */
  double *length;     /* [n]: what they were before */
  double *lost;       /* [n] */
  float *fine;        /* [n, parts, entries] */
  uint8_t *coarse;    /* the same */
  float *scale, *min; /* [padded], and so are the next three */
  float *slack, *coarse_slack, *spread;
  float *term_scale; /* [n_terms, padded] */
  float *limits;     /* [threads, 2, padded]: limit and gate */
  float *best;       /* [threads, n, k] */
  int32_t *best_id;  /* the same */
  float *reach;      /* [threads, n, capacity] */
  int32_t *id;       /* the same */
  int64_t *count;    /* [threads, n] */
} Workspace;

/* The next piece of `memory`, from the start of a line of the cache. Without memory only sizes add up. */
static void *piece(char *memory, int64_t *size, int64_t bytes) {
  void *here = memory ? memory + *size : NULL;
  *size += up_to(bytes, 64);
  return here;
}

static Workspace workspace_of(const Nearest *p, int64_t threads, char *memory) {
  const int64_t n = p->scan.n_queries, row = padded(&p->scan) * sizeof(float);
  const int64_t entries = n * p->scan.d * p->scan.entries;
  const int64_t places = threads * n * p->scan.k, room = threads * n * p->scan.capacity;
  Workspace w = {.size = 0};
  w.unit = piece(memory, &w.size, n * p->dimension * sizeof(double));
  w.length = piece(memory, &w.size, n * sizeof(double));
  w.lost = piece(memory, &w.size, n * sizeof(double));
  w.fine = piece(memory, &w.size, entries * sizeof(float));
  w.coarse = piece(memory, &w.size, entries);
  w.scale = piece(memory, &w.size, row);
  w.min = piece(memory, &w.size, row);
  w.term_scale = piece(memory, &w.size, p->scan.n_terms * row);
  w.slack = piece(memory, &w.size, row);
  w.coarse_slack = piece(memory, &w.size, row);
  w.spread = piece(memory, &w.size, row);
  w.limits = piece(memory, &w.size, 2 * threads * row);
  w.best = piece(memory, &w.size, places * sizeof(float));
  w.best_id = piece(memory, &w.size, places * sizeof(int32_t));
  w.reach = piece(memory, &w.size, room * sizeof(float));
  w.id = piece(memory, &w.size, room * sizeof(int32_t));
  w.count = piece(memory, &w.size, threads * n * sizeof(int64_t));
  return w;
}

/* ---------------------------------------------------------------- the search */

/* In one order, whatever the processor. */
static double product_double(const double *a, const double *b, int64_t d) {
  double sum[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= d; i += LANES)
    for (int j = 0; j < LANES; j++) sum[j] += a[i + j] * b[i + j];
  for (; i < d; i++) sum[0] += a[i] * b[i];
  for (int half = LANES / 2; half; half /= 2)
    for (int j = 0; j < half; j++) sum[j] += sum[j + half];
  return sum[0];
}

/* Queries of length 1 in float64, and how far they point along the directions of the terms. */
static void unit_queries(const Nearest *p, const Workspace *w) {
  const int64_t d = p->dimension;
  for (int64_t q = 0; q < p->scan.n_queries; q++) {
    double *unit = w->unit + q * d;
    for (int64_t j = 0; j < d; j++) unit[j] = p->queries[q * d + j];
    w->length[q] = sqrt(product_double(unit, unit, d));
    if (w->length[q] > 0)
      for (int64_t j = 0; j < d; j++) unit[j] /= w->length[q];
    for (int64_t t = 0; t < p->scan.n_terms; t++)
      w->term_scale[t * padded(&p->scan) + q] = (float)product_double(unit, p->directions + t * d, d);
    w->slack[q] = w->coarse_slack[q] = w->spread[q] = 0;
  }
}

static int make_tables(const Nearest *p, const Workspace *w, uint8_t *coarse, int64_t threads) {
  const int64_t n = p->scan.n_queries;
  _Atomic int64_t next = 0;
  const Tables made = {.n_queries = n, .dimension = p->dimension, .parts = p->scan.d, .width = p->width,
                       .entries = p->scan.entries, .kind = p->scan.kind, .queries = w->unit,
                       .codebook = p->codebook, .start = p->start, .fine = w->fine, .coarse = coarse,
                       .scale = w->scale, .min = w->min, .lost = w->lost, .next = &next};
  const int failed = tables(&made, threads < n / 64 ? threads : n / 64 + 1);
  for (int64_t q = 0; q < n && coarse; q++)
    w->coarse_slack[q] = (float)(w->lost[q] * (1 + 1e-5) * p->largest_factor + 2 * p->rounding);
  return failed;
}

static int scan_by_tables(const Nearest *p, const Workspace *w, const uint8_t *coarse, int64_t threads) {
  const int64_t n = p->scan.n_queries, wide = padded(&p->scan), k = p->scan.k, capacity = p->scan.capacity;
  _Atomic int64_t next = 0;
  Found found[MAX_THREADS];
  Scan s = p->scan;
  s.fine = w->fine, s.coarse = coarse, s.next = &next;
  s.fine_scale = s.coarse_scale = w->scale, s.coarse_min = w->min;
  s.spread = w->spread, s.term_scale = w->term_scale, s.slack = w->slack, s.coarse_slack = w->coarse_slack;
  for (int64_t i = 0; i < threads; i++)
    found[i] = (Found){.limit = w->limits + 2 * i * wide, .gate = w->limits + (2 * i + 1) * wide,
                       .best = w->best + i * n * k, .best_id = w->best_id + i * n * k,
                       .reach = w->reach + i * n * capacity, .id = w->id + i * n * capacity,
                       .count = w->count + i * n};
  return scan(&s, found, threads);
}

int nearest(const Nearest *p, int64_t threads) {
  const int64_t n = p->scan.n_queries, k = p->scan.k;
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  char *memory = aligned_alloc(64, workspace_of(p, threads, NULL).size + 64);
  if (!memory) return 1;
  const Workspace w = workspace_of(p, threads, memory);
  uint8_t *coarse = NUMBERS ? w.coarse : NULL;
  unit_queries(p, &w);
  const int failed = make_tables(p, &w, coarse, threads) || scan_by_tables(p, &w, coarse, threads);
  if (!failed) {
    const Ranking ranking = {threads, n, k, w.best, w.best_id, p->ids};
    rank(&ranking);
    for (int64_t i = 0; i < n * k; i++) {
      const double scale = p->longest >= 0 ? w.length[i / k] * p->longest : 1;
      p->scores[i] = p->ids[i] < 0 ? -INFINITY : (float)(w.best[i] * scale);
    }
  }
  free(memory);
  return failed;
}
