/* Coarse products with matrix units: GROUP items times a panel of queries, then screened like all others. */

#pragma once
#include "search_coarse.h"

#if TILES
/* sums [GROUP][16] = GROUP rows of codes times a panel [steps][16][64 bytes]. The compiler does not see that
 * tiles touch memory. */
#define TILE_PRODUCTS(name, type, dot)                                                                \
  static __attribute__((noinline)) void name(const uint8_t *codes, int64_t stride, const void *panel, \
                                             int64_t steps, type *sums) {                             \
    __asm__ volatile("" ::: "memory");                                                                \
    _tile_zero(0);                                                                                    \
    _tile_zero(1);                                                                                    \
    _tile_zero(2);                                                                                    \
    _tile_zero(3);                                                                                    \
    for (int64_t step = 0; step < steps; step++) {                                                    \
      const uint8_t *rows = codes + 64 * step;                                                        \
      _tile_loadd(6, (const char *)panel + 1024 * step, 64);                                          \
      _tile_loadd(4, rows, stride);                                                                   \
      dot(0, 4, 6);                                                                                   \
      _tile_loadd(5, rows + 16 * stride, stride);                                                     \
      dot(1, 5, 6);                                                                                   \
      _tile_loadd(4, rows + 32 * stride, stride);                                                     \
      dot(2, 4, 6);                                                                                   \
      _tile_loadd(5, rows + 48 * stride, stride);                                                     \
      dot(3, 5, 6);                                                                                   \
    }                                                                                                 \
    _tile_stored(0, sums, 64);                                                                        \
    _tile_stored(1, sums + 256, 64);                                                                  \
    _tile_stored(2, sums + 512, 64);                                                                  \
    _tile_stored(3, sums + 768, 64);                                                                  \
    __asm__ volatile("" ::: "memory");                                                                \
  }
TILE_PRODUCTS(tiles_int, int32_t, _tile_dpbsud)
TILE_PRODUCTS(tiles_float, float, _tile_dpbf16ps)

/* GROUP items after `first`, of which those before `fresh` were screened, with all panels. */
static void scan_group(const Scan *p, Found *f, int64_t from, Block block, int64_t first, int64_t fresh,
                       const int32_t *offset) {
  const int64_t steps = block.tile_bytes / 64;
  const uint8_t *codes = block.tiles + first * block.tile_bytes;
  union {
    int32_t whole[GROUP][LANES];
    float real[GROUP][LANES];
  } sums __attribute__((aligned(64)));
  const int64_t panels = padded(p) / LANES;
  for (int64_t panel = 0; panel < panels; panel++) {
    const char *queries = (const char *)p->coarse + panel * steps * 1024;
    /* The next group, a part with every panel. */
    for (int64_t line = panel * 64; line < GROUP * block.tile_bytes; line += panels * 64)
      __builtin_prefetch(codes + GROUP * block.tile_bytes + line);
    if (is_float(p)) {
      tiles_float(codes, block.tile_bytes, queries, steps, sums.real[0]);
      for (int64_t i = fresh; i < first + GROUP; i++)
        screen(p, f, _mm512_load_ps(sums.real[i - first]), from, block, i, panel * LANES);
      continue;
    }
    tiles_int(codes, block.tile_bytes, queries, steps, sums.whole[0]);
    const __m512 scale = _mm512_loadu_ps(p->coarse_scale + panel * LANES);
    for (int64_t i = fresh; i < first + GROUP; i++) {
      __m512i sum = _mm512_add_epi32(_mm512_load_si512(sums.whole[i - first]), _mm512_set1_epi32(offset[i]));
      screen(p, f, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), from, block, i, panel * LANES);
    }
  }
}

static void scan_groups(const Scan *p, Found *f, int64_t from, int64_t n, Block block, float *score,
                        const int32_t *offset) {
  const int64_t whole = n < GROUP ? 0 : n;
  for (int64_t i = 0; i < whole; i += GROUP)
    scan_group(p, f, from, block, i + GROUP <= n ? i : n - GROUP, i, offset);
  scan_few(p, f, from, n, block, whole, score);
}
#endif
