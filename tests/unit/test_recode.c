/*
 * test_recode.c - [model] storage: which weights are kept in another form, and their bytes.
 *
 * Would catch: an embedding or a head that is quantised, bytes that depend on the number of
 * threads, a part that overlaps the next one, NaN that becomes a code, a trained weight that is
 * kept in 4 bits, a GGUF file's blocks read across their ends.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_model.h"
#include "model/recode.h"
#include "support.h"

#define FOLDER "golden/models/tiny-llama"
#define UNTIED "golden/models/tiny-llama-untied"
#define GGUF   "golden/gguf/tiny-llama-f32.gguf"

static void
open_kept(struct bench_model *bench, const char *model, const char *storage, int32_t threads)
{
	struct hone_error err = {0};

	bench_open_threads(bench, model, "reference", threads);
	if (hn_model_keep(&bench->model, storage, bench->pool, &err))
		fail_msg("%s", err.text);
}

/* The kept form; the caller frees. */
static uint8_t *
recode(const struct bench_model *bench, const struct hn_weight *weight)
{
	struct hn_recoder recoder = {0};
	struct hone_error err = {0};
	uint8_t *out = calloc((size_t)hn_kept_bytes(weight) + 1, 1);

	assert_non_null(out);
	if (hn_weight_recode(&recoder, &bench->model, weight, out, &err))
		fail_msg("%s", err.text);
	assert_int_equal(out[hn_kept_bytes(weight)], 0);
	hn_recoder_fini(&recoder);
	return out;
}

static void
decode_kept(const struct hn_weight *weight, const uint8_t *bytes, float *out)
{
	const struct hn_form *form = weight->kept;
	const int64_t n = hn_weight_elems(weight);
	const void *parts[16];

	if (!form->storage) {
		for (int64_t i = 0; i < n; i++)
			out[i] = form->dtype == HONE_DTYPE_F32
				? ((const float *)(const void *)bytes)[i]
				: hone_bf16_to_f32(((const uint16_t *)(const void *)bytes)[i]);
		return;
	}
	for (uint32_t i = 0; i < form->storage->n_parts; i++)
		parts[i] = bytes + hn_kept_part(weight, i);
	form->storage->decode(form->storage_self, parts, 0, n, out);
}

static void
test_recode_keeps_linear_weights_and_nothing_else(void **state)
{
	static const char *const models[] = {FOLDER, UNTIED, GGUF};
	static const uint32_t layers[] = {3, 2, 3};

	(void)state;
	for (size_t m = 0; m < 3; m++) {
		struct bench_model bench;
		uint32_t n = 0;

		open_kept(&bench, models[m], "nf4", 1);
		for (uint32_t i = 0; i < bench.model.n_weights; i++) {
			const struct hn_weight *weight = &bench.model.weights[i];
			const bool is_linear = strstr(weight->name, "_proj.weight") != NULL;

			if ((weight->kept != NULL) != is_linear)
				fail_msg("%s", weight->name);
			n += weight->kept != NULL;
		}
		assert_int_equal(n, layers[m] * 7);
		bench_close(&bench);
	}
}

/* What is kept reads as what the file holds, within what the form can tell apart. */
static void
check_near(const char *model, const char *storage, double most)
{
	struct bench_model bench;
	double worst = 0.0;

	open_kept(&bench, model, storage, 2);
	for (uint32_t i = 0; i < bench.model.n_weights; i++) {
		const struct hn_weight *weight = &bench.model.weights[i];
		const int64_t n = hn_weight_elems(weight);
		float *want = malloc((size_t)n * 4), *found = malloc((size_t)n * 4);
		double error = 0.0, norm = 0.0;
		struct hone_error err = {0};

		if (weight->kept) {
			uint8_t *bytes = recode(&bench, weight);

			(void)hn_weight_decode(&bench.model, weight, 0, 0, n, want, &err);
			decode_kept(weight, bytes, found);
			for (int64_t k = 0; k < n; k++) {
				error += pow((double)found[k] - (double)want[k], 2);
				norm += pow((double)want[k], 2);
			}
			worst = fmax(worst, sqrt(error / norm));
			free(bytes);
		}
		free(want);
		free(found);
	}
	print_message("%s: off by %.4f\n", storage, worst);
	assert_true(worst <= most);
	assert_true(worst > most / 10 || most <= 0.0);
	bench_close(&bench);
}

static void
test_recode_reads_back_as_the_file(void **state)
{
	(void)state;
	check_near(FOLDER, "bf16", 0.003);
	check_near(FOLDER, "q8_0", 0.008);
	check_near(FOLDER, "q4_0", 0.12);
	check_near(FOLDER, "nf4", 0.11);
	check_near(GGUF, "nf4", 0.11);
	check_near("golden/models/tiny-llama-bf16", "f32", 0.0);
}

static void
test_recode_gives_the_same_bytes_for_any_threads(void **state)
{
	struct bench_model one, three;

	(void)state;
	open_kept(&one, FOLDER, "nf4", 1);
	open_kept(&three, FOLDER, "nf4", 3);
	for (uint32_t i = 0; i < one.model.n_weights; i++) {
		uint8_t *a, *b;

		if (!one.model.weights[i].kept)
			continue;
		a = recode(&one, &one.model.weights[i]);
		b = recode(&three, &three.model.weights[i]);
		assert_memory_equal(a, b, hn_kept_bytes(&one.model.weights[i]));
		free(a);
		free(b);
	}
	bench_close(&one);
	bench_close(&three);
}

/* Parts follow each other, 64 bytes apart or more, and weigh what the paper says. */
static void
test_recode_parts_do_not_overlap(void **state)
{
	struct bench_model bench;

	(void)state;
	open_kept(&bench, FOLDER, "nf4", 1);
	for (uint32_t i = 0; i < bench.model.n_weights; i++) {
		const struct hn_weight *weight = &bench.model.weights[i];
		const struct hone_storage_vt *vt;

		if (!weight->kept)
			continue;
		vt = weight->kept->storage;
		for (uint32_t p = 0; p < vt->n_parts; p++) {
			assert_int_equal(hn_kept_part(weight, p) % 64, 0);
			assert_true(hn_kept_part(weight, p) +
					vt->part_bytes(weight->kept->storage_self, p,
						hn_weight_elems(weight)) <=
				hn_kept_part(weight, p + 1));
		}
		assert_int_equal(hn_kept_part(weight, 1), hn_weight_elems(weight) / 2);
	}
	bench_close(&bench);
}

/* What is there already stays mapped; names that mean nothing say what there is. */
static void
test_recode_leaves_what_has_the_form_and_refuses_what_is_none(void **state)
{
	static const struct {
		const char *storage, *says;
	} wrong[] = {
		{"nf5", "no storage 'nf5'"}, {"q4_k", "only read"}, {"f16", "no storage 'f16'"}};
	struct bench_model bench;
	struct hone_error err = {0};

	(void)state;
	open_kept(&bench, FOLDER, "f32", 1);
	for (uint32_t i = 0; i < bench.model.n_weights; i++)
		assert_null(bench.model.weights[i].kept);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		assert_int_equal(
			hn_model_keep(&bench.model, wrong[i].storage, NULL, &err), HONE_ECONFIG);
		assert_non_null(strstr(err.text, wrong[i].says));
	}
	bench_close(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recode_keeps_linear_weights_and_nothing_else),
		cmocka_unit_test(test_recode_reads_back_as_the_file),
		cmocka_unit_test(test_recode_gives_the_same_bytes_for_any_threads),
		cmocka_unit_test(test_recode_parts_do_not_overlap),
		cmocka_unit_test(test_recode_leaves_what_has_the_form_and_refuses_what_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
