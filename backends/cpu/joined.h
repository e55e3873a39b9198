/*
 * joined.h - which commands run as one (joined.c, gate.c, end.c).
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

/* A gated activation, or its gradients (gate.c). */
#define CPU_GATE_COMMANDS 3
struct cpu_gate {
	int32_t is_back, pad;
	struct hn_gate forward;
	struct hn_gate_back back;
	int64_t n, element; /* elements, and bytes of one */
};

/* Does it begin with the first of these commands?  How many they are; 0 = no. */
uint32_t cpu_gate_find(struct cpu_gate *g, const struct hone_command *const *c, uint32_t n,
	const struct hone_run *run);

/* m rows of n elements of it, ld apart, from element `at` on. */
void cpu_gate_part(const struct hn_cpu_kernels *k, const struct cpu_gate *g, int64_t at, int64_t m,
	int64_t n, int64_t ld);

/* Runs one that begins with the call's command; how many commands that were, 0 = none: nothing
 * was run. */
uint32_t cpu_gate_run(const struct cpu_call *call);

/* Commands that a job may take beside its own, and how; both are asked of the job. */
struct cpu_party {
	int (*fits)(const void *job, const struct hone_command *c);
	void (*add)(void *job, const struct hone_command *c);
	void *job;
};

/* Adds the commands after call->c that fit and may run before all that is between, and notes them
 * in call->taken. */
void cpu_take_party(const struct cpu_call *call, const struct cpu_party *party);

/* Elementwise commands that follow a product, run on a block of it while that is in the cache
 * (end.c). */
#define CPU_ENDS       4   /* steps at most, of up to CPU_GATE_COMMANDS commands */
#define CPU_END_COLUMN 256 /* columns that belong together, at most */
struct cpu_end_step {
	void (*rows)(const struct hn_cpu_kernels *k, const struct cpu_end_step *s, int64_t row,
		int64_t m, int64_t col, int64_t n);
	struct cpu_gate gate;
	struct cpu_mat x, z, y; /* y = f(x), or f(x, z) */
	const void *attr;
	int32_t kind, pad;
};
struct cpu_end {
	const struct hn_cpu_kernels *k;
	struct cpu_end_step step[CPU_ENDS];
	int32_t n, pad;
	int64_t unit; /* columns that belong together: of a head, or 1 */
};

/* The commands after the call's that end the product `p`; they are noted in call->taken, if any
 * is found. */
void cpu_end_find(const struct cpu_call *call, const struct cpu_product *p, struct cpu_end *end);

/* Rows [row, row + m) of columns [col, col + n), which are whole units and stand in y. */
void cpu_end_run(const struct cpu_end *end, int64_t row, int64_t m, int64_t col, int64_t n);

/* Does the command read or write memory of the operand? */
int cpu_touches(
	const struct hone_command *c, const struct hone_operand *o, const struct hone_run *run);

/* Matrices of one type and size in one place? */
int cpu_same_place(
	const struct hone_operand *a, const struct hone_operand *b, const struct hone_run *run);

/* May `later` run before `earlier`, or beside it?  Neither writes what the other touches. */
int cpu_may_pass(const struct hone_command *later, const struct hone_command *earlier,
	const struct hone_run *run);

#endif
