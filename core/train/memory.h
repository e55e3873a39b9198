/*
 * train/memory.h - what a run will hold in memory: one sum for plan, check, limits and benches.
 *
 * The engine counts bytes that are asked for.  What a process holds of them is a little more,
 * and counted here: large buffers consist of huge pages, and a mapped file comes in windows of
 * 64 KiB around what is read of it (the kernel's fault-around), which tells where a model keeps
 * most weights in another form and reads only small ones between them.  Not known here is the
 * scratch memory of a backend's kernels: a few MB for each thread.
 */
#ifndef HN_TRAIN_MEMORY_H
#define HN_TRAIN_MEMORY_H

#include "graph/engine.h"

struct hn_memory_plan {
	uint64_t bytes[HN_MEMORY_KINDS];
	uint64_t around;  /* of the mapped file, beside the weights that are read */
	uint64_t program; /* resident now: code, plugins, tokenizer, prepared data, graphs */
	uint64_t peak;    /* the sum of all */
};

/* Of an engine whose programs were added and that has not allocated yet.  [main] */
void hn_memory_plan_make(const struct hn_engine *engine, struct hn_memory_plan *out);

/* Resident memory of this process now, and at most so far, in MB (10^6 bytes). */
double hn_memory_now_mb(void);
double hn_memory_peak_mb(void);

#endif
