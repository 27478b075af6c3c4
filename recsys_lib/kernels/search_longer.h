/* Two lengths of codes: short ones are read whole, longer ones, p[1], where the short ones leave a doubt.

   Short codes take half the memory, and their bounds are over ten times as wide: thousands of items pass by
   them before the limit is near its end, hundreds after. A longer code waits for memory, so few are read:

     score above the k-th best lower bound      scored by its longer code at once: the limit rises
     score below it, upper bound above          listed with its upper bound, as ~id
     upper bound below the limit                out, as most are

   At the end the limit is high, and most of what was listed is out unseen; the rest is scored then, and the
   codes are fetched ahead. What is left in the list are upper bounds by longer codes. */

#pragma once
#include "search_fine.h"

/* Of an item whose longer code, INT8 or FLOAT32, lies in memory as products read it. */
static float longer_score(const Scan *p, int64_t item, int64_t q) {
  const Scan *longer = p + 1;
  const int64_t size = longer->kind == INT8 ? 1 : 4;
  const Block block = {longer->codes + item * longer->row_bytes, longer->row_bytes / size, size, NULL, 0};
  return fine_score(longer, item, block, 0, q);
}

static void fetch_longer(const Scan *longer, int64_t item) {
  for (int64_t at = 0; at < longer->row_bytes; at += 64)
    __builtin_prefetch(longer->codes + item * longer->row_bytes + at);
  __builtin_prefetch(longer->factor + item);
  if (longer->margin) __builtin_prefetch(longer->margin + item);
  for (int64_t t = 0; t < longer->n_terms; t++) __builtin_prefetch(longer->term + t * longer->n_items + item);
}

/* Score what was listed as ~id, and leave what reaches the limit. */
static void score_longer(const Scan *p, Found *f, int64_t q) {
  float *reach = f->reach + q * p->capacity;
  int32_t *id = f->id + q * p->capacity;
  const int64_t count = compact(reach, id, f->count[q], f->limit[q]);
  int64_t kept = 0;
  for (int64_t j = 0; j < count; j++) {
    if (j + 8 < count && id[j + 8] < 0) fetch_longer(p + 1, ~id[j + 8]);
    if (reach[j] < f->limit[q]) continue;
    int32_t item = id[j];
    float upper = reach[j];
    if (item < 0) {
      item = ~item;
      const float score = longer_score(p, item, q), margin = margin_of(p + 1, item, q);
      raise_limit(p, f, q, score - margin, item);
      upper = score + margin;
      if (upper < f->limit[q]) continue;
    }
    reach[kept] = upper, id[kept++] = item;
  }
  f->count[q] = kept;
}

static void score_all_longer(const Scan *p, Found *f) {
  for (int64_t q = 0; p->longer && q < p->n_queries; q++)
    if (f->count[q] > 0) score_longer(p, f, q);
}
