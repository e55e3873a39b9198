/*
 * hone/objective.h - a plugin role: what is learned from which data.
 *
 * An objective turns a record into examples (`prepare`, once, everything that needs the
 * tokenizer), an example into segments and columns (`emit`, fresh each epoch), and hidden
 * states into a list of loss terms (`build`).  Each term has its own denominator, the sum of
 * its weight column over the whole optimizer step, known before the first backward; so
 * accumulation and ragged batches give the result of the one big batch.
 *
 * labels[i] is the target of row i: the builder shifts, the loss never does.  -100 means
 * "not learned".
 */
#ifndef HONE_OBJECTIVE_H
#define HONE_OBJECTIVE_H

#include <hone/build.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HONE_ROLE_OBJECTIVE "hone.objective/1"
#define HONE_LABEL_NONE     (-100)

/* ---- declare ---- */

enum hone_column_scope { HONE_PER_ROW = 1, HONE_PER_SEGMENT = 2, HONE_PER_EXAMPLE = 3 };

/* What an objective needs, said before anything is read or built.  Names are copied.
 * [declare] */
struct hone_declare {
	const struct hone_declare_vt *vt;
};

struct hone_declare_vt {
	uint32_t struct_size;
	uint32_t pad;
	/* A ragged set of token sequences that `emit` fills.  "text" is the model's. */
	enum hone_status (*stream)(struct hone_declare *decl, const char *name, const char *model,
		struct hone_error *err);
	/* A column of a stream, i32 or f32; rows that `emit` leaves out hold `fill`. */
	enum hone_status (*column)(struct hone_declare *decl, const char *stream, const char *name,
		int32_t dtype, int32_t scope, double fill, struct hone_error *err);
	/* Rows of `stream` where `column` (i32) is not `value`: a row space of its own. */
	enum hone_status (*selection)(struct hone_declare *decl, const char *stream,
		const char *name, const char *column, int64_t value, struct hone_error *err);
	/* A forward of a view ("policy", "base": the untouched model) over a stream, to be fetched
	 * in `build` by `name`; its head is hone_head_of with that name. */
	enum hone_status (*forward)(struct hone_declare *decl, const char *name, const char *view,
		const char *stream, uint32_t pass, struct hone_error *err);
	enum hone_status (*head)(
		struct hone_declare *decl, const char *kind, int64_t n_out, struct hone_error *err);
};

/* ---- prepare and emit ---- */

/* A row of the data, with where it came from.  Valid for the call. */
struct hone_record {
	uint32_t struct_size;
	uint32_t pad;
	const char *file;
	int64_t line;  /* from 1 */
	int64_t index; /* from 0, over the whole split */
	const void *internal;
};

/* Tokens of a record with what is learned of them.  Owned by the host, valid for the call. */
struct hone_tokens {
	uint32_t struct_size;
	int32_t n;
	const int32_t *ids;
	const uint8_t *learned; /* 1 where the token is a target */
};

enum hone_tokenise_flags {
	HONE_TOKENISE_COMPLETION_ONLY = 1, /* prompt and completion: learn the completion only */
	HONE_TOKENISE_ASSISTANT_ONLY = 2,  /* messages: learn the assistant's turns only */
};

/* A prepared example: named arrays, owned by the host, cached. */
struct hone_example {
	uint32_t struct_size;
	uint32_t pad;
	int64_t index; /* among the examples of the split */
	const void *internal;
};

/* Services during prepare and emit.  [worker, pure] */
struct hone_data {
	const struct hone_data_vt *vt;
};

struct hone_data_vt {
	uint32_t struct_size;
	uint32_t pad;

	/* --- prepare --- */

	/* A record of any schema of the contract as tokens; the host knows template, special
	 * tokens, begin and end of sequence. */
	enum hone_status (*tokenise)(struct hone_data *data, const struct hone_record *record,
		uint32_t flags, struct hone_tokens *out, struct hone_error *err);
	/* A string field of the record; HONE_ENOTFOUND when absent. */
	enum hone_status (*field)(struct hone_data *data, const struct hone_record *record,
		const char *name, const char **out, struct hone_error *err);
	int64_t (*max_length)(const struct hone_data *data);
	int32_t (*end_of_sequence)(const struct hone_data *data); /* -1 = none */
	/* Adds an array to the example that is being made, then ends it: `rows` is its length
	 * in the longest stream, `n_learned` the rows that will have a target. */
	enum hone_status (*put)(struct hone_data *data, const char *name, int32_t dtype, int64_t n,
		const void *values, struct hone_error *err);
	enum hone_status (*end_example)(
		struct hone_data *data, int64_t rows, int64_t n_learned, struct hone_error *err);
	/* Counts for the report: "truncated", "dropped_empty" ... */
	void (*count)(struct hone_data *data, const char *what, int64_t n);

	/* --- emit --- */

	/* An array that prepare put; NULL when absent. */
	const void *(*array)(const struct hone_example *example, const char *name, int64_t *n);
	/* Starts a segment of n rows in a stream, and fills its columns. "tokens" is one. */
	enum hone_status (*segment)(struct hone_data *data, const char *stream, const char *role,
		int64_t n, struct hone_error *err);
	enum hone_status (*column)(struct hone_data *data, const char *name, const void *values,
		struct hone_error *err);
	/* Labels of n rows: labels[i] = ids[i + 1] where learned[i + 1] (NULL: everywhere), else
	 * HONE_LABEL_NONE.  Valid until the next call. */
	const int32_t *(*labels)(
		struct hone_data *data, int64_t n, const int32_t *ids, const uint8_t *learned);
	/* A random number in [0, 1), keyed by (seed, instance, epoch, example, i). */
	double (*uniform)(const struct hone_data *data, uint64_t i);
};

/* ---- loss ---- */

struct hone_term {
	uint32_t struct_size; /* set to sizeof(struct hone_term) */
	uint32_t pad;
	const char *name;   /* how it is called in reports; "nll" is the mean negative
			     * log-likelihood, and only of such a term a perplexity is told */
	hone_node sum;      /* [1] or [1,1] stat: the numerator of this micro-batch */
	const char *stream; /* where the weight column is */
	const char *weight; /* selection or column whose count or sum is the denominator */
	double coefficient;
};

/* Where the terms of a micro-batch go; names are copied.  [build] */
struct hone_loss {
	const struct hone_loss_vt *vt;
};

struct hone_loss_vt {
	uint32_t struct_size;
	uint32_t pad;
	enum hone_status (*term)(
		struct hone_loss *loss, const struct hone_term *term, struct hone_error *err);
	/* A metric of evaluation: sum / weight over the split. */
	enum hone_status (*metric)(struct hone_loss *loss, const char *name, hone_node sum,
		const char *stream, const char *weight, struct hone_error *err);
};

struct hone_objective_vt {
	uint32_t struct_size;
	uint32_t pad;

	/* Streams, columns, selections, forwards and heads.  [declare, pure] */
	enum hone_status (*declare)(
		const void *self, struct hone_declare *decl, struct hone_error *err);

	/* One record to any number of examples (none: dropped, and counted by the plugin).
	 * [worker, pure] */
	enum hone_status (*prepare)(const void *self, struct hone_data *data,
		const struct hone_record *record, struct hone_error *err);

	/* One example to its segments and columns, for one epoch.  [worker, pure] */
	enum hone_status (*emit)(const void *self, struct hone_data *data,
		const struct hone_example *example, struct hone_error *err);

	/* Loss terms and metrics of a micro-batch.  [build, pure] */
	enum hone_status (*build)(const void *self, const struct hone_build *at,
		struct hone_loss *loss, struct hone_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
