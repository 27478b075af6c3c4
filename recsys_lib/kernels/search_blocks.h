/* Blocks of items: codes in place, or unpacked into buffers in the form that products read. */

#pragma once
#include "search.h"

static float half(uint16_t bits) {
  uint32_t rest = (uint32_t)(bits & 0x7fff) << 13, sign = (uint32_t)(bits & 0x8000) << 16;
  float size;
  memcpy(&size, &rest, 4);
  /* The exponents of the two formats differ by 112, and this holds for subnormal numbers too. */
  size *= 0x1p112f;
  memcpy(&rest, &size, 4);
  rest |= sign;
  memcpy(&size, &rest, 4);
  return size;
}

static void unpack_int(int64_t kind, const uint8_t *code, int64_t d, int8_t *out) {
  if (kind == INT8)
    memcpy(out, code, d);
  else if (kind == INT4) { /* all lower halves first: kernel.py orders queries likewise */
    for (int64_t j = 0; j < d / 2; j++) out[j] = (code[j] & 15) - 8;
    for (int64_t j = 0; j < d / 2; j++) out[d / 2 + j] = (code[j] >> 4) - 8;
  } else {
    int64_t j = 0;
#if NUMBERS == 16
    for (; j + 64 <= d; j += 64) {
      uint64_t bits;
      memcpy(&bits, code + j / 8, 8);
      _mm512_storeu_si512(out + j, _mm512_mask_blend_epi8(bits, _mm512_set1_epi8(-1), _mm512_set1_epi8(1)));
    }
#elif NUMBERS == 8
    const __m256i place = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    for (; j + 32 <= d; j += 32) { /* each byte 8 times, of which every place keeps its bit */
      __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(all_four(code + j / 8), place), bit);
      __m256i minus = _mm256_cmpeq_epi8(bits, _mm256_setzero_si256());
      _mm256_storeu_si256((__m256i *)(out + j), _mm256_or_si256(minus, _mm256_set1_epi8(1)));
    }
#endif
    for (; j < d; j++) out[j] = (code[j / 8] >> (j % 8)) & 1 ? 1 : -1;
  }
}

static void unpack_float(int64_t kind, const uint8_t *code, int64_t d, float *out) {
  const uint16_t *bits = (const uint16_t *)code;
  int64_t j = 0;
#if NUMBERS
  for (; j + NUMBERS <= d; j += NUMBERS) store(out + j, widened(kind, bits + j));
#endif
  for (; j < d; j++) {
    uint32_t whole = (uint32_t)bits[j] << 16;
    if (kind == FLOAT16)
      out[j] = half(bits[j]);
    else
      memcpy(out + j, &whole, 4);
  }
}

/* A code of floats of any kind in bfloat16, rounded to nearest even. */
static void round_float(int64_t kind, const uint8_t *code, int64_t d, uint16_t *out) {
#if TILES
  if (kind == BFLOAT16) memcpy(out, code, 2 * d), d = 0;
  for (int64_t j = 0; j < d; j += 16) {
    const __mmask16 some = d - j < 16 ? (1u << (d - j)) - 1 : 0xffff;
    __m512 real = kind == FLOAT32
                      ? _mm512_maskz_loadu_ps(some, (const float *)code + j)
                      : _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(some, (const uint16_t *)code + j));
    _mm256_mask_storeu_epi16(out + j, some, (__m256i)_mm512_cvtneps_pbh(real));
  }
#else
  (void)kind, (void)code, (void)d, (void)out; /* only tiles are made of them */
#endif
}

#if NUMBERS
INLINE void zip_halves(const Sixteen *from, Sixteen *to) {
  UNROLL for (int r = 0; r < 8; r++) {
    to[2 * r] = zip_low(from[r], from[r + 8]), to[2 * r + 1] = zip_high(from[r], from[r + 8]);
  }
}

/* Byte j of GROUP items together, as search_tables.h reads them: [groups, row_bytes, GROUP]. 16 items by 16
   bytes at a time change places in four rounds, each of which zips the two halves of the registers. */
static void turn(const uint8_t *codes, int64_t n, int64_t row_bytes, uint8_t *out) {
  const int64_t whole = row_bytes / 16 * 16;
  for (int64_t i = 0; i < n; i += 16) {
    uint8_t *to = out + i / GROUP * GROUP * row_bytes + i % GROUP;
    const uint8_t *from = codes + i * row_bytes;
    const int64_t rows = n - i < 16 ? n - i : 16, turned = rows == 16 ? whole : 0;
    fetch_ahead(from, 16 * row_bytes);
    for (int64_t j = 0; j < turned; j += 16) {
      Sixteen a[16], b[16];
      UNROLL for (int r = 0; r < 16; r++) { a[r] = load16(from + r * row_bytes + j); }
      UNROLL for (int round = 0; round < 2; round++) {
        zip_halves(a, b);
        zip_halves(b, a);
      }
      UNROLL for (int r = 0; r < 16; r++) { store16(to + (j + r) * GROUP, a[r]); }
    }
    for (int64_t r = 0; r < rows; r++)
      for (int64_t j = turned; j < row_bytes; j++) to[j * GROUP + r] = from[r * row_bytes + j];
  }
}
#endif

/* Every SAMPLE-th block comes first, so that limits are near their ends early, whatever the order of the
 * items. */
static int64_t in_order(int64_t place, int64_t n) {
  int64_t sampled = (n + SAMPLE - 1) / SAMPLE, rest = place - sampled;
  return rest < 0 ? place * SAMPLE : rest + rest / (SAMPLE - 1) + 1;
}

/* How the codes of a block reach the products: in place, or unpacked into these buffers. */
typedef struct {
  int64_t n; /* items of a block, a multiple of GROUP */
  int64_t size, stride, tile_bytes;
  void *unpacked, *tiles; /* [n, stride * size], [n, tile_bytes], or NULL: in place */
  float *score;           /* [n] */
  int32_t *offset;        /* [n, offsets_of(tile_bytes)] */
  int tiled, turned;      /* whether there are tiles at all, and whether they are groups of 64 items */
} Buffers;

/* From the start of a line of the cache: what lies across two of them takes twice as long to read. */
static void *zeros(int64_t bytes) {
  void *made = aligned_alloc(64, up_to(bytes, 64));
  return made ? memset(made, 0, bytes) : NULL;
}

static Buffers buffers_for(const Scan *p) {
  const int kind = (int)p->kind, many = p->coarse != NULL, integer = kind <= BINARY;
  const int narrow = NUMBERS && is_float(p) && kind != FLOAT32 && (!many || p->tiles) && p->d % 64 == 0;
  const int in_place = narrow || kind == FLOAT32 || kind == BITS || kind == INT4 || kind == PRODUCT ||
                       (NUMBERS && kind == PRODUCT4) ||
                       (kind == INT8 && (!NUMBERS || (p->d % 64 == 0 && (uintptr_t)p->codes % 64 == 0)));
  Buffers r = {0};
  r.tiled = NUMBERS && many && (integer || kind == BITS || (is_float(p) && p->tiles));
  r.size = narrow ? 2 : is_float(p) ? 4 : 1;
  r.stride = in_place ? p->row_bytes / r.size : up_to(p->d, 64);
  r.turned = kind == BITS && !p->tiles;
  r.tile_bytes = r.turned ? p->row_bytes : up_to(is_float(p) ? 2 * p->d : p->d, 64);
  /* Whether tiles are the codes themselves. */
  const int same = (integer && kind != INT4) || (kind == BFLOAT16 && narrow && (uintptr_t)p->codes % 64 == 0);
  const int64_t bytes = r.stride * r.size + (r.tiled && !same ? r.tile_bytes : 0);
  /* Unpacked for few queries, codes are read but once or twice: they stay in the smallest cache. */
  int64_t block = in_place || many ? BLOCK_BYTES : BLOCK_BYTES / 4;
  /* One query reads a code but once: longer blocks interrupt less, where there are enough of them. */
  if (in_place && p->n_queries == 1 && p->n_items * bytes > 64 * BLOCK_BYTES) block = 4 * BLOCK_BYTES;
  r.n = block / bytes / GROUP * GROUP;
  if (r.n < GROUP) r.n = GROUP;
  if (!in_place) r.unpacked = zeros(r.n * r.stride * r.size);
  if (r.tiled && !same) r.tiles = zeros(r.n * r.tile_bytes);
  r.score = malloc(r.n * sizeof(float));
  r.offset = malloc(r.n * offsets_of(r.tile_bytes) * sizeof(int32_t));
  if ((!in_place && !r.unpacked) || (r.tiled && !same && !r.tiles) || !r.offset)
    free(r.score), r.score = NULL;
  return r;
}

/* Items from ... from + n - 1, ready to be multiplied. */
static Block block_of(const Scan *p, const Buffers *r, int64_t from, int64_t n) {
  const uint8_t *codes = p->codes + from * p->row_bytes;
  Block block = {r->unpacked ? r->unpacked : codes, r->stride, r->size, NULL, r->tile_bytes};
  if (r->tiled) block.tiles = r->tiles ? r->tiles : block.codes;
#if NUMBERS
  if (r->turned && r->tiles) {
    turn(codes, n, p->row_bytes, r->tiles);
    return block;
  }
#endif
  for (int64_t i = 0; i < n && (r->unpacked || r->tiles); i++) {
    const uint8_t *code = codes + i * p->row_bytes;
    fetch_ahead(code, p->row_bytes);
    if (r->unpacked && p->kind == PRODUCT4)
      unpack_parts(p, from + i, (uint8_t *)r->unpacked + i * r->stride);
    else if (r->unpacked && is_float(p))
      unpack_float(p->kind, code, p->d, (float *)r->unpacked + i * r->stride);
    else if (r->unpacked)
      unpack_int(p->kind, code, p->d, (int8_t *)r->unpacked + i * r->stride);
    if (r->tiles && is_float(p))
      round_float(p->kind, code, p->d, (uint16_t *)((char *)r->tiles + i * r->tile_bytes));
    else if (r->tiles)
      unpack_int(p->kind == INT4 ? INT4 : BINARY, code, p->d, (int8_t *)r->tiles + i * r->tile_bytes);
  }
  return block;
}
