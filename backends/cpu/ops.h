/*
 * ops.h - the table of operations: which commands this backend runs, and with what.
 */
#ifndef HN_CPU_OPS_H
#define HN_CPU_OPS_H

#include "cpu.h"

/* The function of an operation, or NULL. */
cpu_op cpu_op_find(uint32_t op);

/* HONE_OK, or HONE_EUNSUPPORTED with the reason. */
enum hone_status cpu_op_check(const struct hone_command *c, struct hone_error *err);

#endif
