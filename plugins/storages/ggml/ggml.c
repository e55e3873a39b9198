/*
 * ggml.c - the block formats of GGUF files, as storages.
 *
 * Formats have no keys and no state: an instance is the table of decoders for this processor.
 * Each file of this folder is one format; decode.c has the loops of all.
 */
#include <stddef.h>

#include <hone/plugin.h>

#include "formats.h"

/* The table is never written. */
static enum hone_status
create(const struct hone_host *host, const struct hone_instance_info *info, const void *values,
	void **self, struct hone_error *err)
{
	(void)host;
	(void)info;
	(void)values;
	(void)err;
	*self = (void *)(uintptr_t)(const void *)ggml_decoders_find();
	return HONE_OK;
}

static const struct hone_factory q4_0 = {
	.struct_size = sizeof(struct hone_factory),
	.role = HONE_ROLE_STORAGE,
	.name = "q4_0",
	.summary = "4.5 bits: blocks of 32 with a scale",
	.create = create,
	.vt = &ggml_q4_0,
};

static const struct hone_factory q4_1 = {
	.struct_size = sizeof(struct hone_factory),
	.role = HONE_ROLE_STORAGE,
	.name = "q4_1",
	.summary = "5 bits: blocks of 32 with scale and minimum",
	.create = create,
	.vt = &ggml_q4_1,
};

static const struct hone_factory q8_0 = {
	.struct_size = sizeof(struct hone_factory),
	.role = HONE_ROLE_STORAGE,
	.name = "q8_0",
	.summary = "8.5 bits: blocks of 32 with a scale",
	.create = create,
	.vt = &ggml_q8_0,
};

static const struct hone_factory q4_k = {
	.struct_size = sizeof(struct hone_factory),
	.role = HONE_ROLE_STORAGE,
	.name = "q4_k",
	.summary = "4.5 bits: blocks of 256 in eight runs with scale and minimum",
	.create = create,
	.vt = &ggml_q4_k,
};

static const struct hone_factory q6_k = {
	.struct_size = sizeof(struct hone_factory),
	.role = HONE_ROLE_STORAGE,
	.name = "q6_k",
	.summary = "6.6 bits: blocks of 256 in sixteen runs with a scale",
	.create = create,
	.vt = &ggml_q6_k,
};

static const struct hone_factory *const formats[] = {&q4_0, &q4_1, &q8_0, &q4_k, &q6_k};

HONE_PLUGIN(ggml, "0.1.0", "Apache-2.0", formats);
