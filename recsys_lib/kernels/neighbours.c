/* The k most similar items of every item, by the cosines of a sparse matrix's columns. compiler.py compiles
   this for the machine it runs on.

   Row i of the Gram matrix is the sum of the rows of i's users, each times i's weight there (Gustavson,
   1978):

     by item   i: u1 u4 u9        by user   u1: i j          sum   [i] [j]  0  [l] ... 0
                                            u4: i j l        met   i j l
                                            u9: i l

   Sums of one item are 4 bytes for each item of the catalogue, zero between items: they stay in the cache,
   and no block of similarities is ever written. Where an item meets few others these are noted as they are
   met, and only they are looked at; where it meets many, all are, a register at a time.

   A sum is divided by max(|i| |j| + shrinkage, 1e-12) and compared with the k-th best so far. Nearly all
   pairs are out by a product instead of the division. All is added in float32 in the order of the users, as
   SciPy's product does: the same bits, whatever the number of threads. */

#define _GNU_SOURCE
#include <stdatomic.h>
#include <string.h>

#include "threads.h"

#define AT_ONCE 16 /* items that a thread takes */
#define RUN 16     /* items that are compared before one is looked at */
#define FEW 4      /* one product for so many items of the catalogue, or fewer: few items are met */

typedef struct {
  int64_t n_items, from, to, k;
  const int64_t *item_start, *user_start; /* [n_items + 1], [n_users + 1] */
  const int32_t *user, *item;             /* of the entries by item, and by user */
  const float *by_item, *by_user;         /* their weights */
  const float *length;                    /* [n_items] */
  const float *added;                     /* [to - from, n_items]: other products, or NULL */
  int32_t *id;                            /* [n_items, k], in no order */
  float *cosine;                          /* [n_items, k], 0 where fewer are above 0 */
  _Atomic int64_t *next;                  /* the next item */
  float shrinkage;
} Neighbours;

/* How many products the sums of item i have. */
static int64_t additions(const Neighbours *p, int64_t i) {
  int64_t n = 0;
  for (int64_t a = p->item_start[i]; a < p->item_start[i + 1]; a++)
    n += p->user_start[p->user[a] + 1] - p->user_start[p->user[a]];
  return n;
}

/* Sums of products of item i with all items. */
static void add_rows(const Neighbours *p, int64_t i, float *restrict sum) {
  for (int64_t a = p->item_start[i]; a < p->item_start[i + 1]; a++) {
    const int64_t u = p->user[a], end = p->user_start[u + 1];
    const float weight = p->by_item[a];
    for (int64_t b = p->user_start[u]; b < end; b++) sum[p->item[b]] += weight * p->by_user[b];
  }
}

/* The same, and which items were met: returns how many notes there are, some perhaps twice where products are
   too small for float32. */
static int64_t add_and_note_rows(const Neighbours *p, int64_t i, float *restrict sum, int32_t *restrict met) {
  int64_t n = 0;
  for (int64_t a = p->item_start[i]; a < p->item_start[i + 1]; a++) {
    const int64_t u = p->user[a], end = p->user_start[u + 1];
    const float weight = p->by_item[a];
    for (int64_t b = p->user_start[u]; b < end; b++) {
      const int32_t j = p->item[b];
      met[n] = j, n += sum[j] == 0;
      sum[j] += weight * p->by_user[b];
    }
  }
  return n;
}

/* ---------------------------------------------------------------- selection */

/* What may be among the best k of item i. A key is the bits of a cosine above 0, which are in order as whole
   numbers are, and below them the other item's number turned round: of equal cosines the smaller item's key
   is the larger. */
typedef struct {
  uint64_t *key;
  int64_t i, n, room;
  float limit; /* a product below this times its divisor is out, whatever rounding does */
} Candidates;

static inline void swap(uint64_t *a, uint64_t *b) {
  const uint64_t kept = *a;
  *a = *b, *b = kept;
}

/* Bring the k largest of n different keys to the front, the smallest of them last: Hoare's selection, whose
   parts are divided without branches. */
static void select_best(uint64_t *key, int64_t n, int64_t k) {
  for (int64_t low = 0, high = n; high - low > 1;) {
    uint64_t *first = key + low, *middle = key + (low + high) / 2, *last = key + high - 1;
    if ((*middle > *first) != (*middle > *last)) /* the one between the two others divides */
      swap(first, middle);
    else if ((*last > *first) != (*last > *middle))
      swap(first, last);
    const uint64_t divide = *first;
    int64_t larger = low;
    for (int64_t t = low + 1; t < high; t++) {
      const uint64_t v = key[t], kept = key[larger + 1];
      key[t] = kept, key[larger + 1] = v;
      larger += v > divide;
    }
    swap(first, key + larger);
    if (larger == k - 1) return;
    if (larger > k - 1)
      high = larger;
    else
      low = larger + 1;
  }
}

static inline float divisor(const Neighbours *p, int64_t i, int64_t j) {
  const float lengths = p->length[i] * p->length[j] + p->shrinkage;
  return lengths > 1e-12f ? lengths : 1e-12f;
}

static void keep_k(const Neighbours *p, Candidates *c) {
  if (c->n <= p->k) return;
  select_best(c->key, c->n, p->k);
  const uint32_t bits = c->key[p->k - 1] >> 32;
  float worst;
  memcpy(&worst, &bits, 4);
  c->n = p->k, c->limit = worst * (1 - 0x1p-21f);
}

/* One item more, where its product may be among the best; there must be room. Without branches, which nobody
   could foretell. */
static inline void offer(const Neighbours *p, Candidates *c, int64_t j, float product) {
  const float divided_by = divisor(p, c->i, j), cosine = product / divided_by;
  uint32_t bits;
  memcpy(&bits, &cosine, 4);
  c->key[c->n] = (uint64_t)bits << 32 | (UINT32_MAX - (uint32_t)j);
  c->n += (product >= c->limit * divided_by) & (cosine > 0) & (j != c->i);
}

/* All items, RUN at once: most runs have none that may be among the best. */
static void offer_all(const Neighbours *p, Candidates *c, float *restrict sum) {
  const float *added = p->added ? p->added + (c->i - p->from) * p->n_items : NULL;
  for (int64_t from = 0; from < p->n_items; from += RUN) {
    const int64_t end = from + RUN < p->n_items ? from + RUN : p->n_items;
    const float limit = c->limit;
    int passed = 0;
    if (added)
      for (int64_t j = from; j < end; j++) sum[j] += added[j];
    for (int64_t j = from; j < end; j++) passed |= sum[j] >= limit * divisor(p, c->i, j);
    for (int64_t j = from; j < end && passed; j++) offer(p, c, j, sum[j]);
    for (int64_t j = from; j < end; j++) sum[j] = 0;
    if (c->n + RUN > c->room) keep_k(p, c);
  }
}

static void offer_met(const Neighbours *p, Candidates *c, float *restrict sum, const int32_t *met,
                      int64_t n) {
  for (int64_t t = 0; t < n; t++) {
    const int64_t j = met[t];
    offer(p, c, j, sum[j]);
    sum[j] = 0; /* which is no neighbour, should it be noted twice */
    if (c->n == c->room) keep_k(p, c);
  }
}

/* The neighbours of item i; `sum` is zero before and after. */
static void find(const Neighbours *p, Candidates *c, int64_t i, float *sum, int32_t *met) {
  const int64_t n = additions(p, i);
  c->i = i, c->n = 0, c->limit = 0;
  if (p->added || FEW * n > p->n_items) {
    add_rows(p, i, sum);
    offer_all(p, c, sum);
  } else
    offer_met(p, c, sum, met, add_and_note_rows(p, i, sum, met));
  keep_k(p, c);
  for (int64_t s = 0; s < p->k; s++) {
    const uint64_t key = s < c->n ? c->key[s] : 0;
    const uint32_t bits = key >> 32;
    memcpy(p->cosine + i * p->k + s, &bits, 4);
    p->id[i * p->k + s] = (int32_t)(UINT32_MAX - (uint32_t)key);
  }
}

/* Take items until none is left. Returns 1 where there is no memory for a row of sums. */
static int take_items(const void *problem, void *nothing) {
  const Neighbours *p = problem;
  Candidates c = {.room = 4 * p->k + RUN};
  float *sum = calloc(p->n_items, sizeof(float));
  int32_t *met = malloc((p->n_items / FEW + 1) * sizeof(int32_t));
  c.key = malloc((c.room + 1) * sizeof(uint64_t)); /* one more: an offer is written before it counts */
  const int failed = !sum || !met || !c.key;
  (void)nothing;
  for (int64_t i; !failed && (i = atomic_fetch_add(p->next, AT_ONCE)) < p->to;)
    for (const int64_t end = i + AT_ONCE < p->to ? i + AT_ONCE : p->to; i < end; i++)
      find(p, &c, i, sum, met);
  free(sum), free(met), free(c.key);
  return failed;
}

int neighbours(const Neighbours *p, int64_t threads) {
  return in_parallel(p, NULL, 0, threads, take_items);
}
