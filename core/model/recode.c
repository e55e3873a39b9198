/*
 * recode.c - choosing a form for linear weights, and encoding them piece by piece.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/damage.h"
#include "model/recode.h"

#define ALIGNMENT   64    /* of parts */
#define PIECE_ELEMS 16384 /* decoded at a time by a thread: 64 KiB of f32 */

/* ---- which weights, which form ---- */

/* Weights that linear sites use and nothing else does. */
static void
mark_linear(const struct hn_model *model, bool *is_linear)
{
	memset(is_linear, 0, model->n_weights + 1u);
	for (uint32_t i = 0; i < model->n_sites; i++)
		if (model->sites[i].weight >= 0)
			is_linear[model->sites[i].weight] = true;
	for (uint32_t i = 0; i < model->n_sites; i++) {
		const struct hn_site *site = &model->sites[i];
		const bool fits =
			site->pub.kind == HONE_SITE_LINEAR && !(site->pub.flags & HONE_SITE_HEAD);

		if (site->weight >= 0 && !fits)
			is_linear[site->weight] = false;
		if (site->bias >= 0)
			is_linear[site->bias] = false;
	}
}

static enum hone_status
find_form(const struct hn_model *model, const char *name, struct hn_form *form,
	struct hone_error *err)
{
	*form = (struct hn_form){.name = name};
	if (hn_streq(name, "f32"))
		form->dtype = HONE_DTYPE_F32;
	else if (hn_streq(name, "bf16"))
		form->dtype = HONE_DTYPE_BF16;
	else if (model->find_storage)
		form->storage = model->find_storage(model->find_ctx, name, &form->storage_self);
	if (form->dtype)
		return HONE_OK;
	if (!form->storage)
		return hone_fail(err, HONE_ECONFIG,
			"no storage '%s'; native, f32 and bf16 are always there (hone plugins "
			"lists the others)",
			name);
	if (!HONE_HAS(form->storage, struct hone_storage_vt, encode))
		return hone_fail(err, HONE_ECONFIG,
			"%s is only read, not written; native leaves weights as the file has them",
			name);
	return HONE_OK;
}

static bool
has_form(const struct hn_weight *weight, const struct hn_form *form)
{
	return form->storage ? weight->storage == form->storage
			     : !weight->storage && weight->dtype == form->dtype;
}

static enum hone_status
check_rows(const struct hn_weight *weight, const struct hn_form *form, struct hone_error *err)
{
	const struct hone_storage_vt *vt = form->storage;
	const int64_t cols = weight->dim[weight->rank - 1];

	if (weight->storage && weight->storage->n_parts != 1)
		return hone_fail(err, HONE_ECONFIG, "%s is stored in %u parts and stays so",
			weight->name, weight->storage->n_parts);
	if (!vt || !(vt->flags & HONE_STORAGE_WHOLE_ROWS) || cols % vt->block_elems == 0)
		return HONE_OK;
	return hone_fail(err, HONE_ECONFIG,
		"a row of %s has %" PRId64
		" elements, and %s needs a multiple of %u; bf16 takes any",
		weight->name, cols, form->name, vt->block_elems);
}

enum hone_status
hn_model_keep(
	struct hn_model *model, const char *name, struct hn_pool *pool, struct hone_error *err)
{
	bool *is_linear;
	enum hone_status st;

	model->pool = pool;
	if (!name || hn_streq(name, "native"))
		return HONE_OK;
	st = find_form(model, name, &model->kept, err);
	if (st)
		return st;
	model->kept.name = hn_arena_strdup(&model->arena, name);
	is_linear = hn_alloc(model->n_weights + 1u);
	mark_linear(model, is_linear);
	for (uint32_t i = 0; i < model->n_weights && !st; i++) {
		struct hn_weight *weight = &model->weights[i];

		if (!is_linear[i] || !weight->tensor || has_form(weight, &model->kept))
			continue;
		st = check_rows(weight, &model->kept, err);
		weight->kept = &model->kept;
	}
	free(is_linear);
	return st;
}

enum hone_status
hn_model_check_kept(
	const struct hn_model *model, const struct hn_params *params, struct hone_error *err)
{
	for (uint32_t i = 0; model->kept.storage && i < params->n; i++) {
		const struct hn_param *param = &params->list[i];

		if (param->spec.overlay != HONE_SLOT_WEIGHT || !param->site ||
			param->site->weight < 0 || !model->weights[param->site->weight].kept)
			continue;
		return hone_fail(err, HONE_ECONFIG,
			"adapter '%s' trains %s itself, and a weight kept as %s is frozen; "
			"choose lora, or storage = native",
			param->instance, model->weights[param->site->weight].name,
			model->kept.name);
	}
	return HONE_OK;
}

/* ---- bytes ---- */

static uint64_t
part_bytes(const struct hn_weight *weight, uint32_t part)
{
	const struct hn_form *form = weight->kept;
	const struct hone_storage_vt *vt = form->storage;
	const int64_t n = hn_weight_elems(weight);

	if (!vt)
		return (uint64_t)(n * hone_dtype_bytes(form->dtype));
	if (HONE_HAS(vt, struct hone_storage_vt, part_bytes))
		return vt->part_bytes(form->storage_self, part, n);
	return (uint64_t)((n + vt->block_elems - 1) / vt->block_elems) * vt->block_bytes;
}

uint64_t
hn_kept_part(const struct hn_weight *weight, uint32_t part)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < part; i++)
		at += (part_bytes(weight, i) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	return at;
}

uint64_t
hn_kept_bytes(const struct hn_weight *weight)
{
	return hn_kept_part(weight, weight->kept->storage ? weight->kept->storage->n_parts : 1);
}

/* ---- encoding ---- */

struct job {
	const struct hn_model *model;
	const struct hn_weight *weight;
	int64_t n_elems, piece;
	float *values; /* `piece` for each thread */
	uint8_t *is_bad;
	void *parts[17]; /* those of the format, and its work memory */
};

static int64_t
first_not_finite(const float *values, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		uint32_t bits;

		memcpy(&bits, &values[i], sizeof bits);
		if ((bits & 0x7f800000u) == 0x7f800000u)
			return i;
	}
	return -1;
}

static void
put_bf16(const float *values, int64_t n, uint16_t *out)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = hone_bf16_from_f32(values[i]);
}

static void
encode_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct job *job = ctx;
	const struct hn_form *form = job->weight->kept;
	const int64_t first = i * job->piece, left = job->n_elems - first;
	const int64_t n = left < job->piece ? left : job->piece;
	float *values = job->values + worker * job->piece;

	(void)hn_weight_decode(job->model, job->weight, 0, first, n, values, NULL);
	job->is_bad[i] = first_not_finite(values, n) >= 0;
	if (job->is_bad[i])
		return;
	if (form->storage)
		form->storage->encode(form->storage_self, values, first, n, job->parts);
	else if (form->dtype == HONE_DTYPE_BF16)
		put_bf16(values, n, (uint16_t *)job->parts[0] + first);
	else
		memcpy((float *)job->parts[0] + first, values, (size_t)n * sizeof *values);
}

/* Whole blocks of what is read and of what is written. */
static int64_t
piece_of(const struct hn_weight *weight)
{
	const int64_t a = weight->storage ? weight->storage->block_elems : 1;
	const int64_t b = weight->kept->storage ? weight->kept->storage->block_elems : 1;
	int64_t x = a, y = b;

	while (y) { /* the greatest common divisor, in x */
		const int64_t rest = x % y;

		x = y;
		y = rest;
	}
	return (PIECE_ELEMS + a / x * b - 1) / (a / x * b) * (a / x * b);
}

static enum hone_status
check_pieces(const struct job *job, int64_t n_pieces, struct hone_error *err)
{
	for (int64_t i = 0; i < n_pieces; i++)
		if (job->is_bad[i])
			return hn_weight_fail_nonfinite(job->model, job->weight, err);
	return HONE_OK;
}

static void
run(struct hn_pool *pool, int64_t n, struct job *job)
{
	if (pool) {
		hn_pool_run(pool, n, encode_piece, job);
		return;
	}
	for (int64_t i = 0; i < n; i++)
		encode_piece(job, i, 0);
}

void
hn_recoder_fini(struct hn_recoder *recoder)
{
	free(recoder->values);
	free(recoder->work);
	memset(recoder, 0, sizeof *recoder);
}

enum hone_status
hn_weight_recode(struct hn_recoder *recoder, const struct hn_model *model,
	const struct hn_weight *weight, uint8_t *out, struct hone_error *err)
{
	const struct hn_form *form = weight->kept;
	const struct hone_storage_vt *vt = form->storage;
	const int32_t threads = model->pool ? hn_pool_threads(model->pool) : 1;
	struct job job = {.model = model,
		.weight = weight,
		.n_elems = hn_weight_elems(weight),
		.piece = piece_of(weight)};
	const int64_t n_pieces = (job.n_elems + job.piece - 1) / job.piece;
	const bool has_work = vt && HONE_HAS(vt, struct hone_storage_vt, work_bytes);
	const uint64_t work = has_work ? vt->work_bytes(form->storage_self, job.n_elems) : 0;
	enum hone_status st;

	recoder->values = hn_grow(recoder->values, &recoder->cap_values,
		(size_t)(threads * job.piece), sizeof *recoder->values);
	recoder->work =
		hn_grow(recoder->work, &recoder->cap_work, (size_t)work + (size_t)n_pieces, 1);
	job.values = recoder->values;
	job.is_bad = recoder->work + work;
	for (uint32_t i = 0; i < (vt ? vt->n_parts : 1); i++)
		job.parts[i] = out + hn_kept_part(weight, i);
	if (has_work)
		job.parts[vt->n_parts] = recoder->work;
	run(model->pool, n_pieces, &job);
	st = check_pieces(&job, n_pieces, err);
	if (!st && vt && HONE_HAS(vt, struct hone_storage_vt, finish))
		vt->finish(form->storage_self, job.n_elems, job.parts);
	return st;
}
