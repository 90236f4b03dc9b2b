/* Workers for lic_decode: POSIX threads, started for each job. */
#ifndef LIC_THREADS_H
#define LIC_THREADS_H

#include "lic.h"

/* The `run` of lic_workers. Where a thread cannot be started, the caller's thread does its part, too. */
void lic_run_threads(void *pool, lic_job *job, void *argument, int count);

#endif
