/*
 * footprint.c - the memory plan's bytes and the process's own, as one list with a sum.
 */
#include <inttypes.h>
#include <string.h>

#include "footprint.h"
#include "train/report.h"

#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)

/* Large buffers consist of huge pages where the system has them. */
static uint64_t
as_allocated(uint64_t bytes)
{
	return bytes < HUGE_PAGE_BYTES
		? bytes
		: (bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

struct hn_footprint
hn_footprint_of(const struct hn_engine *engine)
{
	const uint64_t mapped = hn_engine_mapped_bytes(engine);
	uint64_t bytes[HN_MEMORY_KINDS];
	struct hn_footprint f = {.peak = 0};

	hn_engine_bytes(engine, bytes);
	for (int kind = HN_MEMORY_ARENA; kind < HN_MEMORY_KINDS; kind++)
		if (kind != HN_MEMORY_WEIGHTS) /* mapped, page by page */
			bytes[kind] = as_allocated(bytes[kind]);
	const struct hn_footprint_kind kinds[HN_FOOTPRINT_KINDS] = {
		{"weights", "the model's weights, mapped from the file", bytes[HN_MEMORY_WEIGHTS]},
		{"around", "what of the file is mapped around them",
			mapped > bytes[HN_MEMORY_WEIGHTS] ? mapped - bytes[HN_MEMORY_WEIGHTS] : 0},
		{"converted", "weights converted for [model] storage", bytes[HN_MEMORY_KEPT]},
		{"parameters", "trained parameters", bytes[HN_MEMORY_PARAMS]},
		{"gradients", "their gradients", bytes[HN_MEMORY_GRADS]},
		{"optimizer", "the optimizer's moments",
			bytes[HN_MEMORY_MOMENT1] + bytes[HN_MEMORY_MOMENT2]},
		{"activations", "activations of one micro-batch, at their peak",
			bytes[HN_MEMORY_ARENA]},
		{"scratch", "scratch of the backend's kernels", hn_engine_scratch_bytes(engine)},
		{"columns", "the micro-batch itself, constants", bytes[HN_MEMORY_COLUMNS]},
		{"states", "states across steps", bytes[HN_MEMORY_STATES]},
		{"program", "program, plugins, tokenizer, prepared data, loading",
			(uint64_t)(hn_memory_now_mb() * 1e6)},
	};

	memcpy(f.kinds, kinds, sizeof kinds);
	for (int i = 0; i < HN_FOOTPRINT_KINDS; i++)
		f.peak += kinds[i].bytes;
	return f;
}

void
hn_footprint_json(const struct hn_footprint *footprint, struct hn_str *out)
{
	hn_str_putc(out, '{');
	for (int i = 0; i < HN_FOOTPRINT_KINDS; i++)
		hn_str_printf(out, "\"%s\": %" PRIu64 ", ", footprint->kinds[i].key,
			footprint->kinds[i].bytes);
	hn_str_printf(out, "\"peak\": %" PRIu64 "}", footprint->peak);
}

void
hn_footprint_text(const struct hn_footprint *footprint, struct hn_str *out)
{
	for (int i = 0; i < HN_FOOTPRINT_KINDS; i++)
		hn_str_printf(out, "%10.1f MB  %s\n", (double)footprint->kinds[i].bytes / 1e6,
			footprint->kinds[i].text);
	hn_str_printf(out, "%10.1f MB  peak\n", (double)footprint->peak / 1e6);
}
