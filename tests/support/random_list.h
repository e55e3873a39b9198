/*
 * support/random_list.h - random lists of commands on memory that operands share.
 *
 * A list is a pure function of its seed and of what `keep` answers.  Operands of a few shapes
 * that fit each other lie apart, in one place, behind each other, or partly over each other, as
 * a planner may place what is not alive at once.  The commands are drawn one by one, or follow
 * what programs emit: a linear site with an adapter, gates, rotations, their gradients,
 * adapters side by side; now and then with a stranger in between.
 *
 * Each command by itself keeps the rules of hone/op.h: an output lies apart from all operands,
 * or in the place of the one that its operation allows.  Between commands nothing is ruled out,
 * save in lists that join (`joins`), which are compared with a tolerance: nothing in them has
 * jumps, and each half of the memory holds numbers of one type.
 */
#ifndef HONE_SUPPORT_RANDOM_LIST_H
#define HONE_SUPPORT_RANDOM_LIST_H

#include "ops.h"

#define LIST_COMMANDS 14
#define LIST_OPERANDS 48
#define LIST_HALF     (UINT64_C(1) << 20) /* bytes of the first half of the memory */
#define LIST_MEMORY   (LIST_HALF + LIST_HALF / 2)
#define LIST_STORED   (UINT64_C(160) * 1024) /* bytes behind it, of stored weights */
#define LIST_ALIGN    UINT64_C(64)

/* A command with what it points to. */
struct list_item {
	struct hone_command c;
	struct hone_operand in[3], out[2];
	union ops_attr attr;
	double rms[2]; /* of what it wrote; the caller's */
};

struct random_list {
	uint64_t seed, drawn;
	bool joins;      /* products may be joined by a narrow one; else none can be */
	bool halves;     /* f32 beside bf16 has a half of its own */
	int32_t compute; /* the type of most operands */
	int32_t apart;   /* of 100 operands, how many lie apart */
	int64_t m, width[3], head[2];
	int64_t live[2], begin[2];
	struct hone_operand o[LIST_OPERANDS];
	bool is_placed[LIST_OPERANDS];
	uint32_t n_operands, n;
	uint64_t used[2]; /* bytes of each half */
	int32_t focus;    /* the operand written last, or -1 */
	uint8_t *memory;
	struct list_item item[LIST_COMMANDS];
	/* Runs a command by itself; false where the list must do without it, and its outputs
	 * are what they were before. */
	bool (*keep)(void *ctx, struct random_list *l, struct list_item *item);
	void *ctx;
};

/* Begins a list on LIST_MEMORY bytes at `memory`, which the caller fills with numbers of
 * l->compute, the second half with f32, and LIST_STORED bytes of any kind behind them. */
void random_list_begin(struct random_list *l, uint64_t seed, uint8_t *memory);

/* Draws its commands; those that were kept are l->item[0..l->n). */
void random_list_draw(struct random_list *l);

/* Prints the commands with their operands, for a failure. */
void random_list_print(const struct random_list *l);

/* What the commands of a list are submitted with. */
struct hone_run random_list_run(const struct random_list *l);

#endif
