/*
 * test_resume.c - what a run may change when it goes on, what it may not, and what is best.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "config/host_options.h"
#include "model/safetensors.h"
#include "state_bench.h"
#include "support.h"
#include "train/identity.h"

#define BASE                                                                                       \
	"[run]\noutput = o\nadapter = lora\nobjective = sft\nseed = 1\n[model]\npath = m\n"        \
	"[data]\ntrain = t.jsonl\n[train]\nlearning_rate = 2e-4\n"

/* A configuration whose host sections were read. */
struct read {
	struct hn_config *config;
	struct hn_diagnostics found;
	struct hn_config_check check;
	struct hn_host_options host;
};

static void
read_open(struct read *read, const char *text, const char *const *sets, size_t n_sets)
{
	const struct hn_config_request request = {.path = "/b/run.ini",
		.text = text,
		.text_bytes = strlen(text),
		.sets = sets,
		.n_sets = n_sets};
	struct hone_error err = {0};

	memset(read, 0, sizeof *read);
	assert_int_equal(hn_config_load(&read->config, &request, &read->found, &err), HONE_OK);
	read->check = (struct hn_config_check){.config = read->config, .diagnostics = &read->found};
	read->check.tables = hn_host_tables(&read->check.n_tables);
	if (hn_host_options_read(&read->check, &read->host))
		fail_msg("%s", read->found.items[0].text);
}

static void
read_close(struct read *read)
{
	hn_config_destroy(read->config);
	hn_diagnostics_fini(&read->found);
}

static const struct hn_fact facts_then[] = {{.key = "model", .value = "aaaa"},
	{.key = "kernel_path", .value = "avx512"},
	{.key = "hone", .value = "0.1.0", .is_note = true}};

/* What check_same says to BASE with these changes. */
static enum hone_status
compare(const char *const *sets, size_t n_sets, const struct hn_fact *facts, size_t n_facts,
	struct hone_error *err)
{
	char path[] = "/r/checkpoints/step-000001";
	struct hn_str text = {0};
	struct read then, now;
	struct hn_fact saved_facts[3];
	struct hn_saved saved = {.path = path, .facts = saved_facts, .n_facts = 3};
	struct hn_resume resume = {.check = &now.check, .facts = facts, .n_facts = n_facts};
	enum hone_status st;

	memcpy(saved_facts, facts_then, sizeof facts_then);
	read_open(&then, BASE, NULL, 0);
	hn_config_print(then.config, true, &text);
	saved.config = text.text;
	read_open(&now, BASE, sets, n_sets);
	memset(err, 0, sizeof *err);
	st = hn_checkpoint_check_same(&saved, &resume, err);
	read_close(&then);
	read_close(&now);
	hn_str_fini(&text);
	return st;
}

/* Would catch: a resume that is refused for what does not change results, or for a number
 * that is only written differently. */
static void
test_resume_runtime_keys_may_change(void **state)
{
	static const char *const sets[] = {"train.logging_steps=1", "checkpoint.save_steps=7",
		"checkpoint.save_total_limit=9", "run.output=elsewhere",
		"train.learning_rate=0.0002"};
	struct hone_error err;

	(void)state;
	if (compare(sets, 5, facts_then, 3, &err))
		fail_msg("%s", err.text);
}

/* Would catch: a schedule or a data order that changes in the middle of a run, silently. */
static void
test_resume_other_keys_are_refused_by_name(void **state)
{
	static const char *const sets[] = {"train.learning_rate=3e-4", "run.seed=2"};
	struct hone_error err;

	(void)state;
	assert_int_equal(compare(sets, 1, facts_then, 3, &err), HONE_ECONFIG);
	assert_non_null(strstr(err.text, "[train] learning_rate was 0.0002 and is 0.0003"));
	assert_non_null(strstr(err.text, "--fresh"));
	assert_null(strstr(err.text, "more differs"));
	assert_int_equal(compare(sets, 2, facts_then, 3, &err), HONE_ECONFIG);
	assert_non_null(strstr(err.text, "[run] seed was 1 and is 2"));
	assert_non_null(strstr(err.text, "more differs"));
}

/* Would catch: another base model, other data or another kernel path under the same names. */
static void
test_resume_other_facts_are_refused_by_name(void **state)
{
	const struct hn_fact other[] = {
		{.key = "model", .value = "bbbb"}, facts_then[1], facts_then[2]};
	const struct hn_fact fewer[] = {facts_then[0], facts_then[2]};
	const struct hn_fact more[] = {facts_then[0], facts_then[1],
		{.key = "data.train", .value = "cccc"}, facts_then[2]};
	const struct hn_fact note[] = {
		facts_then[0], facts_then[1], {.key = "hone", .value = "0.2.0", .is_note = true}};
	struct hone_error err;

	(void)state;
	assert_int_equal(compare(NULL, 0, other, 3, &err), HONE_ECONFIG);
	assert_non_null(strstr(err.text, "model was aaaa and is bbbb"));
	assert_int_equal(compare(NULL, 0, fewer, 2, &err), HONE_ECONFIG);
	assert_non_null(strstr(err.text, "kernel_path was avx512 and is not set"));
	assert_int_equal(compare(NULL, 0, more, 4, &err), HONE_ECONFIG);
	assert_non_null(strstr(err.text, "data.train was not set and is cccc"));
	assert_int_equal(compare(NULL, 0, note, 3, &err), HONE_OK);
}

/* Would catch: a section of a plugin that is gone, or a text that is damaged, and a resume
 * that goes on all the same. */
static void
test_resume_unreadable_config_is_refused(void **state)
{
	static char *const texts[] = {BASE "[gone]\nx = 1\n", BASE "warmup_stops = 1\n"};
	static const char *const words[] = {"[gone]", "cannot be read by this version"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		char path[] = "/r";
		struct hn_saved saved = {.path = path, .config = texts[i]};
		struct hone_error err = {0};
		struct read now;
		const struct hn_resume resume = {.check = &now.check};

		read_open(&now, BASE, NULL, 0);
		assert_int_equal(hn_checkpoint_check_same(&saved, &resume, &err), HONE_ECONFIG);
		if (!strstr(err.text, words[i]))
			fail_msg("%s", err.text);
		read_close(&now);
	}
}

/* ---- the identity of a model ---- */

enum { LARGE_BYTES = 5 << 20 };

/* A model in `to`, one byte changed (0 = none), counted from the end of its weights. */
static void
write_large_model(const char *to, int64_t flip_at)
{
	char *path = hn_path_join(to, "model.safetensors");
	uint8_t *bytes = calloc(1, LARGE_BYTES);
	const struct hn_tensor_out tensor = {
		.name = "w", .storage = "f32", .rank = 1, .dim = {LARGE_BYTES / 4}, .bytes = bytes};
	struct hone_error err = {0};

	if (flip_at)
		bytes[LARGE_BYTES - flip_at] = 1;
	assert_int_equal(hn_safetensors_write(path, &tensor, 1, NULL, 0, &err), HONE_OK);
	free(bytes);
	free(path);
}

static void
copy_model(const char *to, int64_t flip_at)
{
	static const char *const names[] = {"config.json", "model.safetensors"};
	char *from = test_data_path("golden/models/tiny-llama");
	struct hone_error err = {0};

	for (int i = 0; i < 2; i++) {
		char *a = hn_path_join(from, names[i]), *b = hn_path_join(to, names[i]), *bytes;
		size_t n;

		assert_int_equal(hn_file_read(a, 1 << 24, HONE_EMODEL, &bytes, &n, &err), HONE_OK);
		if (i == 1 && flip_at)
			bytes[(int64_t)n - flip_at] ^= 1;
		assert_int_equal(hn_file_replace(b, bytes, n, &err), HONE_OK);
		free(bytes);
		free(a);
		free(b);
	}
	free(from);
}

static void
identify(const char *path, char out[33])
{
	const struct hn_model_request request = {.name = "policy", .path = path};
	struct hn_model model = {0};
	struct hone_error err = {0};

	if (hn_model_open(&model, &request, &err))
		fail_msg("%s: %s", err.place, err.text);
	hn_model_identity(&model, out);
	hn_model_close(&model);
}

/* Would catch: a model that is another because it was moved, and one that is the same because
 * header and size are. */
static void
test_resume_model_identity_is_of_content(void **state)
{
	char *path = test_folder_make(), *golden = test_data_path("golden/models/tiny-llama");
	char first[33], moved[33], changed[33];

	(void)state;
	identify(golden, first);
	copy_model(path, 0);
	identify(path, moved);
	copy_model(path, 5);
	identify(path, changed);
	assert_string_equal(first, moved);
	assert_string_not_equal(first, changed);
	/* a large one, at its very end */
	write_large_model(path, 0);
	identify(path, first);
	write_large_model(path, 1);
	identify(path, changed);
	assert_string_not_equal(first, changed);
	free(golden);
	test_folder_remove(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resume_runtime_keys_may_change),
		cmocka_unit_test(test_resume_other_keys_are_refused_by_name),
		cmocka_unit_test(test_resume_other_facts_are_refused_by_name),
		cmocka_unit_test(test_resume_unreadable_config_is_refused),
		cmocka_unit_test(test_resume_model_identity_is_of_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
