/*
 * product.h - what the files of matrix products share (product*.c).
 */
#ifndef HN_CPU_PRODUCT_H
#define HN_CPU_PRODUCT_H

#include "cpu.h"

/* 1 when the product is formed from bf16 pairs. */
int32_t cpu_product_bf16(const struct cpu_device *d, const struct cpu_product *p);

/* 1 when the rows of `a` can be read in place. */
int cpu_product_direct(const struct cpu_mat *a, int64_t lda, int64_t k, int32_t bf16);

/* The general product.  `next`, or NULL, is the general product after it, whose b is asked for
 * towards the end. */
enum hone_status cpu_product_run(struct cpu_device *d, const struct cpu_product *p,
	const struct cpu_product *next, struct hone_error *err);

/* product_stored.c: a rectangle of a stored weight [O, I], decoded. */
struct cpu_slab {
	const struct hone_operand *from;
	int32_t bf16;       /* what it is for: as bf16 where the format decodes to that, else f32 */
	uint8_t *memory;    /* cpu_slab_bytes of a rectangle as large */
	struct cpu_mat mat; /* what was read last: its first element, its type */
	int64_t ld;
};

/* Elements along a row that are best decoded together: a block; 1 where those straddle rows. */
int64_t cpu_slab_unit(const struct hone_operand *w);

/* Rows along k of a slab that is `across` wide and stays in L1: whole blocks in NT, an even number,
 * at most about `depth`. */
int64_t cpu_slab_k(const struct hone_operand *w, int32_t form, int64_t across, int64_t depth);
uint64_t cpu_slab_bytes(const struct hone_operand *w, int64_t rows, int64_t cols);

/* Decodes rows [row, row + rows), of each the elements [col, col + cols).  [worker] */
void cpu_slab_read(struct cpu_slab *s, int64_t row, int64_t rows, int64_t col, int64_t cols);

/* Products with a side of at most HN_THIN (TN: four times that). */
int cpu_product_is_thin(const struct cpu_product *p);
enum hone_status cpu_product_thin(
	const struct cpu_call *call, const struct cpu_product *p, struct hone_error *err);

/* product_strips.c: gradients of adapters wait, for nobody needs them soon, and run beside a later
 * product.  `put` lays the call's product aside; `yield` runs what waits unless the command may go
 * before it; `flush` runs what waits. */
enum hone_status cpu_strips_put(
	const struct cpu_call *call, const struct cpu_product *p, struct hone_error *err);
void cpu_strips_yield(const struct cpu_call *call, const struct hone_command *c);
void cpu_strips_flush(struct cpu_device *d);

/* Takes what waits along, behind a yield: how many pieces that are, 0 = none; each is run once,
 * before the next command. */
int64_t cpu_strips_take(struct cpu_device *d);
void cpu_strips_piece(const struct cpu_device *d, int64_t i);

struct cpu_strips *cpu_strips_create(void);
uint64_t cpu_strips_bytes(const struct cpu_strips *s); /* of scratch that it holds */
void cpu_strips_destroy(struct cpu_strips *s);

/* NT with at most HN_THIN rows of a dense b, as adapters begin; cpu_product_stack runs it with those
 * after it that multiply the same rows (see cpu_take_party). */
int cpu_is_stack(const struct hone_command *c, const struct hone_run *run);
enum hone_status cpu_product_stack(const struct cpu_call *call, struct hone_error *err);

/* NT of a few rows with a weight that is read as it is stored (p->b is not), as when text is
 * generated: of a quantised one up to CPU_FEW rows, more are faster on the tiles of product.c. */
#define CPU_FEW 32
int cpu_product_is_packed(const struct cpu_product *p, const struct hone_operand *b);

/* Runs call->c and whichever of the commands after it multiply the same rows and may run beside
 * it (see cpu_take_party). */
enum hone_status cpu_product_packed(const struct cpu_call *call, struct hone_error *err);
/* Is the command such a product? */
int cpu_is_packed(const struct hone_command *c, const struct hone_run *run);

/* The product that a command is. */
struct cpu_product cpu_product_of(const struct hone_command *c, const struct hone_run *run);

#endif
