/*
 * registry/fpstate.h - how the processor rounds and whether it keeps subnormal numbers.
 *
 * A library that was linked with -ffast-math switches subnormals off for the whole process in
 * its start-up code, and every loss after it differs.  So the host notes the state before it
 * runs code of a plugin for the first time, and puts it back.  Control bits only: the sticky
 * exception flags change with every operation and mean nothing here.
 */
#ifndef HN_REGISTRY_FPSTATE_H
#define HN_REGISTRY_FPSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hn_fp_state {
	uint64_t control; /* x86-64: MXCSR without flags; AArch64: FPCR; elsewhere 0 */
	uint32_t x87;     /* control word; 0 elsewhere */
	int32_t rounding; /* fegetround */
};

/* The state of the calling thread. */
struct hn_fp_state hn_fp_state_get(void);

/* Puts `state` back.  True when something had changed; then `what` (n bytes) says what:
 * "MXCSR 0x1f80 -> 0x9fc0". */
bool hn_fp_state_restore(const struct hn_fp_state *state, char *what, size_t n);

#endif
