#include "threads.h"

#include <pthread.h>

enum { MOST_THREADS = 64 };

struct part {
  lic_job *job;
  void *argument;
  int index, is_started;
  pthread_t thread;
};

static void *run_part(void *argument) {
  struct part *part = argument;
  part->job(part->argument, part->index);
  return NULL;
}

void lic_run_threads(void *pool, lic_job *job, void *argument, int count) {
  struct part parts[MOST_THREADS];
  int index;
  (void)pool;
  for (index = 1; index < count && index < MOST_THREADS; index++) {
    struct part *part = &parts[index];
    part->job = job, part->argument = argument, part->index = index;
    part->is_started = !pthread_create(&part->thread, NULL, run_part, part);
  }
  job(argument, 0);
  for (index = MOST_THREADS; index < count; index++) job(argument, index);
  for (index = 1; index < count && index < MOST_THREADS; index++) {
    if (parts[index].is_started)
      pthread_join(parts[index].thread, NULL);
    else
      run_part(&parts[index]);
  }
}
