/*
 * joined.h - which commands run as one (joined.c, gate.c).
 */
#ifndef HN_CPU_JOINED_H
#define HN_CPU_JOINED_H

#include "cpu.h"

#define HN_NARROW 64 /* k of a product that another takes along, at most */

/* How many commands after the first of `n` the one is that takes it along; 0 = none does. */
uint32_t cpu_join_find(
	const void *commands, uint32_t n, uint32_t stride, const struct hone_run *run);

/* Both as one product; the wide one's b is that of the longer k. */
struct cpu_product cpu_join_product(
	const struct cpu_product *earlier, const struct cpu_product *later);

/* Runs a gated activation, or its gradients, that begins with the first of `n` commands; how
 * many commands that were, 0 = none: nothing was run. */
uint32_t cpu_gate_run(struct cpu_device *d, const void *commands, uint32_t n, uint32_t stride,
	const struct hone_run *run);

/* Commands that a job may take beside its own, and how; both are asked of the job. */
struct cpu_party {
	int (*fits)(const void *job, const struct hone_command *c);
	void (*add)(void *job, const struct hone_command *c);
	void *job;
};

/* Adds the commands after call->c that fit and may run before all that is between.  Bit j of
 * *taken is command j after call->c, and says already which have run. */
void cpu_take_party(const struct cpu_call *call, const struct cpu_party *party, uint32_t *taken);

/* May `later` run before `earlier`, or beside it?  Neither writes what the other touches. */
int cpu_may_pass(const struct hone_command *later, const struct hone_command *earlier,
	const struct hone_run *run);

#endif
