/*
 * fpstate.c - read, compare and restore the floating-point control state.
 *
 * x86-64 has two units: SSE with MXCSR (bits 0..5 are flags, the rest is control: FTZ is bit
 * 15, DAZ bit 6) and x87 with its control word.  AArch64 has FPCR.  On other processors only
 * the rounding mode is seen, by C's own functions.
 */
#include <fenv.h>
#include <stdio.h>

#include "registry/fpstate.h"

#if defined(__x86_64__)

#include <xmmintrin.h>

#define CONTROL_NAME  "MXCSR"
#define CONTROL_FLAGS 0x3fu

static void
read_control(struct hn_fp_state *state)
{
	uint16_t word;

	__asm__ volatile("fnstcw %0" : "=m"(word));
	state->x87 = word;
	state->control = _mm_getcsr() & ~CONTROL_FLAGS;
}

static void
write_control(const struct hn_fp_state *state)
{
	uint16_t word = (uint16_t)state->x87;

	__asm__ volatile("fldcw %0" : : "m"(word));
	_mm_setcsr((uint32_t)state->control);
}

#elif defined(__aarch64__)

#define CONTROL_NAME "FPCR"

static void
read_control(struct hn_fp_state *state)
{
	__asm__ volatile("mrs %0, fpcr" : "=r"(state->control));
}

static void
write_control(const struct hn_fp_state *state)
{
	__asm__ volatile("msr fpcr, %0" : : "r"(state->control));
}

#else

#define CONTROL_NAME "control"

static void
read_control(struct hn_fp_state *state)
{
	(void)state;
}

static void
write_control(const struct hn_fp_state *state)
{
	(void)state;
}

#endif

struct hn_fp_state
hn_fp_state_get(void)
{
	struct hn_fp_state state = {0};

	read_control(&state);
	state.rounding = fegetround();
	return state;
}

bool
hn_fp_state_restore(const struct hn_fp_state *state, char *what, size_t n)
{
	const struct hn_fp_state now = hn_fp_state_get();

	if (now.control != state->control)
		(void)snprintf(what, n, CONTROL_NAME " 0x%llx -> 0x%llx",
			(unsigned long long)state->control, (unsigned long long)now.control);
	else if (now.x87 != state->x87)
		(void)snprintf(what, n, "x87 control word 0x%x -> 0x%x", state->x87, now.x87);
	else if (now.rounding != state->rounding)
		(void)snprintf(
			what, n, "rounding mode %d -> %d", (int)state->rounding, (int)now.rounding);
	else
		return false;
	(void)fesetround(state->rounding);
	write_control(state);
	return true;
}
