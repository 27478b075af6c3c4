/* Scans of codes for what may be among the best k of each query. kernel.py compiles this for the machine it runs on.

   The score of an item is factor[item] * (query . code) + sum over t of term[t][item] * term_scale[t][query]. It may be wrong by
   up to margin[item] * spread[query]: the upper bound of a candidate is compared with the query's limit, which is the k-th best
   lower bound so far. Nearly all pairs fall below it while they are still in registers, so scores are never written.

   A pair has one fine product, always summed in the same way. Few queries are scored with it alone. For many, blocks of items and
   panels of queries are multiplied at a time and coarsely: in 8 bits, floats in bfloat16, entries of tables in 7 bits. A pair that
   might pass by its coarse product is judged by the fine one. So results depend neither on the number of queries nor on the units
   of the processor. What is not a number passes every comparison. */

#define _GNU_SOURCE
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "threads.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && !defined(PORTABLE)
#include <immintrin.h>
#define WIDE 1
#else
#define WIDE 0
#endif
#if WIDE && defined(__linux__) && defined(__AMX_INT8__) && defined(__AMX_BF16__) && defined(__AVX512BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#define TILES 1 /* AMX: matrix units that multiply 16 rows of 64 bytes with as many columns */
#else
#define TILES 0
#endif

#define UNROLL _Pragma("GCC unroll 8")
#define LANES 16 /* queries of one panel */
#define ROWS 8   /* items whose sums with WIDTH panels fit the vector registers */
#define WIDTH 3
#define GROUP 64 /* items whose sums with a panel fit the matrix registers; so many bytes are in a vector register */
#define MOST_PARTS 256
#define AT_ONCE 4 /* queries whose sums over parts fit the vector registers */
#define BLOCK_BYTES (96 * 1024) /* of codes, unpacked: they stay in the cache while all queries pass */
#define SAMPLE 32 /* one block of so many comes first */
#define AHEAD 8192 /* bytes: how far ahead of its use a code is fetched; processors stop on their own at the end of a 4 KB page */

enum { INT8, INT4, BINARY, FLOAT32, FLOAT16, BFLOAT16, PRODUCT, PRODUCT4, BITS };

typedef struct {
  int64_t n_items, d, kind, row_bytes, entries, n_queries, k, capacity, n_terms;
  int64_t tiles;                          /* whether matrix units may be used, see matrix_units() */
  const uint8_t *codes;                   /* [n_items, row_bytes], PRODUCT4 [groups, row_bytes, GROUP]; product codes: d parts of so many entries */
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

/* Codes of some items, unpacked: int8, float or, for product codes and BITS, bytes; stride in codes, and the size of a code.
   tiles: the same as matrix registers read them, int8 or bfloat16, rows of whole 64 bytes; NULL where they do not. */
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

/* Parts of an item of PRODUCT4: all lower halves of bytes first, as kernel.py orders tables. */
static void unpack_parts(const Scan *p, int64_t item, uint8_t *out) {
  const uint8_t *code = p->codes + item / GROUP * GROUP * p->row_bytes + item % GROUP;
  for (int64_t j = 0; j < p->row_bytes; j++, code += GROUP) out[j] = *code & 15, out[p->row_bytes + j] = *code >> 4;
}

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
  if (p->kind >= PRODUCT) return product_table((const float *)p->fine + q * p->d * p->entries, code, p->d, p->entries);
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

/* ---------------------------------------------------------------- matrix units */

#if TILES
static int tiles_allowed(void) {
  static atomic_int known; /* 0 not asked, 1 allowed, 2 refused */
  if (!known) known = syscall(SYS_arch_prctl, 0x1023, 18) ? 2 : 1; /* ARCH_REQ_XCOMP_PERM for the data of tiles */
  return known == 1;
}

static void begin_tiles(void) {
  struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } config = {.palette = 1};
  for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
  _tile_loadconfig(&config);
}

/* sums [GROUP][16] = GROUP rows of codes times a panel [steps][16][64 bytes]. The compiler does not see that tiles touch memory. */
#define TILE_PRODUCTS(name, type, dot)                                                                   \
  static __attribute__((noinline)) void name(const uint8_t *codes, int64_t stride, const void *panel, int64_t steps, type *sums) { \
    __asm__ volatile("" ::: "memory");                                                                   \
    _tile_zero(0);                                                                                       \
    _tile_zero(1);                                                                                       \
    _tile_zero(2);                                                                                       \
    _tile_zero(3);                                                                                       \
    for (int64_t step = 0; step < steps; step++) {                                                       \
      const uint8_t *rows = codes + 64 * step;                                                           \
      _tile_loadd(6, (const char *)panel + 1024 * step, 64);                                             \
      _tile_loadd(4, rows, stride);                                                                      \
      dot(0, 4, 6);                                                                                      \
      _tile_loadd(5, rows + 16 * stride, stride);                                                        \
      dot(1, 5, 6);                                                                                      \
      _tile_loadd(4, rows + 32 * stride, stride);                                                        \
      dot(2, 4, 6);                                                                                      \
      _tile_loadd(5, rows + 48 * stride, stride);                                                        \
      dot(3, 5, 6);                                                                                      \
    }                                                                                                    \
    _tile_stored(0, sums, 64);                                                                           \
    _tile_stored(1, sums + 256, 64);                                                                     \
    _tile_stored(2, sums + 512, 64);                                                                     \
    _tile_stored(3, sums + 768, 64);                                                                     \
    __asm__ volatile("" ::: "memory");                                                                   \
  }
TILE_PRODUCTS(tiles_int, int32_t, _tile_dpbsud)
TILE_PRODUCTS(tiles_float, float, _tile_dpbf16ps)
#endif

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
  const int64_t steps = (p->d + 3) / 4, panel_bytes = (p->d + 63) / 64 * 64 * LANES;
  const int8_t *codes = (const int8_t *)block.tiles + first * block.tile_bytes;
  const uint8_t *queries = (const uint8_t *)p->coarse + panel * panel_bytes;
  __m512i sum[ROWS][WIDTH];
  UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int w = 0; w < width; w++) sum[i][w] = _mm512_set1_epi32(offset[i]);
  for (int64_t step = 0; step < steps; step++) {
    __m512i query[WIDTH];
    UNROLL for (int w = 0; w < width; w++) query[w] = _mm512_loadu_si512(queries + w * panel_bytes + step * 4 * LANES);
    UNROLL for (int i = 0; i < ROWS; i++) {
      int32_t four;
      memcpy(&four, codes + i * block.tile_bytes + 4 * step, 4);
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

#if TILES
/* GROUP items after `first`, of which those before `fresh` were judged, with all panels. */
static void scan_group(const Scan *p, Found *f, int64_t from, Block block, int64_t first, int64_t fresh, const int32_t *offset) {
  const int64_t steps = block.tile_bytes / 64;
  const uint8_t *codes = block.tiles + first * block.tile_bytes;
  union { int32_t whole[GROUP][LANES]; float real[GROUP][LANES]; } sums __attribute__((aligned(64)));
  const int64_t panels = padded(p) / LANES;
  for (int64_t panel = 0; panel < panels; panel++) {
    const char *queries = (const char *)p->coarse + panel * steps * 1024;
    /* The next group, a part with every panel. */
    for (int64_t line = panel * 64; line < GROUP * block.tile_bytes ; line += panels * 64) __builtin_prefetch(codes + GROUP * block.tile_bytes + line);
    if (is_float(p)) {
      tiles_float(codes, block.tile_bytes, queries, steps, sums.real[0]);
      for (int64_t i = fresh; i < first + GROUP; i++) judge(p, f, _mm512_load_ps(sums.real[i - first]), from, block, i, panel);
      continue;
    }
    tiles_int(codes, block.tile_bytes, queries, steps, sums.whole[0]);
    const __m512 scale = _mm512_loadu_ps(p->coarse_scale + panel * LANES);
    for (int64_t i = fresh; i < first + GROUP; i++) {
      __m512i sum = _mm512_add_epi32(_mm512_load_si512(sums.whole[i - first]), _mm512_set1_epi32(offset[i]));
      judge(p, f, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), from, block, i, panel);
    }
  }
}
#endif

/* What raising the codes of queries by 128 adds to a product, with the opposite sign. */
static void offsets(Block block, int64_t n, int32_t *out) {
  for (int64_t i = 0; i < n; i++) {
    __m512i sum = _mm512_setzero_si512();
    for (int64_t j = 0; j < block.tile_bytes; j += 64)
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), _mm512_loadu_si512(block.tiles + i * block.tile_bytes + j));
    out[i] = -128 * _mm512_reduce_add_epi32(sum);
  }
}

static void scan_many(const Scan *p, Found *f, int64_t from, int64_t n, Block block, float *score, int32_t *offset) {
  const int64_t panels = padded(p) / LANES;
  int64_t whole = p->kind == PRODUCT ? n : n / ROWS * ROWS;
  if (block.tiles && !is_float(p)) offsets(block, n, offset);
#if TILES
  if (block.tiles && p->tiles) {
    whole = n < GROUP ? 0 : n;
    for (int64_t i = 0; i < whole; i += GROUP) scan_group(p, f, from, block, i + GROUP <= n ? i : n - GROUP, i, offset);
    scan_few(p, f, from, n, block, whole, score);
    return;
  }
#endif
  for (int64_t panel = 0; panel < panels;) {
    const int width = panel + WIDTH <= panels && p->kind != PRODUCT ? WIDTH : 1;
    if (p->kind == PRODUCT)
      for (int64_t i = 0; i < whole; i++) panel_table(p, f, from, block, i, panel);
    else if (block.tiles && width == WIDTH)
      for (int64_t i = 0; i < whole; i += ROWS) tile_int(p, f, from, block, i, offset + i, panel, WIDTH);
    else if (block.tiles)
      for (int64_t i = 0; i < whole; i += ROWS) tile_int(p, f, from, block, i, offset + i, panel, 1);
    else if (width == WIDTH)
      for (int64_t i = 0; i < whole; i += ROWS) tile_float(p, f, from, block, i, panel, WIDTH);
    else
      for (int64_t i = 0; i < whole; i += ROWS) tile_float(p, f, from, block, i, panel, 1);
    panel += width;
  }
  scan_few(p, f, from, n, block, whole, score);
}

/* ---------------------------------------------------------------- product codes of 4 bits */

/* Judge the 16 items after `item` by their coarse scores of one query. */
static inline void judge_items(const Scan *p, Found *f, __m512 score, int64_t item, __mmask16 some, int64_t q) {
  score = _mm512_mul_ps(score, _mm512_maskz_loadu_ps(some, p->factor + item));
  if (p->margin) score = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(some, p->margin + item), _mm512_set1_ps(p->spread[q]), score);
  for (int64_t t = 0; t < p->n_terms; t++) {
    __m512 term = _mm512_maskz_loadu_ps(some, p->term + t * p->n_items + item);
    score = _mm512_fmadd_ps(term, _mm512_set1_ps(p->term_scale[t * padded(p) + q]), score);
  }
  unsigned passed = _mm512_mask_cmp_ps_mask(some, score, _mm512_set1_ps(f->gate[q]), _CMP_NLT_UQ);
  for (; passed; passed &= passed - 1) {
    const int64_t which = item + __builtin_ctz(passed);
    uint8_t code[MOST_PARTS];
    unpack_parts(p, which, code);
    consider(p, f, which, q, fine_score(p, which, (Block){code, 0, 1, NULL, 0}, 0, q));
  }
}

/* 16 sums of 16 bits: quarter i, a literal number, of the lower and of the upper halves. */
#define QUARTER(a, b, i) _mm256_set_m128i(_mm512_extracti32x4_epi32(b, i), _mm512_extracti32x4_epi32(a, i))

/* A group of items with `width` queries: one instruction looks a part of all its items up. Entries have 7 bits, so that two of them
   add up in 8 and all of them in 16: once over pairs of bytes, once over their higher halves, whose share is then taken off. */
static inline __attribute__((always_inline)) void group_parts(const Scan *p, Found *f, int64_t from, int64_t n, int64_t q, const int width) {
  const uint8_t *codes = p->codes + from * p->row_bytes, *tables = (const uint8_t *)p->coarse + q * p->d * 16;
  const __m512i low = _mm512_set1_epi8(15);
  __m512i sum[AT_ONCE], odd[AT_ONCE];
  UNROLL for (int w = 0; w < width; w++) sum[w] = odd[w] = _mm512_setzero_si512();
  for (int64_t j = 0; j < p->row_bytes; j++) {
    __m512i both = _mm512_loadu_si512(codes + j * GROUP);
    __m512i first = _mm512_and_si512(both, low), second = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    UNROLL for (int w = 0; w < width; w++) {
      const uint8_t *table = tables + (w * p->d + j) * 16;
      __m512i a = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)), first);
      __m512i b = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(table + p->row_bytes * 16))), second);
      a = _mm512_add_epi8(a, b);
      sum[w] = _mm512_add_epi16(sum[w], a), odd[w] = _mm512_add_epi16(odd[w], _mm512_srli_epi16(a, 8));
    }
  }
  UNROLL for (int w = 0; w < width; w++) {
    __m512i even = _mm512_sub_epi16(sum[w], _mm512_slli_epi16(odd[w], 8));
    /* Each quarter of these two has 8 items one after another. */
    __m512i a = _mm512_unpacklo_epi16(even, odd[w]), b = _mm512_unpackhi_epi16(even, odd[w]);
    const __m256i quarters[4] = {QUARTER(a, b, 0), QUARTER(a, b, 1), QUARTER(a, b, 2), QUARTER(a, b, 3)};
    const __m512 scale = _mm512_set1_ps(p->coarse_scale[q + w]), least = _mm512_set1_ps(p->coarse_least[q + w]);
    UNROLL for (int i = 0; i < 4; i++) {
      const int64_t left = n - 16 * i;
      if (left <= 0) break;
      __m512 total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(quarters[i])), scale, least);
      judge_items(p, f, total, from + 16 * i, left < 16 ? (1u << left) - 1 : 0xffff, q + w);
    }
  }
}

static void scan_parts(const Scan *p, Found *f, int64_t from, int64_t n) {
  for (int64_t q = 0; q < p->n_queries;) {
    const int width = q + AT_ONCE <= p->n_queries ? AT_ONCE : 1;
    for (int64_t i = 0; i < n; i += GROUP) {
      if (!q) fetch_ahead(p->codes + (from + i) * p->row_bytes, GROUP * p->row_bytes);
      if (width == AT_ONCE) group_parts(p, f, from + i, n - i, q, AT_ONCE);
      else group_parts(p, f, from + i, n - i, q, 1);
    }
    q += width;
  }
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
  else if (kind == INT4) { /* all lower halves first: kernel.py orders queries likewise */
    for (int64_t j = 0; j < d / 2; j++) out[j] = (code[j] & 15) - 8;
    for (int64_t j = 0; j < d / 2; j++) out[d / 2 + j] = (code[j] >> 4) - 8;
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

/* A code of floats of any kind in bfloat16, rounded to nearest even. */
static void round_float(int64_t kind, const uint8_t *code, int64_t d, uint16_t *out) {
#if TILES
  if (kind == BFLOAT16) memcpy(out, code, 2 * d), d = 0;
  for (int64_t j = 0; j < d; j += 16) {
    const __mmask16 some = d - j < 16 ? (1u << (d - j)) - 1 : 0xffff;
    __m512 real = kind == FLOAT32 ? _mm512_maskz_loadu_ps(some, (const float *)code + j)
                                  : _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(some, (const uint16_t *)code + j));
    _mm256_mask_storeu_epi16(out + j, some, (__m256i)_mm512_cvtneps_pbh(real));
  }
#else
  (void)kind, (void)code, (void)d, (void)out; /* only tiles are made of them */
#endif
}

/* Every SAMPLE-th block comes first, so that limits are near their ends early, whatever the order of the items. */
static int64_t in_order(int64_t place, int64_t n) {
  int64_t sampled = (n + SAMPLE - 1) / SAMPLE, rest = place - sampled;
  return rest < 0 ? place * SAMPLE : rest + rest / (SAMPLE - 1) + 1;
}

/* How the codes of a block reach the products: in place, or unpacked into these buffers. */
typedef struct {
  int64_t most;  /* items of a block, a multiple of GROUP */
  int64_t size, stride, tile_bytes;
  void *unpacked, *tiles;    /* [most, stride * size], [most, tile_bytes], or NULL: in place */
  float *score;              /* [most] */
  int32_t *offset;           /* [most] */
  int tiled;                 /* whether there are tiles at all */
} Room;

static int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* From the start of a line of the cache: what lies across two of them takes twice as long to read. */
static void *zeros(int64_t bytes) {
  void *made = aligned_alloc(64, up_to(bytes, 64));
  return made ? memset(made, 0, bytes) : NULL;
}

static Room room_for(const Scan *p) {
  const int kind = (int)p->kind, many = p->coarse != NULL, integer = kind <= BINARY;
  const int narrow = WIDE && is_float(p) && kind != FLOAT32 && (!many || p->tiles) && p->d % 64 == 0;
  const int in_place = narrow || kind == FLOAT32 || kind == BITS || kind == PRODUCT || (WIDE && kind == PRODUCT4) ||
                       (kind == INT8 && (!WIDE || (p->d % 64 == 0 && (uintptr_t)p->codes % 64 == 0)));
  Room r = {0};
  r.tiled = WIDE && many && (integer || kind == BITS || (is_float(p) && p->tiles));
  r.size = narrow ? 2 : is_float(p) ? 4 : 1;
  r.stride = in_place ? p->row_bytes / r.size : up_to(p->d, 64);
  r.tile_bytes = up_to(is_float(p) ? 2 * p->d : p->d, 64);
  const int same = integer || (kind == BFLOAT16 && narrow && (uintptr_t)p->codes % 64 == 0); /* tiles are the codes themselves */
  const int64_t bytes = r.stride * r.size + (r.tiled && !same ? r.tile_bytes : 0);
  /* Unpacked for few queries, codes are read but once or twice: they stay in the smallest cache. */
  r.most = (in_place || many ? BLOCK_BYTES : BLOCK_BYTES / 4) / bytes / GROUP * GROUP;
  if (r.most < GROUP) r.most = GROUP;
  if (!in_place) r.unpacked = zeros(r.most * r.stride * r.size);
  if (r.tiled && !same) r.tiles = zeros(r.most * r.tile_bytes);
  r.score = malloc(r.most * sizeof(float));
  r.offset = malloc(r.most * sizeof(int32_t));
  if ((!in_place && !r.unpacked) || (r.tiled && !same && !r.tiles) || !r.offset) free(r.score), r.score = NULL;
  return r;
}

/* Items from ... from + n - 1, ready to be multiplied. */
static Block block_of(const Scan *p, const Room *r, int64_t from, int64_t n) {
  const uint8_t *codes = p->codes + from * p->row_bytes;
  Block block = {r->unpacked ? r->unpacked : codes, r->stride, r->size, NULL, r->tile_bytes};
  if (r->tiled) block.tiles = r->tiles ? r->tiles : block.codes;
  for (int64_t i = 0; i < n && (r->unpacked || r->tiles); i++) {
    const uint8_t *code = codes + i * p->row_bytes;
    fetch_ahead(code, p->row_bytes);
    if (r->unpacked && p->kind == PRODUCT4) unpack_parts(p, from + i, (uint8_t *)r->unpacked + i * r->stride);
    else if (r->unpacked && is_float(p)) unpack_float(p->kind, code, p->d, (float *)r->unpacked + i * r->stride);
    else if (r->unpacked) unpack_int(p->kind, code, p->d, (int8_t *)r->unpacked + i * r->stride);
    if (r->tiles && is_float(p)) round_float(p->kind, code, p->d, (uint16_t *)((char *)r->tiles + i * r->tile_bytes));
    else if (r->tiles) unpack_int(BINARY, code, p->d, (int8_t *)r->tiles + i * r->tile_bytes);
  }
  return block;
}

/* Take blocks of items until none is left. Returns 1 where there is no memory for a block. */
static int scan_blocks(const Scan *p, Found *f) {
  Room room = room_for(p);
  const int failed = !room.score;
  const int64_t n_blocks = (p->n_items + room.most - 1) / room.most;
#if TILES
  if (p->tiles && !failed) begin_tiles();
#endif
  for (int64_t place; !failed && (place = atomic_fetch_add(p->next, 1)) < n_blocks;) {
    const int64_t from = in_order(place, n_blocks) * room.most;
    const int64_t n = from + room.most < p->n_items ? room.most : p->n_items - from;
#if WIDE
    if (p->kind == PRODUCT4) {
      scan_parts(p, f, from, n);
      continue;
    }
#endif
    Block block = block_of(p, &room, from, n);
    if (p->coarse) scan_many(p, f, from, n, block, room.score, room.offset);
    else scan_few(p, f, from, n, block, 0, room.score);
  }
#if TILES
  if (p->tiles && !failed) _tile_release();
#endif
  free(room.score), free(room.offset), free(room.unpacked), free(room.tiles);
  return failed;
}

/* Whether there are matrix units here and the system lets them be used. */
int matrix_units(void) {
#if TILES
  return tiles_allowed();
#else
  return 0;
#endif
}

/* ---------------------------------------------------------------- entry points */

static int scan_task(const void *p, void *f) { return scan_blocks(p, f); }

int scan(const Scan *p, Found *f, int64_t threads) {
  for (int64_t i = 0; i < threads; i++) { /* a thread that never runs has found nothing */
    for (int64_t q = 0; q < padded(p); q++) f[i].limit[q] = f[i].gate[q] = q < p->n_queries ? -INFINITY : INFINITY; /* padding never passes */
    for (int64_t j = 0; j < p->n_queries * p->k; j++) f[i].best[j] = -INFINITY, f[i].best_id[j] = INT32_MAX;
    for (int64_t q = 0; q < p->n_queries; q++) f[i].count[q] = 0;
  }
  return in_parallel(p, f, sizeof(Found), threads, scan_task);
}

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
