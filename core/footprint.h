/*
 * footprint.h - what a run takes at its peak, by kind: the one figure of plan, check and
 * [train] memory_limit.
 *
 * "program" is what the process holds when this is asked: code, plugins, tokenizer, prepared
 * data, graphs.  Everything else comes from the memory plan, so it is known before it is
 * allocated.
 */
#ifndef HN_FOOTPRINT_H
#define HN_FOOTPRINT_H

#include "base/str.h"
#include "graph/engine.h"

enum { HN_FOOTPRINT_KINDS = 11 };

struct hn_footprint_kind {
	const char *key, *text; /* in JSON; for a person */
	uint64_t bytes;
};

struct hn_footprint {
	struct hn_footprint_kind kinds[HN_FOOTPRINT_KINDS];
	uint64_t peak; /* their sum */
};

/* Of an engine whose programs are planned and whose memory is not allocated yet. */
struct hn_footprint hn_footprint_of(const struct hn_engine *engine);

/* {"weights": 1234, ..., "peak": 5678} */
void hn_footprint_json(const struct hn_footprint *footprint, struct hn_str *out);

/* A line for each kind, and one for the peak. */
void hn_footprint_text(const struct hn_footprint *footprint, struct hn_str *out);

#endif
