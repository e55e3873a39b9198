/*
 * refuse.c - services that a phase does not have: each fails and names itself, so that a plugin
 * which calls the wrong one is told so and nothing crashes.
 */
#include "data/prepare.h"

static enum hone_status
wrong_phase(struct hone_error *err, const char *what)
{
	return hone_fail(err, HONE_EPLUGIN, "%s is not a service of this phase", what);
}

static enum hone_status
no_tokenise(struct hone_data *data, const struct hone_record *record, uint32_t flags,
	struct hone_tokens *out, struct hone_error *err)
{
	(void)data;
	(void)record;
	(void)flags;
	(void)out;
	return wrong_phase(err, "tokenise");
}

static enum hone_status
no_field(struct hone_data *data, const struct hone_record *record, const char *name,
	const char **out, struct hone_error *err)
{
	(void)data;
	(void)record;
	(void)name;
	(void)out;
	return wrong_phase(err, "field");
}

static enum hone_status
no_put(struct hone_data *data, const char *name, int32_t dtype, int64_t n, const void *values,
	struct hone_error *err)
{
	(void)data;
	(void)name;
	(void)dtype;
	(void)n;
	(void)values;
	return wrong_phase(err, "put");
}

static enum hone_status
no_end_example(struct hone_data *data, int64_t rows, int64_t n_learned, struct hone_error *err)
{
	(void)data;
	(void)rows;
	(void)n_learned;
	return wrong_phase(err, "end_example");
}

static int64_t
no_max_length(const struct hone_data *data)
{
	(void)data;
	return 0;
}

static int32_t
no_end_of_sequence(const struct hone_data *data)
{
	(void)data;
	return -1;
}

static void
no_count(struct hone_data *data, const char *what, int64_t n)
{
	(void)data;
	(void)what;
	(void)n;
}

static enum hone_status
no_segment(struct hone_data *data, const char *stream, const char *role, int64_t n,
	struct hone_error *err)
{
	(void)data;
	(void)stream;
	(void)role;
	(void)n;
	return wrong_phase(err, "segment");
}

static enum hone_status
no_column(struct hone_data *data, const char *name, const void *values, struct hone_error *err)
{
	(void)data;
	(void)name;
	(void)values;
	return wrong_phase(err, "column");
}

static const int32_t *
no_labels(struct hone_data *data, int64_t n, const int32_t *ids, const uint8_t *learned)
{
	(void)data;
	(void)n;
	(void)ids;
	(void)learned;
	return NULL;
}

static double
no_uniform(const struct hone_data *data, uint64_t i)
{
	(void)data;
	(void)i;
	return 0.0;
}

struct hone_data_vt
hn_data_refusing(void)
{
	return (struct hone_data_vt){.struct_size = sizeof(struct hone_data_vt),
		.tokenise = no_tokenise,
		.field = no_field,
		.max_length = no_max_length,
		.end_of_sequence = no_end_of_sequence,
		.put = no_put,
		.end_example = no_end_example,
		.count = no_count,
		.array = hn_dataset_array,
		.segment = no_segment,
		.column = no_column,
		.labels = no_labels,
		.uniform = no_uniform};
}
