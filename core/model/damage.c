/*
 * damage.c - counting values that are not finite, by the weight's own storage.
 *
 * Values are decoded piece by piece, so that a model of any size needs little memory and block
 * formats are judged by what they mean: a scale that is infinite spoils its whole block.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/pool.h"
#include "model/damage.h"

enum { PIECE_ELEMS = 1 << 15, PATH_SHOWN = 160, NAME_SHOWN = 120 };

/* By the exponent's bits: holds whatever the compiler assumes. */
static bool
is_finite(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof bits);
	return (bits & 0x7f800000u) != 0x7f800000u;
}

/* ---- one weight ---- */

struct count {
	const struct hn_model *model;
	const struct hn_weight *weight;
	int64_t n_elems, piece;
	float *values;  /* `piece` for each thread */
	int32_t *n_bad; /* by piece */
	int64_t n_pieces;
};

/* Decodes piece i; how many of its elements there are. */
static int64_t
decode_piece(const struct count *c, int64_t i, float *values)
{
	const int64_t first = i * c->piece, left = c->n_elems - first;
	const int64_t n = left < c->piece ? left : c->piece;

	return hn_weight_decode(c->model, c->weight, 0, first, n, values, NULL) ? 0 : n;
}

static void
count_piece(void *ctx, int64_t i, int32_t worker)
{
	const struct count *c = ctx;
	float *values = c->values + worker * c->piece;
	const int64_t n = decode_piece(c, i, values);
	int32_t bad = 0;

	for (int64_t k = 0; k < n; k++)
		bad += !is_finite(values[k]);
	c->n_bad[i] = bad;
}

/* The sum, and the first index in the first piece that has one. */
static int64_t
sum_up(const struct count *c, int64_t *first)
{
	int64_t sum = 0, k = 0;

	*first = -1;
	for (int64_t i = 0; i < c->n_pieces; i++) {
		if (c->n_bad[i] && sum == 0) {
			const int64_t n = decode_piece(c, i, c->values);

			while (k < n && is_finite(c->values[k]))
				k++;
			*first = i * c->piece + k;
		}
		sum += c->n_bad[i];
	}
	return sum;
}

int64_t
hn_weight_count_nonfinite(
	const struct hn_model *model, const struct hn_weight *weight, int64_t *first)
{
	struct hn_pool *pool = model->pool;
	const int64_t block = weight->storage ? weight->storage->block_elems : 1;
	struct count c = {.model = model, .weight = weight, .n_elems = hn_weight_elems(weight)};
	int64_t sum;

	*first = -1;
	if (!weight->tensor || c.n_elems == 0)
		return 0;
	c.piece = (PIECE_ELEMS + block - 1) / block * block;
	c.n_pieces = (c.n_elems + c.piece - 1) / c.piece;
	c.values =
		hn_alloc((size_t)((pool ? hn_pool_threads(pool) : 1) * c.piece) * sizeof *c.values);
	c.n_bad = hn_alloc((size_t)c.n_pieces * sizeof *c.n_bad);
	if (pool)
		hn_pool_run(pool, c.n_pieces, count_piece, &c);
	for (int64_t i = 0; i < c.n_pieces && !pool; i++)
		count_piece(&c, i, 0);
	sum = sum_up(&c, first);
	free(c.n_bad);
	free(c.values);
	return sum;
}

/* ---- what is said ---- */

/* The file that the weight is in: a shard, or the only one. */
static const char *
file_of(const struct hn_model *model, const struct hn_weight *weight)
{
	const struct hn_tensor_file *file = &model->checkpoint.tensors;
	const uint32_t idx = weight->tensor->map_idx;

	return idx < file->n_maps ? file->map_paths[idx] : file->path;
}

enum hone_status
hn_weight_fail_nonfinite(
	const struct hn_model *model, const struct hn_weight *weight, struct hone_error *err)
{
	int64_t first;
	const int64_t count = hn_weight_count_nonfinite(model, weight, &first);

	if (count == 0)
		return HONE_OK;
	return hone_fail_at(err, HONE_ENOTFINITE, file_of(model, weight), 0, 0,
		"tensor '%.*s' (%s) holds %" PRId64
		" value%s NaN or infinite, the first at element "
		"%" PRId64 "; the file is damaged, get it again",
		NAME_SHOWN, weight->tensor->name, weight->tensor->storage, count,
		count == 1 ? " that is" : "s that are", first);
}

enum hone_status
hn_model_check_finite(const struct hn_model *model, struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	for (uint32_t i = 0; i < model->n_weights && !st; i++)
		st = hn_weight_fail_nonfinite(model, &model->weights[i], err);
	hn_tensor_file_forget(&model->checkpoint.tensors);
	return st;
}

bool
hn_model_blame(const struct hn_model *model, struct hone_error *err)
{
	struct hone_error why = {0};
	size_t n;

	if (!hn_model_check_finite(model, &why))
		return false;
	n = err ? strlen(err->text) : 0;
	if (err)
		(void)snprintf(err->text + n, sizeof err->text - n, ", because %.*s: %s",
			PATH_SHOWN, why.place, why.text);
	return true;
}
