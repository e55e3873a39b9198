/*
 * export.c - `hone export run.ini --to DIR`: the result for other tools.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "commands/command.h"
#include "excerpt.h"
#include "model/safetensors.h"
#include "result.h"
#include "train/export.h"

static enum hone_status
parse_dtype(const char *text, enum hn_export_dtype *out, struct hone_error *err)
{
	*out = HN_EXPORT_AS_STORED;
	if (!text)
		return HONE_OK;
	if (hn_streq(text, "f32"))
		*out = HN_EXPORT_F32;
	else if (hn_streq(text, "bf16"))
		*out = HN_EXPORT_BF16;
	else
		return hone_fail(err, HONE_EUSAGE, "--dtype '%s' is neither f32 nor bf16", text);
	return HONE_OK;
}

static void
put_proof_json(struct hn_str *out, const struct hn_proof *proof)
{
	hn_str_printf(out, ", \"proof\": {\"tokens\": %" PRId32 ", \"from\": \"%s\"",
		proof->offsets[proof->n_segments], proof->from);
	hn_str_puts(out, ", \"merge_difference\": ");
	hn_str_put_f64(out, proof->merge);
	hn_str_puts(out, ", \"merge_limit\": ");
	hn_str_put_f64(out, proof->merge_limit);
	hn_str_puts(out, ", \"model_difference\": ");
	hn_str_put_f64(out, proof->file);
	hn_str_puts(out, ", \"model_limit\": ");
	hn_str_put_f64(out, proof->file_limit);
	hn_str_puts(out, "}");
}

/* What was written, as its file says: bytes of tensors, and the type of most of them. */
static uint64_t
measure(const char *dir, char dtype[16])
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	uint64_t bytes = 0, most = 0;

	dtype[0] = '\0';
	if (hn_safetensors_open_folder(&file, dir, &err))
		return 0;
	for (size_t i = 0; i < file.n_tensors; i++) {
		uint64_t same = 0;

		bytes += file.tensors[i].n_bytes;
		/* Types are few: the first tensor of each sums up all of its kind. */
		if (hn_streq(file.tensors[i].storage, dtype))
			continue;
		for (size_t j = i; j < file.n_tensors; j++)
			if (hn_streq(file.tensors[j].storage, file.tensors[i].storage))
				same += file.tensors[j].n_bytes;
		if (same > most) {
			most = same;
			(void)snprintf(dtype, 16, "%s", file.tensors[i].storage);
		}
	}
	hn_tensor_file_close(&file);
	return bytes;
}

static void
put_written(const struct hn_context *context, bool is_model, bool replaces,
	const struct hn_proof *proof)
{
	const char *to = context->args->to, *what = is_model ? "model" : "adapter";
	char dtype[16];
	const uint64_t bytes = measure(to, dtype);

	if (context->args->json) {
		hn_str_printf(context->out,
			"{\"schema\": \"hone.export/1\", \"what\": \"%s\", \"path\": ", what);
		hn_str_put_json(context->out, to, strlen(to));
		if (proof->is_done)
			put_proof_json(context->out, proof);
		hn_str_printf(context->out,
			", \"dtype\": \"%s\", \"bytes\": %" PRIu64 ", \"replaced\": %s}\n", dtype,
			bytes, replaces ? "true" : "false");
		return;
	}
	hn_str_put_visible(context->out, to, "");
	hn_str_printf(context->out, ": the %s, %s, %.1f MB, read back and compared%s\n", what,
		dtype, (double)bytes / 1e6,
		replaces ? "; it replaces the older export that was there" : "");
	if (proof->is_done)
		hn_str_printf(context->out,
			"on %" PRId32 " tokens of the %s data its logits differ from those of base "
			"and adapter by at most %.2g: %.2g by the merge, the rest by rounding\n",
			proof->offsets[proof->n_segments], proof->from, proof->file, proof->merge);
}

/* Writes the model, proven on a few rows of the run's data where there is an adapter. */
static enum hone_status
write_model(const struct hn_context *context, struct hn_run *run, const struct hn_adapted *of,
	enum hn_export_dtype dtype, bool replaces, struct hone_error *err)
{
	struct hn_excerpt rows = {0};
	struct hn_proof proof = {0};
	enum hone_status st;

	if (of->n_adapters)
		hn_excerpt_take(&rows, run);
	proof = (struct hn_proof){.ids = rows.ids,
		.offsets = rows.offsets,
		.n_segments = rows.n_segments,
		.from = rows.from};
	st = hn_export_model(of, context->args->to, dtype, NULL, &proof, err);
	if (!st)
		put_written(context, true, replaces, &proof);
	if (!st && of->n_adapters && !context->args->json &&
		!hn_streq(run->options.model.storage, "native"))
		hn_str_printf(context->out,
			"the merge is into the weights as the file holds them; the run held them "
			"as %s, "
			"and what it measured is a little different\n",
			run->options.model.storage);
	hn_excerpt_fini(&rows);
	return st;
}

/* An adapter stays one unless it is to be merged; a trained model is written anew. */
static enum hone_status
write_result(const struct hn_context *context, const struct hn_result *result, struct hn_run *run,
	const struct hn_engine *engine, bool replaces, struct hone_error *err)
{
	struct hn_adapted of = hn_adapted_of_run(run, engine);
	const struct hn_args *args = context->args;
	const struct hn_proof none = {0};
	enum hn_export_dtype dtype;
	enum hone_status st = parse_dtype(args->dtype, &dtype, err);

	if (st)
		return st;
	if (result->without_adapters)
		of.n_adapters = 0;
	if (args->merge || result->is_model || result->is_base || hn_export_is_model(&of))
		return write_model(context, run, &of, dtype, replaces, err);
	st = hn_export_adapter(&of, args->to, NULL, err);
	if (!st)
		put_written(context, false, replaces, &none);
	return st;
}

static bool
is_same_place(const char *a, const char *b)
{
	struct stat x, y;

	return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Whether `path` is one of the run's folders, be it there or not yet. */
static bool
is_own(const char *path, const char *output)
{
	static const char *const own[] = {"adapter", "model", "checkpoints"};
	char *dir = hn_path_dir(path);
	bool is = false;

	for (size_t i = 0; i < sizeof own / sizeof own[0] && !is; i++) {
		char *mine = hn_path_join(output, own[i]);

		is = is_same_place(path, mine) ||
			(hn_streq(hn_path_base(path), own[i]) && is_same_place(dir, output));
		free(mine);
	}
	free(dir);
	return is;
}

/* The run's own result is made by training, and eval and generate rely on it: what is exported
 * there before would pass for it.  In the folder of checkpoints old ones are removed. */
static enum hone_status
check_place(const struct hn_context *context, const struct hn_run *run, bool *replaces,
	struct hone_error *err)
{
	const char *to = context->args->to, *output = run->options.run.output;
	char *path = hn_path_normal(to), *above;
	bool is = is_same_place(path, output);

	while (!is && !(is = is_own(path, output)) && path[1]) {
		above = hn_path_dir(path);
		free(path);
		path = above;
	}
	free(path);
	if (is)
		return hone_fail_at(err, HONE_EUSAGE, to, 0, 0,
			"this belongs to the run itself; --to another folder");
	return hn_export_check_place(to, &run->model, replaces, err);
}

static enum hone_status
run_export(const struct hn_context *context, struct hone_error *err)
{
	const struct hn_run_request request = hn_context_request(context);
	struct hn_result result;
	struct hn_engine engine = {0};
	struct hn_run run;
	bool replaces = false;
	enum hone_status st;

	if (!context->args->to || !context->args->to[0])
		return hone_fail(err, HONE_EUSAGE, "hone export needs --to DIR");
	st = hn_result_open(&result, &run, &request, context->args->base, err);
	if (!st)
		st = check_place(context, &run, &replaces, err);
	if (!st) {
		hn_engine_init(
			&engine, &run.model, &run.params, run.devices, run.n_devices, run.compute);
		st = hn_engine_allocate(&engine, err);
	}
	if (!st)
		st = hn_result_load(&result, &run, &engine, err);
	if (!st)
		st = write_result(context, &result, &run, &engine, replaces, err);
	if (engine.model)
		hn_engine_fini(&engine);
	hn_result_close(&result, &run);
	return st;
}

static const struct hn_flag flags[] = {
	{"--to", HN_FLAG_TEXT, HN_ARG(to), "DIR",
		"where to write; an older export there is replaced when the new one is whole"},
	{"--merge", HN_FLAG_BOOL, HN_ARG(merge), NULL,
		"merge the adapter into the file's weights: a model folder for transformers"},
	{"--dtype", HN_FLAG_TEXT, HN_ARG(dtype), "TYPE",
		"f32 or bf16, which halves it; default: as the base is stored, f32 where that is "
		"quantised"},
	{"--base", HN_FLAG_BOOL, HN_ARG(base), NULL, "export the base model, without the result"},
};

const struct hn_command_spec hn_command_export = {"export", "run.ini",
	"write a run's result for other tools", flags, 4, run_export, HN_TAKES_RUN};
