/*
 * bench_profile.h - where the time of a program goes, by kind of command.
 *
 * The device's `submit` is replaced by one that runs and times the commands one by one and
 * adds them up by operation, form and shape, or place by place of the model.  Nothing of the host or of the backend knows.
 */
#ifndef BENCH_PROFILE_H
#define BENCH_PROFILE_H

#include "graph/program.h"

struct bench_profile;

/* Puts a measuring vtable in the place of device->vt; the clock gives seconds.  `by_place`:
 * neighbours of one name are submitted and timed together, so that the backend may join them. */
struct bench_profile *bench_profile_attach(
	struct hn_device *device, double (*now)(void), bool by_place);
void bench_profile_clear(struct bench_profile *profile);
/* Prints the kinds by their time, with their share of `seconds` (the steps measured). */
void bench_profile_print(const struct bench_profile *profile, double seconds, double peak);

#endif
