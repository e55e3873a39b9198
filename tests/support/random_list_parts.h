/*
 * support/random_list_parts.h - what the files of random_list share: draws, operands of a list,
 * a command that is added.
 */
#ifndef HONE_SUPPORT_RANDOM_LIST_PARTS_H
#define HONE_SUPPORT_RANDOM_LIST_PARTS_H

#include "random_list.h"

/* The operands of a list, by what a program would call them. */
enum list_group {
	ACT0,
	ACT1,
	ACT2,
	WIDE,
	WIDE_T,
	DOWN,
	UP,
	VEC0,
	VEC1,
	TABLE0,
	TABLE1,
	GRAD,
	GRAD_UP,
	GRAD_DOWN,
	COLUMN,
	BOTH,
	N_GROUPS
};

/* The next whole number below n; true for so many of 100; an element of an array. */
int64_t list_below(struct random_list *l, int64_t n);
bool list_chance(struct random_list *l, int64_t percent);
#define DRAW(l, array) ((array)[list_below(l, (int64_t)(sizeof(array) / sizeof(array)[0]))])

/* The number of an operand of a group, rather none of the bits `but`; of one that has the shape
 * of another; of a matrix of that many rows and columns, -1 = there is none. */
int32_t list_pick(struct random_list *l, enum list_group g, uint64_t but);
int32_t list_pick_like(struct random_list *l, int32_t like);
int32_t list_pick_shape(struct random_list *l, uint32_t space, int64_t rows, int64_t cols);

/* A command on operands by their numbers. */
struct list_call {
	uint32_t op, flags;
	int32_t in[3], out[2]; /* 1 + operand; 0 = none */
	union ops_attr attr;
	uint32_t attr_size;
	const char *name;
};

/* Gives the operands their places and adds the command, if it is legal, the list is to have it,
 * and `keep` agrees. */
void list_add(struct random_list *l, const struct list_call *call);

#endif
