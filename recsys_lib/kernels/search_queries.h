/* What comes before and after a scan of product codes: tables of the queries, and the best of all threads in
   order. */

#pragma once
#include <float.h>

#include "search.h"

/* ---------------------------------------------------------------- tables */

typedef struct {
  int64_t n_queries, dimension, parts, width, entries, kind;
  const double *queries; /* [n_queries, dimension] */
  const float *codebook; /* [parts, width, entries], in the order of the tables */
  const int64_t *start;  /* [parts]: where the components of a part begin; beyond the dimension they are 0 */
  float *fine;           /* [n_queries, parts, entries]: products of each part with each of its centroids */
  uint8_t *coarse;       /* the same as whole numbers, or NULL */
  float *scale, *min;    /* [n_queries]: what a coarse number stands for, and what a sum of zeros does */
  double *lost;          /* [n_queries]: by how much a sum of coarse entries may be wrong */
  _Atomic int64_t *next; /* how many queries were taken */
} Tables;

/* In float64 and in one order: the same on every processor once it is rounded. */
static void fine_table(const Tables *p, const double *query, int64_t part, float *out) {
  const float *codebook = p->codebook + part * p->width * p->entries;
  const int64_t start = p->start[part];
  for (int64_t from = 0; from < p->entries; from += LANES) {
    double sum[LANES] = {0};
    for (int64_t w = 0; w < p->width && start + w < p->dimension; w++)
      for (int j = 0; j < LANES; j++) sum[j] += query[start + w] * codebook[w * p->entries + from + j];
    for (int j = 0; j < LANES; j++) out[from + j] = (float)sum[j];
  }
}

/* The entries of one part as whole numbers of steps above the lowest; returns the largest error. */
static double coarse_table(const float *fine, int64_t n, double low, double step, uint8_t *out) {
  double largest[LANES] = {0};
  for (int64_t from = 0; from < n; from += LANES)
    for (int j = 0; j < LANES; j++) {
      const double above = fine[from + j] - low;
      const int32_t code = (int32_t)(above / step + 0.5);
      const double lost = fabs(above - code * step);
      out[from + j] = (uint8_t)code;
      largest[j] = lost > largest[j] ? lost : largest[j];
    }
  for (int j = 1; j < LANES; j++) largest[0] = largest[j] > largest[0] ? largest[j] : largest[0];
  return largest[0];
}

/* What the widest entries that are added up in 8 bits come to: one of PRODUCT, or those of both halves of
   TOGETHER bytes of PRODUCT4. */
static double widest_sum(const Tables *p, const float *low, const float *high, int64_t bytes,
                         int64_t together) {
  double widest = 0;
  for (int64_t byte = 0; byte < bytes; byte += together) {
    double sum = 0;
    for (int64_t j = byte; j < byte + together && j < bytes; j++)
      for (int64_t part = j; part < p->parts; part += bytes) sum += (double)high[part] - low[part];
    widest = sum > widest || sum != sum ? sum : widest;
  }
  return widest;
}

/* Rounding raises a coarse entry by at most half a step: four of them whose exact sum is 253 steps come to at
   most 255. One alone of 255 steps stays there. */
static void coarse_tables(const Tables *p, const float *fine, int64_t q) {
  const int64_t halves = p->kind == PRODUCT4 ? 2 : 1, together = p->kind == PRODUCT4 ? TOGETHER : 1;
  const int64_t size = p->parts * p->entries;
  float low[MAX_PARTS], high[MAX_PARTS];
  double min = 0, lost = 0;
  for (int64_t part = 0; part < p->parts; part++) {
    range_of(fine + part * p->entries, p->entries, low + part, high + part);
    min += low[part];
  }
  const double widest = widest_sum(p, low, high, p->parts / halves, together);
  const float step = (float)(widest / (255 - halves * together / 2));
  uint8_t *out = p->coarse + q * size;
  p->scale[q] = step >= FLT_MIN ? step : 1, p->min[q] = (float)min;
  if (!(step < INFINITY) || !isfinite(p->min[q])) { /* nothing is known: all pairs pass */
    memset(out, 0, size);
    p->scale[q] = 1, p->min[q] = 0, p->lost[q] = INFINITY;
    return;
  }
  for (int64_t at = 0, part = 0; part < p->parts; part++, at += p->entries)
    lost += coarse_table(fine + at, p->entries, low[part], p->scale[q], out + at);
  p->lost[q] = lost;
}

/* Take queries until none is left. */
static int tables_task(const void *problem, void *result) {
  const Tables *p = problem;
  (void)result;
  for (int64_t q; (q = atomic_fetch_add(p->next, 1)) < p->n_queries;) {
    float *fine = p->fine + q * p->parts * p->entries;
    for (int64_t part = 0; part < p->parts; part++)
      fine_table(p, p->queries + q * p->dimension, part, fine + part * p->entries);
    if (p->coarse) coarse_tables(p, fine, q);
  }
  return 0;
}

int tables(const Tables *p, int64_t threads) { return in_parallel(p, NULL, 0, threads, tables_task); }

/* ---------------------------------------------------------------- the best of all threads */

typedef struct {
  int64_t n_lists, n_queries, k;
  float *best;      /* [n_lists, n_queries, k]: heaps; the first list becomes the best of all, best first */
  int32_t *best_id; /* the same */
  int64_t *ids;     /* [n_queries, k]: of the best of all; -1 where there are no more */
} Ranking;

int rank(const Ranking *p) {
  for (int64_t q = 0; q < p->n_queries; q++) {
    float *best = p->best + q * p->k;
    int32_t *id = p->best_id + q * p->k;
    for (int64_t at = p->n_queries * p->k; at < p->n_lists * p->n_queries * p->k; at += p->n_queries * p->k)
      for (int64_t i = 0; i < p->k; i++)
        if (worse(best[0], id[0], best[at + i], id[at + i]))
          replace_worst(best, id, p->k, best[at + i], id[at + i]);
    /* The worst goes to the end of what is left, and what was there into the heap. */
    for (int64_t last = p->k - 1; last >= 0; last--) {
      const float worst = best[0], moved = best[last];
      const int32_t worst_id = id[0], moved_id = id[last];
      replace_worst(best, id, last, moved, moved_id);
      best[last] = worst, id[last] = worst_id;
      p->ids[q * p->k + last] = worst_id == INT32_MAX ? -1 : worst_id;
    }
  }
  return 0;
}
