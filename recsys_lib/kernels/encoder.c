// A BERT encoder over ragged batches: no padding is computed, activations stay in the cache, and products are
// made in 8-bit integers, bfloat16 or float32 with whatever the processor has for them.
//
// Texts lie one after another. A thread takes a chunk of them through all layers; inside a layer it works on
// blocks of rows small enough for the level-2 cache, so that the weights are read from further away once per
// block.
//
// Integers: weights are symmetric per output channel; activations are rounded per token to 0..255 between the
// token's minimum and maximum (asymmetric, as GELU's output is). A product of x = min + step * code_x and w =
// scale * code_w is
//     sum x w = scale * (step * sum code_x code_w) + min * (scale * sum code_w):
// the sums of products are exact 32-bit integers, and so are they on every machine.
//
// All three precisions keep weights in the same layout of 64-byte lines, which encoder.h draws.
//
// In order: encoder.h (data), encoder_products.h, encoder_rows.h, encoder_attention.h; here the layers, their
// memory, and the threads.
#define _GNU_SOURCE
#include "encoder_attention.h"
#include "encoder_products.h"
#include "encoder_rows.h"

typedef struct {
  float *x, *mixed, *wide, *y, *buffer, *step, *min, *step2, *min2;
  uint8_t *codes, *codes2;
} Activations;

static void embed(const Model *m, const Batch *b, int64_t text, float *x) {
  int64_t h = m->hidden;
  for (int64_t t = b->start[text]; t < b->start[text + 1]; t++, x += h) {
    int64_t id = b->ids[t];
    const float *position = m->positions + (t - b->start[text]) * h;
    if (m->words) {
      const int8_t *word = m->words + id * h;
      float scale = m->word_scale[id];
      for (int64_t i = 0; i < h; i++) x[i] = word[i] * scale + position[i];
    } else {
      for (int64_t i = 0; i < h; i++) x[i] = m->word_rows[id * h + i] + position[i];
    }
    add_and_norm(x, NULL, h, m->gain, m->bias, m->epsilon);
  }
}

/* What a block made is added to its rows, which are normed and rounded for the next one. */
static void add_and_code(const Model *m, const float *gain, const float *bias, int64_t row, int64_t rows,
                         Activations *s) {
  int64_t h = m->hidden, bytes = row_bytes(m->precision, h);
  for (int64_t r = 0; r < rows; r++) {
    float *x = s->x + (row + r) * h;
    add_and_norm(x, s->y + r * h, h, gain, bias, m->epsilon);
    code_row(m->precision, x, h, s->codes + (row + r) * bytes, s->step + row + r, s->min + row + r);
  }
}

// Rows of a layer's first half: texts from .. to, whose first token is at x.
static void attention_block(const Model *m, int amx, const Layer *l, const int64_t *start, int64_t n_texts,
                            int64_t row, Activations *s) {
  int p = m->precision;
  int64_t h = m->mixed, rows = start[n_texts] - start[0], bytes = row_bytes(p, h);
  product(p, amx, s->codes + row * row_bytes(p, m->hidden), rows, s->step + row, s->min + row, &l->qkv,
          s->wide);
  for (int64_t i = 0; i < n_texts; i++) {
    int64_t at = start[i] - start[0];
    attend(s->wide + at * 3 * h, start[i + 1] - start[i], h, m->heads, s->mixed + at * h, s->buffer);
  }
  for (int64_t r = 0; r < rows; r++)
    code_row(p, s->mixed + r * h, h, s->codes2 + r * bytes, s->step2 + r, s->min2 + r);
  product(p, amx, s->codes2, rows, s->step2, s->min2, &l->out, s->y);
  add_and_code(m, l->gain1, l->bias1, row, rows, s);
}

static void feed_block(const Model *m, int amx, const Layer *l, int64_t row, int64_t rows, Activations *s) {
  int p = m->precision;
  int64_t h = m->hidden, f = m->feed, bytes = row_bytes(p, h), wide = row_bytes(p, f);
  product(p, amx, s->codes + row * bytes, rows, s->step + row, s->min + row, &l->up, s->wide);
  for (int64_t r = 0; r < rows; r++) {
    gelu(s->wide + r * f, f);
    code_row(p, s->wide + r * f, f, s->codes2 + r * wide, s->step2 + r, s->min2 + r);
  }
  product(p, amx, s->codes2, rows, s->step2, s->min2, &l->down, s->y);
  add_and_code(m, l->gain2, l->bias2, row, rows, s);
}

static void run_chunk(const Model *m, int amx, const Batch *b, int64_t from, int64_t to, Activations *s) {
  int64_t h = m->hidden, bytes = row_bytes(m->precision, h);
  int64_t first = b->start[from], rows = b->start[to] - first;
  for (int64_t text = from; text < to; text++) embed(m, b, text, s->x + (b->start[text] - first) * h);
  for (int64_t r = 0; r < rows; r++)
    code_row(m->precision, s->x + r * h, h, s->codes + r * bytes, s->step + r, s->min + r);
  for (int64_t i = 0; i < m->n_layers; i++) {
    const Layer *l = m->layers + i;
    for (int64_t text = from, end; text < to; text = end) {
      for (end = text + 1; end < to && b->start[end + 1] - b->start[text] <= TEXT_ROWS; end++) {}
      attention_block(m, amx, l, b->start + text, end - text, b->start[text] - first, s);
    }
    for (int64_t row = 0; row < rows; row += FEED_ROWS)
      feed_block(m, amx, l, row, rows - row < FEED_ROWS ? rows - row : FEED_ROWS, s);
  }
  for (int64_t text = from; text < to; text++) {
    float *vector = b->vectors + text * h;
    memset(vector, 0, 4 * h);
    for (int64_t t = b->start[text]; t < b->start[text + 1]; t++)
      for (int64_t i = 0; i < h; i++) vector[i] += b->weight[t] * s->x[(t - first) * h + i];
  }
}

static void *take(char **place, int64_t bytes) {
  void *taken = *place;
  *place += up_to(bytes, 64);
  return taken;
}

// Lays out the space for chunks of `rows` tokens with texts of up to `longest`; returns its bytes. With base
// NULL it only counts.
static int64_t lay_out(const Model *m, int64_t rows, int64_t longest, char *base, Activations *s) {
  int64_t h = m->hidden, a = m->mixed, f = m->feed, d = a / m->heads;
  int64_t largest = longest > TEXT_ROWS ? longest : TEXT_ROWS, block = rows < TEXT_ROWS ? rows : largest;
  int64_t feed = rows < FEED_ROWS ? rows : FEED_ROWS, max_rows = block > feed ? block : feed;
  int64_t coded = block * row_bytes(m->precision, a), coded_feed = feed * row_bytes(m->precision, f);
  int64_t wide = 3 * a * block > f * feed ? 3 * a * block : f * feed;
  int64_t spare = SPARE * row_bytes(m->precision, f > h ? f : h);
  char *place = base;
  s->x = take(&place, 4 * h * rows);
  s->mixed = take(&place, 4 * a * block);
  s->wide = take(&place, 4 * wide);
  s->y = take(&place, 4 * h * max_rows);
  s->buffer = take(&place, 4 * (d + GROUP) * up_to(longest, 16));
  s->step = take(&place, 4 * rows);
  s->min = take(&place, 4 * rows);
  s->step2 = take(&place, 4 * max_rows);
  s->min2 = take(&place, 4 * max_rows);
  s->codes = take(&place, rows * row_bytes(m->precision, h) + spare);
  s->codes2 = take(&place, (coded > coded_feed ? coded : coded_feed) + spare);
  return place - base;
}

typedef struct {
  const Model *model;
  const Batch *batch;
  int64_t rows, longest; // tokens of the largest chunk and of the longest text
  int amx;
} Job;

// Encodes chunks until none is left. Returns NO_MEMORY where there is none for the activations.
static int encode_chunks(const void *argument, void *nothing) {
  const Job *job = argument;
  (void)nothing;
  Activations space;
  int64_t bytes = lay_out(job->model, job->rows, job->longest, NULL, &space);
  char *memory = aligned_alloc(64, bytes);
  if (!memory) return NO_MEMORY;
  lay_out(job->model, job->rows, job->longest, memory, &space);
  // Products read up to SPARE rows past the last and drop what these give. As found, they may hold denormal
  // numbers, whose arithmetic takes twenty times as long.
  memset(space.codes, 0, memory + bytes - (char *)space.codes);
#if AMX
  if (job->amx) amx_begin();
#endif
  for (int64_t i; (i = atomic_fetch_add(job->batch->next, 1)) < job->batch->n_chunks;)
    run_chunk(job->model, job->amx, job->batch, job->batch->chunk[i], job->batch->chunk[i + 1], &space);
#if AMX
  if (job->amx) _tile_release();
#endif
  free(memory);
  return 0;
}

// What products are made with, as native.py names it.
int64_t instructions(void) {
  if (amx_allowed()) return 3;
#if defined(__AVX512VNNI__)
  return 2;
#elif defined(__AVX2__) && defined(__AVXVNNI__)
  return 4;
#elif defined(__AVX2__)
  return 1;
#elif defined(__ARM_FEATURE_MATMUL_INT8)
  return 6;
#elif defined(__ARM_FEATURE_DOTPROD)
  return 5;
#else
  return 0;
#endif
}

// Whether two neighbouring weights in integers may be at most 128 together: see dot_int8.
int64_t adds_pairs(void) { return ADDS_PAIRS; }

// Whether every token has a row in the table of words, and every text fits the table of positions.
static int check_ids(const Model *m, const Batch *b) {
  for (int64_t t = 0; t < b->start[b->n_texts]; t++)
    if (b->ids[t] < 0 || b->ids[t] >= m->n_words) return UNKNOWN_ID;
  for (int64_t i = 0; i < b->n_texts; i++)
    if (b->start[i + 1] - b->start[i] > m->n_positions) return TOO_LONG;
  return 0;
}

// Fills batch->vectors; without `amx` the AMX units rest. Returns 0, NO_MEMORY, UNKNOWN_ID or TOO_LONG.
int encode(const Model *model, const Batch *batch, int64_t n_threads, int64_t amx) {
  int64_t rows = 0, longest = 1, n = n_threads < 1 ? 1 : n_threads;
  if (batch->n_chunks < 1) return 0;
  int failed = check_ids(model, batch);
  if (failed) return failed;
  for (int64_t i = 0; i < batch->n_chunks; i++) {
    int64_t size = batch->start[batch->chunk[i + 1]] - batch->start[batch->chunk[i]];
    rows = size > rows ? size : rows;
  }
  for (int64_t i = 0; i < batch->n_texts; i++) {
    int64_t size = batch->start[i + 1] - batch->start[i];
    longest = size > longest ? size : longest;
  }
  Job job = {model, batch, rows, longest, amx && amx_allowed()};
  return in_parallel(&job, NULL, 0, n < batch->n_chunks ? n : batch->n_chunks, encode_chunks);
}
