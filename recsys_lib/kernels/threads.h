/* The same task by several threads, shared by both kernels: a pool that grows to what is asked for at once
   and sleeps in between, instead of threads started per call.

       in_parallel   puts n - 1 parts in the queue, does the first itself, takes back what nobody has begun
                     (it has found nothing left to do by then), and waits for what others have
       pool_worker   takes parts from the queue, for ever

   All is under one mutex, but for the work. Several callers share the pool. A process that forks loses its
   threads: the child begins with an empty pool. A process that ends does not wait for sleeping threads.
   POSIX semaphores without a name do not exist on macOS: a mutex and conditions do everywhere. */

#pragma once
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

#define MAX_THREADS 64

/* One thread's share of a task; it lives in the frame of its caller. */
typedef struct Part {
  const void *problem;
  void *result;
  int (*work)(const void *, void *);
  int begun, done, failed;
  struct Part *next;
} Part;

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t queued, finished;
  Part *queue;
  int length, idle, started; /* parts in the queue; threads without a part, and all threads */
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER,
          .queued = PTHREAD_COND_INITIALIZER,
          .finished = PTHREAD_COND_INITIALIZER};

static void *pool_worker(void *nothing) {
  pthread_mutex_lock(&pool.mutex);
  for (;;) {
    while (!pool.queue) pthread_cond_wait(&pool.queued, &pool.mutex);
    Part *part = pool.queue;
    pool.queue = part->next, part->begun = 1, pool.length--, pool.idle--;
    pthread_mutex_unlock(&pool.mutex);
    const int failed = part->work(part->problem, part->result);
    pthread_mutex_lock(&pool.mutex);
    part->failed = failed, part->done = 1, pool.idle++; /* the caller may drop the part from here on */
    pthread_cond_broadcast(&pool.finished);
  }
  return nothing;
}

static void pool_lock(void) { pthread_mutex_lock(&pool.mutex); }
static void pool_unlock(void) { pthread_mutex_unlock(&pool.mutex); }
static void pool_forget(void) { /* in the child of a fork */
  pthread_mutex_init(&pool.mutex, NULL);
  pthread_cond_init(&pool.queued, NULL);
  pthread_cond_init(&pool.finished, NULL);
  pool.queue = NULL, pool.length = pool.idle = pool.started = 0;
}
static void pool_set_up(void) { pthread_atfork(pool_lock, pool_unlock, pool_forget); }

/* One thread more, which leaves signals to others, where the system gives one; under the mutex. */
static void pool_grow(void) {
  pthread_t thread;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int grown = pool.started < MAX_THREADS && !pthread_create(&thread, NULL, pool_worker, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (grown) pthread_detach(thread), pool.started++, pool.idle++;
}

/* Takes a part out of the queue if it is still there; under the mutex. */
static void take_back(Part *part) {
  Part **at = &pool.queue;
  while (*at && *at != part) at = &(*at)->next;
  if (*at) *at = part->next, pool.length--;
}

/* Let up to `n` threads take pieces of the problem until none is left, each with a result of its own of
   `size` bytes. Fewer threads than asked for, the caller alone at the least, do all of it. Returns 0, or the
   code of a part that failed. */
static int in_parallel(const void *problem, void *results, int64_t size, int64_t n,
                       int (*work)(const void *, void *)) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  if (n < 2) return work(problem, results);
  Part parts[MAX_THREADS];
  if (n > MAX_THREADS) n = MAX_THREADS;
  pthread_once(&once, pool_set_up);
  pthread_mutex_lock(&pool.mutex);
  for (int64_t i = 1; i < n; i++) {
    void *result = results ? (char *)results + i * size : NULL;
    parts[i] = (Part){.problem = problem, .result = result, .work = work, .next = pool.queue};
    pool.queue = parts + i, pool.length++;
    if (pool.length > pool.idle) pool_grow();
    pthread_cond_signal(&pool.queued);
  }
  pthread_mutex_unlock(&pool.mutex);
  int failed = work(problem, results);
  pthread_mutex_lock(&pool.mutex);
  for (int64_t i = 1; i < n; i++) {
    if (!parts[i].begun) {
      take_back(parts + i);
      continue;
    }
    while (!parts[i].done) pthread_cond_wait(&pool.finished, &pool.mutex);
    if (parts[i].failed) failed = parts[i].failed;
  }
  pthread_mutex_unlock(&pool.mutex);
  return failed;
}
