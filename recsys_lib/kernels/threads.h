/* The same task by several threads, shared by both kernels.

   POSIX semaphores without a name do not exist on macOS: a mutex and a condition do everywhere. */

#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#define MAX_THREADS 64

/* One thread's part of a task. Whoever comes to it first, the thread or the caller who has done everything
   else, claims it: nobody waits for a thread that the system has not let run. The last of its two owners
   frees it. */
typedef struct {
  const void *problem;
  void *result;
  int (*work)(const void *, void *);
  int failed, done; /* under the mutex */
  atomic_int claimed, owners;
  pthread_mutex_t mutex;
  pthread_cond_t finished;
} Part;

static void leave(Part *part) {
  if (atomic_fetch_sub(&part->owners, 1) > 1) return;
  pthread_cond_destroy(&part->finished);
  pthread_mutex_destroy(&part->mutex);
  free(part);
}

static void *run_part(void *argument) {
  Part *part = argument;
  if (!atomic_exchange(&part->claimed, 1)) {
    const int failed = part->work(part->problem, part->result);
    pthread_mutex_lock(&part->mutex);
    part->failed = failed, part->done = 1;
    pthread_cond_signal(&part->finished);
    pthread_mutex_unlock(&part->mutex);
  }
  leave(part);
  return NULL;
}

static int wait_for(Part *part) {
  pthread_mutex_lock(&part->mutex);
  while (!part->done) pthread_cond_wait(&part->finished, &part->mutex);
  const int failed = part->failed;
  pthread_mutex_unlock(&part->mutex);
  return failed;
}

/* A part that a thread of its own has begun, or NULL where the system gives no thread or no memory. */
static Part *start(const void *problem, void *result, int (*work)(const void *, void *)) {
  Part *part = calloc(1, sizeof(Part));
  if (!part) return NULL;
  part->problem = problem, part->result = result, part->work = work;
  atomic_init(&part->claimed, 0), atomic_init(&part->owners, 2);
  if (pthread_mutex_init(&part->mutex, NULL)) {
    free(part);
    return NULL;
  }
  if (pthread_cond_init(&part->finished, NULL)) {
    pthread_mutex_destroy(&part->mutex);
    free(part);
    return NULL;
  }
  pthread_t thread;
  if (pthread_create(&thread, NULL, run_part, part)) {
    atomic_store(&part->owners, 1);
    leave(part);
    return NULL;
  }
  pthread_detach(thread);
  return part;
}

/* Let up to `n` threads take pieces of the problem until none is left, each with a result of its own of
   `size` bytes. Fewer threads than asked for, the caller alone at the least, do all of it. Returns 0, or the
   code of a part that failed. */
static int in_parallel(const void *problem, void *results, int64_t size, int64_t n,
                       int (*work)(const void *, void *)) {
  Part *parts[MAX_THREADS] = {NULL};
  if (n > MAX_THREADS) n = MAX_THREADS;
  for (int64_t i = 1; i < n; i++) {
    parts[i] = start(problem, results ? (char *)results + i * size : NULL, work);
    if (!parts[i]) break;
  }
  int failed = work(problem, results);
  for (int64_t i = 1; i < n && parts[i]; i++) {
    if (atomic_exchange(&parts[i]->claimed, 1)) {
      const int code = wait_for(parts[i]);
      if (code) failed = code;
    }
    leave(parts[i]);
  }
  return failed;
}
