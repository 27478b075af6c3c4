// What happens to a row between products: coding, the layer norm, GELU.
#pragma once
#include "encoder.h"

// One row as the next product reads it; k is filled up with zeros.
static void code_row(int precision, const float *x, int64_t k, uint8_t *out, float *step, float *min) {
  if (precision == FLOAT32) {
    memcpy(out, x, 4 * k);
    memset(out + 4 * k, 0, row_bytes(precision, k) - 4 * k);
  } else if (precision == BFLOAT16) {
    uint16_t *half = (uint16_t *)out;
    for (int64_t i = 0; i < k; i++) { // to nearest, ties to even
      uint32_t bits;
      memcpy(&bits, x + i, 4);
      half[i] = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    }
    memset(half + k, 0, row_bytes(precision, k) - 2 * k);
  } else {
    float low = x[0], high = x[0];
#pragma omp simd reduction(min : low) reduction(max : high)
    for (int64_t i = 0; i < k; i++) {
      low = x[i] < low ? x[i] : low;
      high = x[i] > high ? x[i] : high;
    }
    float width = (high - low) / 255, per = width > 0 ? 1 / width : 0;
#pragma omp simd
    for (int64_t i = 0; i < k; i++) {
      int32_t code = (int32_t)((x[i] - low) * per + 0.5f); // never negative: cutting off rounds
      out[i] = (uint8_t)(code > 255 ? 255 : code);
    }
    memset(out + k, 0, row_bytes(precision, k) - k);
    *step = width, *min = low;
  }
}

// x = layer norm of (x + y); y may be NULL.
static void add_and_norm(float *x, const float *y, int64_t n, const float *gain, const float *bias,
                         float epsilon) {
  float sum = 0, squares = 0;
  if (y) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += x[i] += y[i];
  } else {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += x[i];
  }
  float mean = sum / n;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
  float per = 1 / sqrtf(squares / n + epsilon);
#pragma omp simd
  for (int64_t i = 0; i < n; i++) x[i] = (x[i] - mean) * per * gain[i] + bias[i];
}

// x * Phi(x): Phi is .5 + x P(x²) up to |x| = 4.5, fitted so that the product errs by at most 4e-5 there.
static void gelu(float *x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float v = x[i], c = v < -4.5f ? -4.5f : v > 4.5f ? 4.5f : v, t = c * c, p = 3.03631368e-11f;
    p = p * t + -3.31455298e-09f;
    p = p * t + 1.59095177e-07f;
    p = p * t + -4.45162791e-06f;
    p = p * t + 8.14238656e-05f;
    p = p * t + -1.03758188e-03f;
    p = p * t + 9.58516790e-03f;
    p = p * t + -6.59846067e-02f;
    p = p * t + 3.98712614e-01f;
    x[i] = v * (0.5f + c * p);
  }
}
