// Attention inside one text, GROUP rows at a time: their sums fit the registers.
#pragma once
#include "encoder.h"

// e^x for x <= 0, relative error below 1e-6: 2^whole times a polynomial of 2^rest. Below -87 it is as good as
// nothing.
static inline floats exponential(floats x) {
#ifdef __AVX512F__
  x = (floats)_mm512_max_ps((__m512)x, _mm512_set1_ps(-87.0f));
#else
  floats min = (floats){0} - 87.0f;
  wholes tiny = x < min;
  x = (floats)(((wholes)x & ~tiny) | ((wholes)min & tiny));
#endif
  floats t = x * 1.44269504f;
  wholes whole = __builtin_convertvector(t - 0.5f, wholes);
  floats f = (t - __builtin_convertvector(whole, floats)) * 0.69314718f;
  floats p = 1 + f * (1 + f * (0.5f + f * (0.166666667f +
                                           f * (0.0416666667f + f * (0.00833333333f + f * 0.00138888889f)))));
  return (floats)((wholes)p + (whole << 23));
}

static inline float largest(floats x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)x);
#elif defined(__AVX2__)
  __m128 half = _mm_max_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
#else
  float max = x[0];
  for (int i = 1; i < WIDE; i++) max = x[i] > max ? x[i] : max;
  return max;
#endif
}

static inline float total(floats x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)x);
#elif defined(__AVX2__)
  __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
#else
  float sum = 0;
  for (int i = 0; i < WIDE; i++) sum += x[i];
  return sum;
#endif
}

// GROUP rows of a text as attention reads them; step: where each of them begins, in floats. Of a text with
// fewer rows the last is repeated: what its copies give is dropped.
static void row_steps(int64_t length, int64_t stride, int64_t *step) {
  for (int r = 0; r < GROUP; r++) step[r] = (r < length ? r : length - 1) * stride;
}

// score [GROUP, wide] = GROUP rows of queries times keys [d, wide]: blocks of GROUP / 2 rows and two vectors
// of keys read six numbers for eight products, blocks of GROUP rows and one vector nine.
static inline __attribute__((always_inline)) void score_rows(const float *rows, const int64_t *step,
                                                             const float *keys, int64_t d, int64_t wide,
                                                             float *score) {
  int64_t j = 0;
  for (; j + WIDE < wide; j += 2 * WIDE)
    for (int half = 0; half < GROUP; half += GROUP / 2) {
      floats a0 = {0}, a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
      const int64_t *at = step + half;
      for (int64_t c = 0; c < d; c++) {
        floats line = *(const unaligned *)(keys + c * wide + j);
        floats next = *(const unaligned *)(keys + c * wide + j + WIDE);
        const float *x = rows + c;
        float x0 = x[at[0]], x1 = x[at[1]], x2 = x[at[2]], x3 = x[at[3]];
        a0 += x0 * line, a1 += x1 * line, a2 += x2 * line, a3 += x3 * line;
        b0 += x0 * next, b1 += x1 * next, b2 += x2 * next, b3 += x3 * next;
      }
      floats first[] = {a0, a1, a2, a3}, second[] = {b0, b1, b2, b3};
      for (int r = 0; r < GROUP / 2; r++) {
        *(unaligned *)(score + (half + r) * wide + j) = first[r];
        *(unaligned *)(score + (half + r) * wide + j + WIDE) = second[r];
      }
    }
  for (; j < wide; j += WIDE) {
    floats a0 = {0}, a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
    for (int64_t c = 0; c < d; c++) {
      floats line = *(const unaligned *)(keys + c * wide + j);
      const float *x = rows + c;
      a0 += x[step[0]] * line, a1 += x[step[1]] * line, a2 += x[step[2]] * line, a3 += x[step[3]] * line;
      a4 += x[step[4]] * line, a5 += x[step[5]] * line, a6 += x[step[6]] * line, a7 += x[step[7]] * line;
    }
    floats all[GROUP] = {a0, a1, a2, a3, a4, a5, a6, a7};
    for (int r = 0; r < GROUP; r++) *(unaligned *)(score + r * wide + j) = all[r];
  }
}

// score = e^(score - its largest) of one row; returns 1 / their sum. absent: added to the last scores, minus
// infinity past the text.
static inline __attribute__((always_inline)) float softmax_row(float *s, int64_t wide, floats absent) {
  unaligned *end = (unaligned *)(s + wide - WIDE);
  *end += absent;
  floats max = *end, sum = {0};
  for (int64_t j = 0; j < wide - WIDE; j += WIDE) {
    floats x = *(unaligned *)(s + j);
    wholes more = x > max;
    max = (floats)(((wholes)x & more) | ((wholes)max & ~more));
  }
  float top = largest(max);
  for (int64_t j = 0; j < wide; j += WIDE)
    sum += *(unaligned *)(s + j) = exponential(*(unaligned *)(s + j) - top);
  return 1 / total(sum);
}

// out [n rows, d] = score [GROUP, length] times values [length, d], each row times its weight; rows of out
// are `mixed` floats apart.
static inline __attribute__((always_inline)) void mix_rows(const float *score, int64_t wide, const float *v,
                                                           int64_t stride, int64_t length, int64_t d,
                                                           const float *weight, float *out, int64_t mixed) {
  int64_t c = 0;
  for (; c + WIDE < d; c += 2 * WIDE)
    for (int half = 0; half < GROUP; half += GROUP / 2) {
      floats a0 = {0}, a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
      const float *x = score + half * wide;
      for (int64_t j = 0; j < length; j++, x++) {
        floats line = *(const unaligned *)(v + j * stride + c);
        floats next = *(const unaligned *)(v + j * stride + c + WIDE);
        float x0 = x[0], x1 = x[wide], x2 = x[2 * wide], x3 = x[3 * wide];
        a0 += x0 * line, a1 += x1 * line, a2 += x2 * line, a3 += x3 * line;
        b0 += x0 * next, b1 += x1 * next, b2 += x2 * next, b3 += x3 * next;
      }
      floats first[] = {a0, a1, a2, a3}, second[] = {b0, b1, b2, b3};
      for (int r = 0; r < GROUP / 2 && half + r < length; r++) {
        *(unaligned *)(out + (half + r) * mixed + c) = first[r] * weight[half + r];
        *(unaligned *)(out + (half + r) * mixed + c + WIDE) = second[r] * weight[half + r];
      }
    }
  for (; c < d; c += WIDE) {
    floats a0 = {0}, a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
    for (int64_t j = 0; j < length; j++) {
      floats line = *(const unaligned *)(v + j * stride + c);
      const float *x = score + j;
      a0 += x[0] * line, a1 += x[wide] * line, a2 += x[2 * wide] * line, a3 += x[3 * wide] * line;
      a4 += x[4 * wide] * line, a5 += x[5 * wide] * line, a6 += x[6 * wide] * line, a7 += x[7 * wide] * line;
    }
    floats all[GROUP] = {a0, a1, a2, a3, a4, a5, a6, a7};
    for (int r = 0; r < GROUP && r < length; r++) *(unaligned *)(out + r * mixed + c) = all[r] * weight[r];
  }
}

// Attention inside one text of `length` tokens. qkv [length, 3 mixed]; out [length, mixed]; buffer: (d +
// GROUP) * wide floats.
static void attend(const float *qkv, int64_t length, int64_t mixed, int64_t heads, float *out,
                   float *buffer) {
  int64_t d = mixed / heads, wide = up_to(length, WIDE), stride = 3 * mixed, step[GROUP];
  float *keys = buffer, *score = buffer + d * wide, per = 1 / sqrtf((float)d);
  floats absent = {0};
  for (int64_t j = 0; j < WIDE; j++) absent[j] = wide - WIDE + j < length ? 0 : -INFINITY;
  memset(keys, 0, 4 * d * wide);
  row_steps(length, stride, step);
  for (int64_t head = 0; head < heads; head++) {
    const float *q = qkv + head * d, *k = q + mixed, *v = k + mixed;
    for (int64_t j = 0; j < length; j++)
      for (int64_t c = 0; c < d; c++) keys[c * wide + j] = k[j * stride + c] * per;
    for (int64_t i = 0; i < length; i += GROUP) {
      int64_t first = length <= GROUP       ? 0
                      : i + GROUP <= length ? i
                                            : length - GROUP; // the last group reaches back
      float weight[GROUP];
      score_rows(q + first * stride, step, keys, d, wide, score);
      for (int r = 0; r < GROUP; r++) weight[r] = softmax_row(score + r * wide, wide, absent);
      mix_rows(score, wide, v, stride, length, d, weight, out + first * mixed + head * d, mixed);
    }
  }
}
