/* Vector registers of the processor under one set of names, so that the products are written once.

   A panel, LANES = 16 queries, takes REGISTERS registers of NUMBERS floats or whole numbers each:

     AVX-512 VNNI  16 numbers   1 register    tile of 8 items x 3 panels = 24 sums of 32 registers
     AVX2           8 numbers   2 registers   tile of 6 items x 1 panel  = 12 sums of 16 registers
     NEON           4 numbers   4 registers   tile of 6 items x 1 panel  = 24 sums of 32 registers

   Elsewhere NUMBERS is 0 and there are only plain loops. DOT is an instruction that adds 4 products of bytes
   to every number of a register; AVX2 without VNNI has none, see tile_int. RAISE is what was added to codes
   of queries to make them unsigned, which most of these instructions ask for. */

#pragma once
#include <stdint.h>
#include <string.h>

#include "amx.h"

#define LANES 16 /* queries of one panel */
#define CHUNK 16 /* dimensions of which 16 bits hold a sum of products, see tile_int */
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#if defined(PORTABLE)
#define NUMBERS 0
#elif defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && !defined(NARROW)
#define NUMBERS 16
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define NUMBERS 8
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define NUMBERS 4
#else
#define NUMBERS 0
#endif

#if NUMBERS >= 8
#include <immintrin.h>
#elif NUMBERS
#include <arm_neon.h>
#endif

#if NUMBERS
#define REGISTERS (LANES / NUMBERS)
#define BYTES (4 * NUMBERS) /* of a register */
/* Adds numbers of 16 bits up in place and in the order of the source: of the intrinsic GCC 12 makes copies,
   and spills. */
#if NUMBERS == 16
#define ADD16(sum, some) __asm__ volatile("vpaddw %1, %0, %0" : "+v"(sum) : "v"(some))
#elif NUMBERS == 8
#define ADD16(sum, some) __asm__ volatile("vpaddw %1, %0, %0" : "+x"(sum) : "x"(some))
#else
#define ADD16(sum, some) (sum = plus16(sum, some))
#endif
#endif

#if NUMBERS == 16 /* ---------------------------------------------------------------- AVX-512 */
#define ROWS 8      /* items whose sums with WIDTH panels fit the registers */
#define WIDTH 3
#define RAISE 128
typedef __m512 Reals;
typedef __m512i Wholes;
typedef __m256i Entries; /* LANES sums of 16 bits */
/* The intrinsic of this instruction makes GCC 12 spill every sum, which halves the speed. */
#define DOT(sum, query, code) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(query), "v"(code))

INLINE Reals load(const float *p) { return _mm512_loadu_ps(p); }
INLINE Reals load_some(const float *p, int64_t n) {
  return _mm512_maskz_loadu_ps(n < 16 ? (1u << n) - 1 : 0xffff, p);
}
INLINE Reals all(float x) { return _mm512_set1_ps(x); }
INLINE void store(float *p, Reals a) { _mm512_storeu_ps(p, a); }
INLINE Reals times(Reals a, Reals b) { return _mm512_mul_ps(a, b); }
INLINE Reals plus(Reals a, Reals b) { return _mm512_add_ps(a, b); }
INLINE Reals times_plus(Reals a, Reals b, Reals c) { return _mm512_fmadd_ps(a, b, c); }
INLINE float total(Reals a) { return _mm512_reduce_add_ps(a); }
INLINE unsigned not_below(Reals a, Reals b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
INLINE Reals reals(Wholes a) { return _mm512_cvtepi32_ps(a); }
INLINE Reals from_float16(const uint16_t *p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE Reals from_bfloat16(const uint16_t *p) {
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
INLINE Wholes load_bytes(const void *p) { return _mm512_loadu_si512(p); }
INLINE Wholes all_wholes(int32_t x) { return _mm512_set1_epi32(x); }
INLINE Wholes low_half(Wholes a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
INLINE Wholes high_half(Wholes a) { return low_half(_mm512_srli_epi16(a, 4)); }
INLINE Wholes look_up(const uint8_t *table, Wholes at) {
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)), at);
}
INLINE Wholes plus8(Wholes a, Wholes b) { return _mm512_add_epi8(a, b); }
INLINE Wholes plus16(Wholes a, Wholes b) { return _mm512_add_epi16(a, b); }
INLINE Wholes plus32(Wholes a, Wholes b) { return _mm512_add_epi32(a, b); }
INLINE Wholes times256(Wholes a) { return _mm512_slli_epi32(a, 8); }
INLINE int32_t total_wholes(Wholes a) { return _mm512_reduce_add_epi32(a); }
/* Of each of four registers. */
INLINE void totals_of_four(const Wholes *a, int32_t *sums) {
  __m512i two = _mm512_add_epi32(_mm512_unpacklo_epi32(a[0], a[1]), _mm512_unpackhi_epi32(a[0], a[1]));
  __m512i more = _mm512_add_epi32(_mm512_unpacklo_epi32(a[2], a[3]), _mm512_unpackhi_epi32(a[2], a[3]));
  two = _mm512_add_epi32(_mm512_unpacklo_epi64(two, more), _mm512_unpackhi_epi64(two, more));
  __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(two), _mm512_extracti64x4_epi64(two, 1));
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  _mm_storeu_si128((__m128i *)sums, four);
}
INLINE Wholes less_odd(Wholes a, Wholes odd) { return _mm512_sub_epi16(a, _mm512_slli_epi16(odd, 8)); }
INLINE Wholes odd_of(Wholes a) { return _mm512_srli_epi16(a, 8); }
/* Numbers 16 i ... 16 i + 15 of those whose even ones of 16 bits are in one register, odd ones in another. */
INLINE Reals in_turn(Wholes even, Wholes odd, const int i) {
  __m512i a = _mm512_unpacklo_epi16(even, odd), b = _mm512_unpackhi_epi16(even, odd);
#define QUARTERS(i) _mm256_set_m128i(_mm512_extracti32x4_epi32(b, i), _mm512_extracti32x4_epi32(a, i))
  __m256i both = i == 0 ? QUARTERS(0) : i == 1 ? QUARTERS(1) : i == 2 ? QUARTERS(2) : QUARTERS(3);
#undef QUARTERS
  return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(both));
}
INLINE Wholes all16(uint16_t x) { return _mm512_set1_epi16((int16_t)x); }
/* Whether a number of 16 bits of either register is at least that of the third. */
INLINE int any_from16(Wholes a, Wholes b, Wholes least) {
  return (_mm512_cmpge_epu16_mask(a, least) | _mm512_cmpge_epu16_mask(b, least)) != 0;
}
INLINE Reals entries(Entries a, const int i) { return (void)i, reals(_mm512_cvtepu16_epi32(a)); }

#elif NUMBERS == 8 /* --------------------------------------------------------------- AVX2 */
#define ROWS 6
#define WIDTH 1
typedef __m256 Reals;
typedef __m256i Wholes;
typedef __m256i Entries;
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
#define RAISE 128
#define DOT(sum, query, code) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(query), "v"(code))
#elif defined(__AVXVNNI__)
#define RAISE 128
#define DOT(sum, query, code) __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(query), "x"(code))
#else
#define RAISE 32
#endif

INLINE Reals load(const float *p) { return _mm256_loadu_ps(p); }
INLINE Reals load_some(const float *p, int64_t n) {
  const __m256i count = _mm256_set1_epi32(n < 8 ? (int)n : 8);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
}
INLINE Reals all(float x) { return _mm256_set1_ps(x); }
INLINE void store(float *p, Reals a) { _mm256_storeu_ps(p, a); }
INLINE Reals times(Reals a, Reals b) { return _mm256_mul_ps(a, b); }
INLINE Reals plus(Reals a, Reals b) { return _mm256_add_ps(a, b); }
INLINE Reals times_plus(Reals a, Reals b, Reals c) { return _mm256_fmadd_ps(a, b, c); }
INLINE float total(Reals a) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
INLINE unsigned not_below(Reals a, Reals b) {
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ));
}
INLINE Reals reals(Wholes a) { return _mm256_cvtepi32_ps(a); }
INLINE Reals from_float16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INLINE Reals from_bfloat16(const uint16_t *p) {
  __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
INLINE Wholes load_bytes(const void *p) { return _mm256_loadu_si256(p); }
INLINE Wholes all_wholes(int32_t x) { return _mm256_set1_epi32(x); }
INLINE Wholes low_half(Wholes a) { return _mm256_and_si256(a, _mm256_set1_epi8(15)); }
INLINE Wholes high_half(Wholes a) { return low_half(_mm256_srli_epi16(a, 4)); }
INLINE Wholes look_up(const uint8_t *table, Wholes at) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table)), at);
}
INLINE Wholes plus8(Wholes a, Wholes b) { return _mm256_add_epi8(a, b); }
INLINE Wholes plus16(Wholes a, Wholes b) { return _mm256_add_epi16(a, b); }
INLINE Wholes plus32(Wholes a, Wholes b) { return _mm256_add_epi32(a, b); }
INLINE Wholes times256(Wholes a) { return _mm256_slli_epi32(a, 8); }
INLINE int32_t total_wholes(Wholes a) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
INLINE void totals_of_four(const Wholes *a, int32_t *sums) {
  __m256i two = _mm256_hadd_epi32(_mm256_hadd_epi32(a[0], a[1]), _mm256_hadd_epi32(a[2], a[3]));
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
  _mm_storeu_si128((__m128i *)sums, four);
}
INLINE Wholes less_odd(Wholes a, Wholes odd) { return _mm256_sub_epi16(a, _mm256_slli_epi16(odd, 8)); }
INLINE Wholes odd_of(Wholes a) { return _mm256_srli_epi16(a, 8); }
INLINE Reals in_turn(Wholes even, Wholes odd, const int i) {
  __m256i both = i % 2 ? _mm256_unpackhi_epi16(even, odd) : _mm256_unpacklo_epi16(even, odd);
  __m128i eight = i / 2 ? _mm256_extracti128_si256(both, 1) : _mm256_castsi256_si128(both);
  return reals(_mm256_cvtepu16_epi32(eight));
}
INLINE Wholes all16(uint16_t x) { return _mm256_set1_epi16((int16_t)x); }
INLINE int any_from16(Wholes a, Wholes b, Wholes least) { /* what is missing, 0 where nothing is */
  const __m256i missing = _mm256_min_epu16(_mm256_subs_epu16(least, a), _mm256_subs_epu16(least, b));
  return _mm256_movemask_epi8(_mm256_cmpeq_epi16(missing, _mm256_setzero_si256())) != 0;
}
INLINE Reals entries(Entries a, const int i) {
  __m128i eight = i ? _mm256_extracti128_si256(a, 1) : _mm256_castsi256_si128(a);
  return reals(_mm256_cvtepu16_epi32(eight));
}

#elif NUMBERS == 4 /* --------------------------------------------------------------- NEON */
#define ROWS 6
#define WIDTH 1
typedef float32x4_t Reals;
typedef int32x4_t Wholes;
typedef uint16x8x2_t Entries;
#define RAISE 0 /* both sides are signed */
#if defined(__ARM_FEATURE_DOTPROD)
#define DOT(sum, query, code) \
  (sum = vdotq_s32(sum, vreinterpretq_s8_s32(query), vreinterpretq_s8_s32(code)))
#else
INLINE Wholes dot(Wholes sum, int8x16_t query, int8x16_t code) {
  int16x8_t low = vmull_s8(vget_low_s8(query), vget_low_s8(code)), high = vmull_high_s8(query, code);
  return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}
#define DOT(sum, query, code) (sum = dot(sum, vreinterpretq_s8_s32(query), vreinterpretq_s8_s32(code)))
#endif

INLINE Reals load(const float *p) { return vld1q_f32(p); }
INLINE Reals load_some(const float *p, int64_t n) {
  float four[4] = {0};
  for (int64_t i = 0; i < n && i < 4; i++) four[i] = p[i];
  return vld1q_f32(four);
}
INLINE Reals all(float x) { return vdupq_n_f32(x); }
INLINE void store(float *p, Reals a) { vst1q_f32(p, a); }
INLINE Reals times(Reals a, Reals b) { return vmulq_f32(a, b); }
INLINE Reals plus(Reals a, Reals b) { return vaddq_f32(a, b); }
INLINE Reals times_plus(Reals a, Reals b, Reals c) { return vfmaq_f32(c, a, b); }
INLINE float total(Reals a) { return vaddvq_f32(a); }
INLINE unsigned not_below(Reals a, Reals b) {
  const uint32x4_t bits = {1, 2, 4, 8};
  return vaddvq_u32(vbicq_u32(bits, vcltq_f32(a, b)));
}
INLINE Reals reals(Wholes a) { return vcvtq_f32_s32(a); }
INLINE Reals from_float16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
INLINE Reals from_bfloat16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
INLINE Wholes load_bytes(const void *p) { return vreinterpretq_s32_s8(vld1q_s8(p)); }
INLINE Wholes all_wholes(int32_t x) { return vdupq_n_s32(x); }
#define AS8(a) vreinterpretq_u8_s32(a)
#define AS16(a) vreinterpretq_u16_s32(a)
INLINE Wholes low_half(Wholes a) { return vreinterpretq_s32_u8(vandq_u8(AS8(a), vdupq_n_u8(15))); }
INLINE Wholes high_half(Wholes a) { return vreinterpretq_s32_u8(vshrq_n_u8(AS8(a), 4)); }
INLINE Wholes look_up(const uint8_t *table, Wholes at) {
  return vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(table), AS8(at)));
}
INLINE Wholes plus8(Wholes a, Wholes b) { return vreinterpretq_s32_u8(vaddq_u8(AS8(a), AS8(b))); }
INLINE Wholes plus16(Wholes a, Wholes b) { return vreinterpretq_s32_u16(vaddq_u16(AS16(a), AS16(b))); }
INLINE Wholes plus32(Wholes a, Wholes b) { return vaddq_s32(a, b); }
INLINE Wholes times256(Wholes a) { return vshlq_n_s32(a, 8); }
INLINE int32_t total_wholes(Wholes a) { return vaddvq_s32(a); }
INLINE void totals_of_four(const Wholes *a, int32_t *sums) {
  vst1q_s32(sums, vpaddq_s32(vpaddq_s32(a[0], a[1]), vpaddq_s32(a[2], a[3])));
}
INLINE Wholes less_odd(Wholes a, Wholes odd) {
  return vreinterpretq_s32_u16(vsubq_u16(AS16(a), vshlq_n_u16(AS16(odd), 8)));
}
INLINE Wholes odd_of(Wholes a) { return vreinterpretq_s32_u16(vshrq_n_u16(AS16(a), 8)); }
INLINE Reals in_turn(Wholes even, Wholes odd, const int i) {
  uint16x8_t both = i / 2 ? vzip2q_u16(AS16(even), AS16(odd)) : vzip1q_u16(AS16(even), AS16(odd));
  return vcvtq_f32_u32(vmovl_u16(i % 2 ? vget_high_u16(both) : vget_low_u16(both)));
}
INLINE Wholes all16(uint16_t x) { return vreinterpretq_s32_u16(vdupq_n_u16(x)); }
INLINE int any_from16(Wholes a, Wholes b, Wholes least) {
  return vmaxvq_u16(vorrq_u16(vcgeq_u16(AS16(a), AS16(least)), vcgeq_u16(AS16(b), AS16(least)))) != 0;
}
INLINE Reals entries(Entries a, const int i) {
  uint16x8_t both = a.val[i / 2];
  return vcvtq_f32_u32(vmovl_u16(i % 2 ? vget_high_u16(both) : vget_low_u16(both)));
}
#endif

#if NUMBERS /* ---------------------------------------------------------------------- all of them */
INLINE Wholes all_four(const void *p) {
  int32_t four;
  memcpy(&four, p, 4);
  return all_wholes(four);
}
/* Sums of LANES entries of 8 bits each; and 16 bytes of two registers in turn. */
#if NUMBERS >= 8
typedef __m128i Sixteen;
INLINE Sixteen load16(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
INLINE void store16(uint8_t *p, Sixteen a) { _mm_storeu_si128((__m128i *)p, a); }
INLINE Sixteen zip_low(Sixteen a, Sixteen b) { return _mm_unpacklo_epi8(a, b); }
INLINE Sixteen zip_high(Sixteen a, Sixteen b) { return _mm_unpackhi_epi8(a, b); }
INLINE Entries no_entries(void) { return _mm256_setzero_si256(); }
INLINE Entries plus_entries(Entries a, const uint8_t *p) {
  return _mm256_add_epi16(a, _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p)));
}
#else
typedef uint8x16_t Sixteen;
INLINE Sixteen load16(const uint8_t *p) { return vld1q_u8(p); }
INLINE void store16(uint8_t *p, Sixteen a) { vst1q_u8(p, a); }
INLINE Sixteen zip_low(Sixteen a, Sixteen b) { return vzip1q_u8(a, b); }
INLINE Sixteen zip_high(Sixteen a, Sixteen b) { return vzip2q_u8(a, b); }
INLINE Entries no_entries(void) { return (Entries){{vdupq_n_u16(0), vdupq_n_u16(0)}}; }
INLINE Entries plus_entries(Entries a, const uint8_t *p) {
  uint8x16_t b = vld1q_u8(p);
  return (Entries){{vaddw_u8(a.val[0], vget_low_u8(b)), vaddw_high_u8(a.val[1], b)}};
}
#endif
#endif

/* The largest code of a query in coarse products, and what is added to it; 0 where there are none. */
#if NUMBERS && defined(DOT)
#define MAX_CODE 127
#elif NUMBERS
#define MAX_CODE 31 /* 8 products with codes from -128 fit 16 bits */
#else
#define MAX_CODE 0
#define RAISE 0
#endif
