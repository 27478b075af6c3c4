/* Scans of codes for what may be among the best k of each query. kernel.py compiles this for the machine it runs on.

   The score of an item is factor[item] * (query . code) + sum over t of term[t][item] * term_scale[t][query]. It may be wrong by
   up to margin[item] * spread[query]: the upper bound of a candidate is compared with the query's limit, which is the k-th best
   lower bound so far. Nearly all pairs fall below it while they are still in registers, so scores are never written.

   A pair has one fine product, always summed in the same way. Few queries are scored with it alone. For many, 8 items and up to
   48 queries are multiplied at a time, queries of integer codes as 8 bits; a pair that might pass by this coarse product is
   judged by the fine one. So results do not depend on the number of queries. What is not a number passes every comparison. */

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && !defined(PORTABLE)
#include <immintrin.h>
#define WIDE 1
#else
#define WIDE 0
#endif

#define UNROLL _Pragma("GCC unroll 8")
#define LANES 16 /* queries of one panel */
#define ROWS 8   /* items of one tile */
#define WIDTH 3  /* panels of one tile */
#define BLOCK_BYTES (96 * 1024) /* of codes, unpacked: they stay in the cache while all queries pass */
#define MOST_THREADS 64
#define SAMPLE 32 /* one block of so many comes first */
#define AHEAD 8192 /* bytes: how far ahead of its use a code is fetched; processors stop on their own at the end of a 4 KB page */

enum { INT8, INT4, BINARY, FLOAT32, FLOAT16, BFLOAT16, PRODUCT, BITS };

typedef struct {
  int64_t n_items, d, kind, row_bytes, entries, n_queries, k, capacity, n_terms;
  const uint8_t *codes;                   /* [n_items, row_bytes]; PRODUCT: d parts, each one of so many entries */
  const float *factor, *margin, *term;    /* [n_items], [n_items] or NULL for 0, [n_terms, n_items] */
  const void *fine, *coarse;              /* see kernel.py; without coarse ones, all products are fine */
  const float *fine_scale, *coarse_scale; /* [padded]: what a code of a query stands for */
  const float *coarse_least;              /* [padded]: what 0 stands for in coarse tables */
  const float *spread, *term_scale;       /* [padded], [n_terms, padded]; padded is n_queries up to a multiple of 16 */
  const float *slack, *coarse_slack;      /* [n_queries]: how far below the k-th best a score may be, and beside it if coarse */
  const int64_t *seen_start, *seen;       /* items to leave out: CSR with ascending ids, or NULL */
  _Atomic int64_t *next;                  /* how many blocks of items were taken */
} Scan;

typedef struct {
  float *limit, *gate; /* [padded]: below them a fine or a coarse score is out */
  float *best;         /* [n_queries, k]: the best lower bounds so far, a heap with the worst on top */
  int32_t *best_id;    /* [n_queries, k] */
  float *reach;        /* [n_queries, capacity]: upper bounds of the candidates */
  int32_t *id;         /* [n_queries, capacity] */
  int64_t *count;      /* [n_queries]: candidates, or -1 where there were too many */
} Found;

/* Codes of some items, unpacked: int8, float or, for PRODUCT and BITS, bytes; stride in codes, and the size of a code. */
typedef struct {
  const void *codes;
  int64_t stride, size;
} Block;

static inline void fetch_ahead(const void *code, int64_t bytes) {
  for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch((const char *)code + AHEAD + line);
}

static inline int64_t padded(const Scan *p) { return (p->n_queries + LANES - 1) / LANES * LANES; }

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
    if (p->seen[middle] < item) low = middle + 1;
    else high = middle;
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

static void consider(const Scan *p, Found *f, int64_t item, int64_t q, float score) {
  float margin = p->margin ? p->margin[item] * p->spread[q] : 0;
  if (score + margin < f->limit[q] || f->count[q] < 0 || is_seen(p, q, item)) return;
  float *best = f->best + q * p->k;
  if (worse(best[0], f->best_id[q * p->k], score - margin, (int32_t)item)) {
    replace_worst(best, f->best_id + q * p->k, p->k, score - margin, (int32_t)item);
    f->limit[q] = best[0] - p->slack[q];
    f->gate[q] = f->limit[q] - p->coarse_slack[q];
  }
  if (!p->capacity) return;
  float *reach = f->reach + q * p->capacity;
  int32_t *id = f->id + q * p->capacity;
  if (f->count[q] == p->capacity) {
    f->count[q] = compact(reach, id, p->capacity, f->limit[q]);
    if (2 * f->count[q] > p->capacity) { /* the bounds do not prune: give the query up */
      f->count[q] = -1, f->limit[q] = f->gate[q] = INFINITY;
      return;
    }
  }
  reach[f->count[q]] = score + margin, id[f->count[q]++] = (int32_t)item;
}

/* ---------------------------------------------------------------- fine products */

static int32_t product_int(const int16_t *query, const int8_t *code, int64_t d) {
  int64_t j = 0;
  int32_t sum = 0;
#if WIDE
  __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  for (; j + 64 <= d; j += 64)
    UNROLL for (int i = 0; i < 2; i++) {
      __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(code + j + 32 * i)));
      sums[i] = _mm512_dpwssd_epi32(sums[i], wide, _mm512_loadu_si512(query + j + 32 * i));
    }
  sum = _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]));
#endif
  for (; j < d; j++) sum += (int32_t)query[j] * code[j];
  return sum;
}

static float product_float(const float *a, const float *b, int64_t d) {
  float sum = 0;
  int64_t j = 0;
#if WIDE
  __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  for (; j + 64 <= d; j += 64)
    UNROLL for (int i = 0; i < 4; i++)
      sums[i] = _mm512_fmadd_ps(_mm512_loadu_ps(a + j + 16 * i), _mm512_loadu_ps(b + j + 16 * i), sums[i]);
  sum = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
#else
  float sums[16] = {0};
  for (; j + 16 <= d; j += 16)
    for (int i = 0; i < 16; i++) sums[i] += a[j + i] * b[j + i];
  for (int i = 0; i < 16; i++) sum += sums[i];
#endif
  for (; j < d; j++) sum += a[j] * b[j];
  return sum;
}

#if WIDE
static inline __m512 widened(int64_t kind, const uint16_t *bits) {
  __m256i narrow = _mm256_loadu_si256((const __m256i *)bits);
  if (kind == FLOAT16) return _mm512_cvtph_ps(narrow);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
}

/* As product_float of the unpacked code, for whole steps of 64. */
static float product_narrow(int64_t kind, const float *a, const uint16_t *b, int64_t d) {
  __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int64_t j = 0; j < d; j += 64)
    UNROLL for (int i = 0; i < 4; i++)
      sums[i] = _mm512_fmadd_ps(_mm512_loadu_ps(a + j + 16 * i), widened(kind, b + j + 16 * i), sums[i]);
  return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
}
#endif

static float product_table(const float *table, const uint8_t *code, int64_t parts, int64_t entries) {
  float sums[4] = {0};
  int64_t j = 0;
  for (; j + 4 <= parts; j += 4)
    for (int i = 0; i < 4; i++) sums[i] += table[(j + i) * entries + code[j + i]];
  for (; j < parts; j++) sums[0] += table[j * entries + code[j]];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static int32_t product_bits(const uint8_t *query, const uint8_t *code, int64_t bytes) {
  int64_t differing = 0, j = 0;
  for (; j + 8 <= bytes; j += 8) {
    uint64_t a, b;
    memcpy(&a, query + j, 8), memcpy(&b, code + j, 8);
    differing += __builtin_popcountll(a ^ b);
  }
  for (; j < bytes; j++) differing += __builtin_popcount(query[j] ^ code[j]);
  return (int32_t)(8 * bytes - 2 * differing);
}

/* A query times a code, whatever they are. */
static inline float product(const Scan *p, Block block, int64_t i, int64_t q) {
  const void *code = (const char *)block.codes + i * block.stride * block.size;
  if (p->kind <= BINARY) return p->fine_scale[q] * (float)product_int((const int16_t *)p->fine + q * p->d, code, p->d);
  if (p->kind == BITS) return p->fine_scale[q] * (float)product_bits((const uint8_t *)p->fine + q * p->row_bytes, code, p->row_bytes);
  if (p->kind == PRODUCT) return product_table((const float *)p->fine + q * p->d * p->entries, code, p->d, p->entries);
#if WIDE
  if (block.size == 2) return product_narrow(p->kind, (const float *)p->fine + q * p->d, code, p->d);
#endif
  return product_float((const float *)p->fine + q * p->d, code, p->d);
}

static float fine_score(const Scan *p, int64_t item, Block block, int64_t i, int64_t q) {
  float score = product(p, block, i, q) * p->factor[item];
  for (int64_t t = 0; t < p->n_terms; t++) score += p->term[t * p->n_items + item] * p->term_scale[t * padded(p) + q];
  return score;
}

/* Items first ... n - 1 of a block by their fine scores, the same as fine_score gives; many at once pass by unnoticed. */
static void scan_few(const Scan *p, Found *f, int64_t from, int64_t n, Block block, int64_t first, float *score) {
  for (int64_t q = 0; q < p->n_queries; q++) {
    const float *factor = p->factor + from, *margin = p->margin ? p->margin + from : NULL, spread = p->spread[q];
    for (int64_t i = first; i < n; i++) {
      if (!q) fetch_ahead((const char *)block.codes + i * block.stride * block.size, p->row_bytes);
      score[i] = product(p, block, i, q);
    }
    for (int64_t i = first; i < n; i++) score[i] *= factor[i];
    for (int64_t t = 0; t < p->n_terms; t++) {
      const float *term = p->term + t * p->n_items + from, scale = p->term_scale[t * padded(p) + q];
      for (int64_t i = first; i < n; i++) score[i] += term[i] * scale;
    }
    for (int64_t i = first; i < n; i += LANES) {
      const int64_t end = i + LANES < n ? i + LANES : n;
      const float limit = f->limit[q];
      int passed = 0;
      for (int64_t j = i; j < end; j++) passed |= !(score[j] + (margin ? margin[j] * spread : 0) < limit);
      for (int64_t j = i; j < end && passed; j++) consider(p, f, from + j, q, score[j]);
    }
  }
}

/* ---------------------------------------------------------------- coarse products */

#if WIDE
/* Judge one item by its products with a panel of queries. */
static inline void judge(const Scan *p, Found *f, __m512 score, int64_t from, Block block, int64_t i, int64_t panel) {
  const int64_t q = panel * LANES, item = from + i;
  score = _mm512_mul_ps(score, _mm512_set1_ps(p->factor[item]));
  if (p->margin) score = _mm512_fmadd_ps(_mm512_set1_ps(p->margin[item]), _mm512_loadu_ps(p->spread + q), score);
  for (int64_t t = 0; t < p->n_terms; t++) {
    __m512 term = _mm512_set1_ps(p->term[t * p->n_items + item]);
    score = _mm512_fmadd_ps(term, _mm512_loadu_ps(p->term_scale + t * padded(p) + q), score);
  }
  unsigned passed = _mm512_cmp_ps_mask(score, _mm512_loadu_ps(f->gate + q), _CMP_NLT_UQ);
  for (; passed; passed &= passed - 1) {
    int64_t which = q + __builtin_ctz(passed);
    if (which < p->n_queries) consider(p, f, item, which, fine_score(p, item, block, i, which));
  }
}

/* ROWS items with `width` panels of queries, all sums in registers. */
static inline __attribute__((always_inline)) void tile_int(const Scan *p, Found *f, int64_t from, Block block, int64_t first,
                                                           const int32_t *offset, int64_t panel, const int width) {
  const int64_t steps = (p->d + 3) / 4;
  const int8_t *codes = (const int8_t *)block.codes + first * block.stride;
  const uint8_t *queries = (const uint8_t *)p->coarse + panel * steps * 4 * LANES;
  __m512i sum[ROWS][WIDTH];
  UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int w = 0; w < width; w++) sum[i][w] = _mm512_set1_epi32(offset[i]);
  for (int64_t step = 0; step < steps; step++) {
    __m512i query[WIDTH];
    UNROLL for (int w = 0; w < width; w++) query[w] = _mm512_loadu_si512(queries + (w * steps + step) * 4 * LANES);
    UNROLL for (int i = 0; i < ROWS; i++) {
      int32_t four;
      memcpy(&four, codes + i * block.stride + 4 * step, 4);
      __m512i code = _mm512_set1_epi32(four);
      /* The intrinsic of this instruction makes GCC 12 spill every sum, which halves the speed. */
      UNROLL for (int w = 0; w < width; w++) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum[i][w]) : "v"(query[w]), "v"(code));
    }
  }
  UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int w = 0; w < width; w++) {
    __m512 scale = _mm512_loadu_ps(p->coarse_scale + (panel + w) * LANES);
    judge(p, f, _mm512_mul_ps(_mm512_cvtepi32_ps(sum[i][w]), scale), from, block, first + i, panel + w);
  }
}

static inline __attribute__((always_inline)) void tile_float(const Scan *p, Found *f, int64_t from, Block block, int64_t first,
                                                             int64_t panel, const int width) {
  const float *codes = (const float *)block.codes + first * block.stride;
  const float *queries = (const float *)p->coarse + panel * p->d * LANES;
  __m512 sum[ROWS][WIDTH];
  UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int w = 0; w < width; w++) sum[i][w] = _mm512_setzero_ps();
  for (int64_t j = 0; j < p->d; j++) {
    __m512 query[WIDTH];
    UNROLL for (int w = 0; w < width; w++) query[w] = _mm512_loadu_ps(queries + (w * p->d + j) * LANES);
    UNROLL for (int i = 0; i < ROWS; i++) {
      __m512 code = _mm512_set1_ps(codes[i * block.stride + j]);
      UNROLL for (int w = 0; w < width; w++) sum[i][w] = _mm512_fmadd_ps(query[w], code, sum[i][w]);
    }
  }
  UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int w = 0; w < width; w++)
    judge(p, f, sum[i][w], from, block, first + i, panel + w);
}

/* Entries of tables as 8 bits; a sum of up to 257 of them fits 16. */
static void panel_table(const Scan *p, Found *f, int64_t from, Block block, int64_t i, int64_t panel) {
  const uint8_t *code = (const uint8_t *)block.codes + i * block.stride;
  const uint8_t *table = (const uint8_t *)p->coarse + panel * p->d * p->entries * LANES;
  __m256i sum = _mm256_setzero_si256();
  for (int64_t j = 0; j < p->d; j++) {
    __m128i entry = _mm_loadu_si128((const __m128i *)(table + (j * p->entries + code[j]) * LANES));
    sum = _mm256_add_epi16(sum, _mm256_cvtepu8_epi16(entry));
  }
  __m512 total = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(sum));
  __m512 scale = _mm512_loadu_ps(p->coarse_scale + panel * LANES), least = _mm512_loadu_ps(p->coarse_least + panel * LANES);
  judge(p, f, _mm512_fmadd_ps(total, scale, least), from, block, i, panel);
}

static void offsets(const int8_t *codes, int64_t stride, int64_t n, int64_t d, int32_t *out) {
  for (int64_t i = 0; i < n; i++) { /* codes of queries were raised by 128 */
    int32_t sum = 0;
    for (int64_t j = 0; j < d; j++) sum += codes[i * stride + j];
    out[i] = -128 * sum;
  }
}

static void scan_many(const Scan *p, Found *f, int64_t from, int64_t n, Block block, float *score, int32_t *offset) {
  const int64_t panels = padded(p) / LANES, whole = p->kind == PRODUCT ? n : n / ROWS * ROWS;
  if (p->kind <= BINARY) offsets(block.codes, block.stride, whole, p->d, offset);
  for (int64_t panel = 0; panel < panels;) {
    const int width = panel + WIDTH <= panels && p->kind != PRODUCT ? WIDTH : 1;
    if (p->kind == PRODUCT)
      for (int64_t i = 0; i < whole; i++) panel_table(p, f, from, block, i, panel);
    else if (p->kind <= BINARY && width == WIDTH)
      for (int64_t i = 0; i < whole; i += ROWS) tile_int(p, f, from, block, i, offset + i, panel, WIDTH);
    else if (p->kind <= BINARY)
      for (int64_t i = 0; i < whole; i += ROWS) tile_int(p, f, from, block, i, offset + i, panel, 1);
    else if (width == WIDTH)
      for (int64_t i = 0; i < whole; i += ROWS) tile_float(p, f, from, block, i, panel, WIDTH);
    else
      for (int64_t i = 0; i < whole; i += ROWS) tile_float(p, f, from, block, i, panel, 1);
    panel += width;
  }
  scan_few(p, f, from, n, block, whole, score);
}
#else
static void scan_many(const Scan *p, Found *f, int64_t from, int64_t n, Block block, float *score, int32_t *offset) {
  (void)offset;
  scan_few(p, f, from, n, block, 0, score);
}
#endif

/* ---------------------------------------------------------------- a scan */

static float half(uint16_t bits) {
  uint32_t rest = (uint32_t)(bits & 0x7fff) << 13, sign = (uint32_t)(bits & 0x8000) << 16;
  float size;
  memcpy(&size, &rest, 4);
  size *= 0x1p112f; /* the exponents of the two formats differ by 112, and this holds for subnormal numbers too */
  memcpy(&rest, &size, 4);
  rest |= sign;
  memcpy(&size, &rest, 4);
  return size;
}

static void unpack_int(int64_t kind, const uint8_t *code, int64_t d, int8_t *out) {
  if (kind == INT8) memcpy(out, code, d);
  else if (kind == INT4 || kind == PRODUCT) {
    const int lowest = kind == INT4 ? -8 : 0; /* all lower halves first: kernel.py orders queries likewise */
    for (int64_t j = 0; j < d / 2; j++) out[j] = (code[j] & 15) + lowest;
    for (int64_t j = 0; j < d / 2; j++) out[d / 2 + j] = (code[j] >> 4) + lowest;
  } else {
    int64_t j = 0;
#if WIDE
    for (; j + 64 <= d; j += 64) {
      uint64_t bits;
      memcpy(&bits, code + j / 8, 8);
      _mm512_storeu_si512(out + j, _mm512_mask_blend_epi8(bits, _mm512_set1_epi8(-1), _mm512_set1_epi8(1)));
    }
#endif
    for (; j < d; j++) out[j] = (code[j / 8] >> (j % 8)) & 1 ? 1 : -1;
  }
}

static void unpack_float(int64_t kind, const uint8_t *code, int64_t d, float *out) {
  const uint16_t *bits = (const uint16_t *)code;
  int64_t j = 0;
#if WIDE
  for (; j + 16 <= d; j += 16) _mm512_storeu_ps(out + j, widened(kind, bits + j));
#endif
  for (; j < d; j++) {
    uint32_t whole = (uint32_t)bits[j] << 16;
    if (kind == FLOAT16) out[j] = half(bits[j]);
    else memcpy(out + j, &whole, 4);
  }
}

/* Every SAMPLE-th block comes first, so that limits are near their ends early, whatever the order of the items. */
static int64_t in_order(int64_t place, int64_t n) {
  int64_t sampled = (n + SAMPLE - 1) / SAMPLE, rest = place - sampled;
  return rest < 0 ? place * SAMPLE : rest + rest / (SAMPLE - 1) + 1;
}

/* Take blocks of items until none is left. Returns 1 where there is no memory for a block. */
static int scan_blocks(const Scan *p, Found *f) {
  const int floats = p->kind == FLOAT32 || p->kind == FLOAT16 || p->kind == BFLOAT16;
  const int narrow = WIDE && floats && p->kind != FLOAT32 && !p->coarse && p->d % 64 == 0;
  const int direct = narrow || p->kind == FLOAT32 || p->kind == BITS || (p->kind == PRODUCT && p->row_bytes == p->d) ||
                     (p->kind == INT8 && p->d % 4 == 0);
  const int64_t size = narrow ? 2 : floats ? 4 : 1, stride = direct ? p->row_bytes / size : (p->d + 3) / 4 * 4;
  /* Unpacked for few queries, codes are read but once or twice: they stay in the smallest cache. */
  int64_t most = (direct || p->coarse ? BLOCK_BYTES : BLOCK_BYTES / 4) / (stride * size) / LANES * LANES;
  if (most < LANES) most = LANES;
  const int64_t n_blocks = (p->n_items + most - 1) / most;
  void *unpacked = direct ? NULL : calloc(most, stride * size);
  float *score = malloc(most * sizeof(float));
  int32_t *offset = malloc(most * sizeof(int32_t));
  const int failed = !score || !offset || (!direct && !unpacked);
  for (int64_t place; !failed && (place = atomic_fetch_add(p->next, 1)) < n_blocks;) {
    const int64_t from = in_order(place, n_blocks) * most;
    const int64_t n = from + most < p->n_items ? most : p->n_items - from;
    Block block = {direct ? (const void *)(p->codes + from * p->row_bytes) : unpacked, stride, size};
    for (int64_t i = 0; i < n && !direct; i++) {
      const uint8_t *code = p->codes + (from + i) * p->row_bytes;
      fetch_ahead(code, p->row_bytes);
      if (floats) unpack_float(p->kind, code, p->d, (float *)unpacked + i * stride);
      else unpack_int(p->kind, code, p->d, (int8_t *)unpacked + i * stride);
    }
    if (p->coarse) scan_many(p, f, from, n, block, score, offset);
    else scan_few(p, f, from, n, block, 0, score);
  }
  free(score), free(offset), free(unpacked);
  return failed;
}

/* ---------------------------------------------------------------- threads */

typedef struct {
  const void *problem;
  void *result;
  int (*work)(const void *, void *);
  int failed;
} Task;

static void *run(void *task) {
  Task *t = task;
  t->failed = t->work(t->problem, t->result);
  return NULL;
}

/* The same work by several threads, each with a result of its own; returns whether any failed. */
static int in_parallel(const void *problem, void *results, int64_t size, int64_t n, int (*work)(const void *, void *)) {
  Task tasks[MOST_THREADS];
  pthread_t threads[MOST_THREADS];
  int failed = 0, started[MOST_THREADS] = {0};
  if (n > MOST_THREADS) n = MOST_THREADS;
  for (int64_t i = 0; i < n; i++) tasks[i] = (Task){problem, results ? (char *)results + i * size : NULL, work, 0};
  for (int64_t i = 1; i < n; i++) started[i] = !pthread_create(&threads[i], NULL, run, &tasks[i]);
  run(&tasks[0]); /* without the others it does all */
  for (int64_t i = 1; i < n; i++)
    if (started[i]) pthread_join(threads[i], NULL);
  for (int64_t i = 0; i < n; i++) failed |= tasks[i].failed;
  return failed;
}

static int scan_task(const void *p, void *f) { return scan_blocks(p, f); }

int scan(const Scan *p, Found *f, int64_t threads) { return in_parallel(p, f, sizeof(Found), threads, scan_task); }

/* ---------------------------------------------------------------- scores in float32 */

typedef struct {
  int64_t n_lists, n_queries, k, capacity, d, most;
  const float *rows, *queries, *weight, *margin; /* [n_items, d], [n_queries, d], [n_items], [n_items] or NULL */
  const float *limit, *band;                     /* [n_queries]: candidates below it are out; how far below the k-th best */
  float *reach;                                  /* [n_lists, n_queries, capacity] */
  int32_t *id;
  int64_t *count;    /* [n_lists, n_queries] */
  int64_t *rescored; /* [n_queries], -1 where more than `most` would have to be */
  _Atomic int64_t *next;
} Rescore;

static void rescore_query(const Rescore *p, int64_t q, float *best, int32_t *best_id) {
  int64_t total = 0;
  for (int64_t i = 0; i < p->k; i++) best[i] = -INFINITY, best_id[i] = INT32_MAX;
  for (int64_t list = 0; list < p->n_lists; list++) {
    int64_t at = list * p->n_queries + q;
    if (p->count[at] < 0) total = p->most + 1;
    else {
      p->count[at] = compact(p->reach + at * p->capacity, p->id + at * p->capacity, p->count[at], p->limit[q]);
      total += p->count[at];
    }
  }
  p->rescored[q] = total > p->most ? -1 : total;
  for (int64_t list = 0; list < p->n_lists; list++) {
    int64_t at = list * p->n_queries + q;
    if (total > p->most) p->count[at] = 0;
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
    p->count[at] = compact(p->reach + at * p->capacity, p->id + at * p->capacity, p->count[at], best[0] - p->band[q]);
  }
}

/* Take queries until none is left: score their candidates by the float32 rows and leave those that may be among the best k. */
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
