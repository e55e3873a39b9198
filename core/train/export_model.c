/*
 * export_model.c - all weights with the adapters in them, as a Hugging Face folder.
 *
 * A tensor is made when the writer asks for its first row and freed after its last, so one is
 * in memory at a time; weights that nothing changes and nobody reorders are decoded in the
 * writer's own chunks.  Of every chunk a hash is kept, and the finished file is read once more
 * against them.  That the merged numbers are the right ones is proven beside (export_proof.c).
 *
 *     tied head                      not written, tie_word_embeddings = true
 *     an adapter tells them apart    both written, tie_word_embeddings = false
 *
 * The type is one for the whole file.  As stored means the file's own where it has one; what
 * is quantised or mixed becomes f32, which holds every stored number exactly.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "train/export_parts.h"

struct dtype {
	int32_t id;          /* enum hone_dtype */
	const char *storage; /* safetensors */
	const char *config;  /* torch_dtype */
};

static const struct dtype dtypes[] = {
	{HONE_DTYPE_F32, "f32", "float32"},
	{HONE_DTYPE_BF16, "bf16", "bfloat16"},
	{HONE_DTYPE_F16, "f16", "float16"},
};

/* One tensor of the file. */
struct item {
	const struct hn_merger *merger;
	const struct dtype *dtype;
	const struct hn_site *site;
	int32_t slot;
	struct hn_source source;
	char *name;
	uint32_t rank;
	int64_t n_elems, n_rows, cols;
	float *values;      /* while it is written */
	int64_t chunk_rows; /* of all chunks but the last */
	uint64_t hash;      /* of the chunks written, one after the other */
};

struct export
{
	const struct hn_adapted *of;
	struct hn_merger merger;
	struct hn_prover prover; /* without a proof: nothing to prove */
	const struct dtype *dtype;
	struct item *items;
	size_t n, cap;
	int has_tie; /* -1 = no site is tied; 0, 1 = what config.json says */
};

/* ---- the list ---- */

static const struct dtype *
choose_dtype(const struct hn_model *model, enum hn_export_dtype asked)
{
	const int32_t stored = model->n_weights ? model->weights[0].dtype : HONE_DTYPE_F32;

	if (asked != HN_EXPORT_AS_STORED)
		return &dtypes[asked == HN_EXPORT_BF16];
	for (uint32_t i = 0; i < model->n_weights; i++)
		if (model->weights[i].dtype != stored)
			return &dtypes[0];
	for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
		if (dtypes[i].id == stored)
			return &dtypes[i];
	return &dtypes[0];
}

static void
add_item(struct export *all, const struct hn_site *site, int32_t slot, struct hn_source source)
{
	const int32_t index = slot == HONE_SLOT_BIAS ? site->bias : site->weight;
	const struct hn_weight *weight = &all->of->model->weights[index];
	struct item item = {.merger = &all->merger,
		.dtype = all->dtype,
		.site = site,
		.slot = slot,
		.source = source,
		.rank = weight->rank,
		.n_elems = hn_weight_elems(weight)};
	struct hn_str name = {0};

	hn_str_printf(&name, "%s.%s", site->pub.name, slot == HONE_SLOT_BIAS ? "bias" : "weight");
	item.name = hn_str_take(&name);
	item.cols = weight->rank > 1 ? weight->dim[weight->rank - 1] : item.n_elems;
	item.n_rows = item.n_elems / item.cols;
	all->items = hn_grow(all->items, &all->cap, all->n + 1, sizeof item);
	all->items[all->n++] = item;
}

static bool
is_same(const struct hn_source *a, const struct hn_source *b)
{
	return a->kind != HN_SOURCE_COMPUTED && a->kind == b->kind && a->index == b->index;
}

/* A tied weight is written where it no longer is its owner's. */
static enum hone_status
add_tied(struct export *all, const struct hn_site *site, struct hone_error *err)
{
	const struct hn_site *owner = &all->of->model->sites[site->tied_to];
	struct hn_source mine, its;
	enum hone_status st = hn_merger_source(&all->merger, site, HONE_SLOT_WEIGHT, &mine, err);

	if (!st)
		st = hn_merger_source(&all->merger, owner, HONE_SLOT_WEIGHT, &its, err);
	if (st)
		return st;
	if (all->has_tie < 0)
		all->has_tie = 1;
	if (!is_same(&mine, &its)) {
		all->has_tie = 0;
		add_item(all, site, HONE_SLOT_WEIGHT, mine);
	}
	return HONE_OK;
}

static enum hone_status
add_site(struct export *all, const struct hn_site *site, struct hone_error *err)
{
	struct hn_source source;
	enum hone_status st = HONE_OK;

	if (site->tied_to >= 0) {
		st = add_tied(all, site, err);
	} else if (site->weight >= 0) {
		st = hn_merger_source(&all->merger, site, HONE_SLOT_WEIGHT, &source, err);
		if (!st)
			add_item(all, site, HONE_SLOT_WEIGHT, source);
	}
	if (!st && site->bias >= 0) {
		st = hn_merger_source(&all->merger, site, HONE_SLOT_BIAS, &source, err);
		if (!st)
			add_item(all, site, HONE_SLOT_BIAS, source);
	}
	return st;
}

/* ---- values ---- */

static void
encode(const struct dtype *dtype, const float *values, int64_t n, void *dst)
{
	uint16_t *half = dst;

	if (dtype->id == HONE_DTYPE_F32)
		memcpy(dst, values, (size_t)n * sizeof *values);
	for (int64_t i = 0; i < n && dtype->id == HONE_DTYPE_BF16; i++)
		half[i] = hone_bf16_from_f32(values[i]);
	for (int64_t i = 0; i < n && dtype->id == HONE_DTYPE_F16; i++)
		half[i] = hone_f16_from_f32(values[i]);
}

static bool
is_whole(const struct item *item)
{
	return item->source.kind != HN_SOURCE_STORED ||
		item->site->pub.row_order != HONE_ROWS_PLAIN;
}

/* The tensor as it will be written, or the rows of it that are asked for; `*at` is the first. */
static enum hone_status
make_rows(struct item *item, int64_t first, int64_t n, float **at, struct hone_error *err)
{
	const struct hn_model *model = item->merger->of->model;
	const int64_t n_values = is_whole(item) ? item->n_elems : n * item->cols;

	if (!item->values || !is_whole(item)) {
		free(item->values);
		item->values = malloc((size_t)n_values * sizeof *item->values);
	}
	if (!item->values)
		return hone_fail(err, HONE_ENOMEM, "no memory for the %" PRId64 " values of %s",
			n_values, item->name);
	*at = item->values;
	if (!is_whole(item))
		return hn_weight_decode(model, &model->weights[item->source.index],
			item->merger->of->seed, first * item->cols, n_values, item->values, err);
	*at += first * item->cols;
	return first ? HONE_OK
		     : hn_merger_values(item->merger, item->site, item->slot, &item->source,
			       item->n_elems, item->values, err);
}

static uint64_t
chain(uint64_t hash, const void *bytes, uint64_t n)
{
	const uint64_t pair[2] = {hash, hn_hash64(bytes, (size_t)n)};

	return hn_hash64(pair, sizeof pair);
}

static uint64_t
row_bytes(const struct item *item)
{
	return (uint64_t)(item->cols * hone_dtype_bytes(item->dtype->id));
}

static enum hone_status
fill_rows(void *ctx, const struct hn_tensor_out *tensor, int64_t first, int64_t n, void *dst,
	struct hone_error *err)
{
	struct item *item = ctx;
	float *values = NULL;
	enum hone_status st = make_rows(item, first, n, &values, err);

	(void)tensor;
	if (st)
		return st;
	for (int64_t i = 0; i < n * item->cols; i++)
		if (!isfinite(values[i]))
			return hone_fail(err, HONE_ENOTFINITE,
				"%s holds %g in row %" PRId64 "; such a model is not written",
				item->name, (double)values[i], first + i / item->cols);
	encode(item->dtype, values, n * item->cols, dst);
	if (first == 0)
		item->chunk_rows = n;
	item->hash = chain(item->hash, dst, (uint64_t)n * row_bytes(item));
	if (first + n == item->n_rows) {
		free(item->values);
		item->values = NULL;
	}
	return HONE_OK;
}

/* ---- the file ---- */

static enum hone_status
write_file(struct export *all, const char *path, struct hone_error *err)
{
	struct hn_tensor_out *tensors = hn_alloc((all->n + 1) * sizeof *tensors);
	enum hone_status st;

	for (size_t i = 0; i < all->n; i++) {
		struct item *item = &all->items[i];

		tensors[i] = (struct hn_tensor_out){.name = item->name,
			.storage = all->dtype->storage,
			.rank = item->rank,
			.dim = {item->rank > 1 ? item->n_rows : item->cols, item->cols},
			.fill = fill_rows,
			.ctx = item};
	}
	st = hn_safetensors_write(path, tensors, all->n, NULL, 0, err);
	free(tensors);
	return st;
}

/* The bytes in the file are those that were made. */
static enum hone_status
compare_item(const struct hn_tensor_file *file, const struct item *item, struct hone_error *err)
{
	const struct hn_tensor_info *info = hn_tensor_file_find(file, item->name);
	uint64_t hash = 0;

	if (!info || info->n_bytes != (uint64_t)item->n_rows * row_bytes(item))
		return hone_fail_at(err, HONE_EIO, file->path, 0, 0,
			"tensor '%s' was written and is not there", item->name);
	for (int64_t at = 0; at < item->n_rows; at += item->chunk_rows) {
		const int64_t left = item->n_rows - at;
		const int64_t n = left < item->chunk_rows ? left : item->chunk_rows;

		hash = chain(hash, info->bytes + (uint64_t)at * row_bytes(item),
			(uint64_t)n * row_bytes(item));
		hn_tensor_file_forget(file);
	}
	if (hash != item->hash)
		return hone_fail_at(err, HONE_EIO, file->path, 0, 0,
			"tensor '%s' read back is not what was written", item->name);
	return HONE_OK;
}

static enum hone_status
compare_all(const struct export *all, const char *folder, struct hone_error *err)
{
	struct hn_checkpoint back = {0};
	enum hone_status st = hn_checkpoint_open(&back, folder, err);

	for (size_t i = 0; i < all->n && !st; i++)
		st = compare_item(&back.tensors, &all->items[i], err);
	if (!st && back.tensors.n_tensors != all->n)
		st = hone_fail_at(err, HONE_EIO, folder, 0, 0,
			"%zu tensors were written, %zu are there", all->n, back.tensors.n_tensors);
	hn_checkpoint_close(&back);
	return st;
}

/* ---- beside it ---- */

static enum hone_status
put_config(const struct export *all, const char *folder, struct hone_error *err)
{
	struct hn_model_config config = all->of->model->checkpoint.config;
	struct hn_str text = {0};
	enum hone_status st;

	config.stored = json_copy(config.stored);
	if (all->has_tie >= 0)
		(void)json_object_set_new(
			config.stored, "tie_word_embeddings", json_boolean(all->has_tie));
	st = hn_model_config_render(&config, all->dtype->config, &text, err);
	if (!st)
		st = hn_folder_put(folder, "config.json", &text, err);
	json_decref(config.stored);
	hn_str_fini(&text);
	return st;
}

/* Where a base has no generation_config.json: begin, ends and padding of its tokenizer. */
static void
make_generation(const struct hn_tokenizer *tok, struct hn_str *text)
{
	size_t n = 0;
	const int32_t *ends = hn_tokenizer_ends(tok, &n);

	hn_str_puts(text, "{");
	if (hn_tokenizer_bos(tok) >= 0)
		hn_str_printf(text, "\n  \"bos_token_id\": %d,", hn_tokenizer_bos(tok));
	if (n == 1)
		hn_str_printf(text, "\n  \"eos_token_id\": %d,", ends[0]);
	for (size_t i = 0; i < n && n > 1; i++)
		hn_str_printf(text, "%s%d%s", i ? ", " : "\n  \"eos_token_id\": [", ends[i],
			i + 1 == n ? "]," : "");
	if (hn_tokenizer_pad(tok) >= 0)
		hn_str_printf(text, "\n  \"pad_token_id\": %d,", hn_tokenizer_pad(tok));
	if (text->text[text->len - 1] == ',')
		text->text[--text->len] = '\0';
	hn_str_puts(text, "\n}\n");
}

static enum hone_status
put_generation(const struct hn_adapted *of, const char *folder, struct hone_error *err)
{
	char *own = hn_path_join(of->model->checkpoint.path, "generation_config.json");
	char *bytes = NULL;
	size_t n = 0;
	struct hn_str text = {0};
	enum hone_status st = HONE_OK;

	if (hn_path_is_file(own)) {
		st = hn_file_read(own, UINT64_C(1) << 24, HONE_EMODEL, &bytes, &n, err);
		if (!st)
			hn_str_add(&text, bytes, n);
	} else if (of->tokenizer) {
		make_generation(of->tokenizer, &text);
	}
	if (!st && text.len)
		st = hn_folder_put(folder, "generation_config.json", &text, err);
	hn_str_fini(&text);
	free(bytes);
	free(own);
	return st;
}

static enum hone_status
write_folder(
	struct export *all, const struct hn_card *card, const char *folder, struct hone_error *err)
{
	char *path = hn_path_join(folder, "model.safetensors");
	const struct hn_card_of what = {0};
	enum hone_status st = put_config(all, folder, err);

	if (!st)
		st = write_file(all, path, err);
	if (!st)
		st = compare_all(all, folder, err);
	if (!st && all->prover.proof)
		st = hn_prover_check_file(&all->prover, folder, all->dtype->id, err);
	if (!st)
		st = put_generation(all->of, folder, err);
	if (!st)
		st = hn_folder_put_tokenizer(all->of, folder, err);
	if (!st)
		st = hn_card_write(all->of, card, &what, folder, err);
	free(path);
	return st;
}

enum hone_status
hn_export_model(const struct hn_adapted *of, const char *dir, enum hn_export_dtype dtype,
	const struct hn_card *card, struct hn_proof *proof, struct hone_error *err)
{
	struct export all = {.of = of, .dtype = choose_dtype(of->model, dtype), .has_tie = -1};
	struct hn_export_folder folder = {0};
	enum hone_status st = hn_merger_open(&all.merger, of, err);

	all.prover =
		(struct hn_prover){.merger = &all.merger, .proof = of->n_adapters ? proof : NULL};
	for (uint32_t i = 0; i < of->model->n_sites && !st; i++)
		st = add_site(&all, &of->model->sites[i], err);
	if (!st && all.prover.proof)
		st = hn_prover_check_merge(&all.prover, err);
	if (!st)
		st = hn_folder_begin(&folder, dir, of->model, err);
	if (!st)
		st = write_folder(&all, card, folder.temp, err);
	if (!st)
		st = hn_folder_commit(&folder, err);
	else
		hn_folder_abandon(&folder);
	for (size_t i = 0; i < all.n; i++) {
		free(all.items[i].name);
		free(all.items[i].values);
	}
	free(all.items);
	if (all.prover.proof)
		all.prover.proof->is_done = !st;
	hn_prover_fini(&all.prover);
	hn_merger_close(&all.merger);
	if (st && err && !err->place[0])
		(void)snprintf(err->place, sizeof err->place, "%s", dir);
	return st;
}
