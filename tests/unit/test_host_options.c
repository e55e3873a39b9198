/*
 * test_host_options.c - the host's own sections: tables, defaults, contradictions.
 */
#include <stdlib.h>
#include <string.h>

#include "config/host_options.h"
#include "support.h"

/* The least that is complete. */
#define LEAST                                                                                      \
	"[run]\noutput = o\nadapter = lora\nobjective = sft\n[model]\npath = m\n[data]\n"          \
	"train = t.jsonl\n"

/* Reads a text and gives the diagnostics as one string. */
static char *
read_host(const char *text, struct hn_host_options *host, struct hn_config **keep)
{
	struct hn_config_request request = {
		.path = "/b/run.ini", .text = text, .text_bytes = strlen(text)};
	struct hn_diagnostics found = {0};
	struct hn_config *config = NULL;
	struct hn_config_check check = {.diagnostics = &found};
	struct hone_error err = {0};
	struct hn_str out = {0};
	enum hone_status status;

	assert_int_equal(hn_config_load(&config, &request, &found, &err), HONE_OK);
	check.config = config;
	check.tables = hn_host_tables(&check.n_tables);
	status = hn_host_options_read(&check, host);
	assert_int_equal(status, found.n_errors ? HONE_ECONFIG : HONE_OK);
	hn_config_finish(&check);
	hn_diagnostics_format(&found, &out);
	hn_diagnostics_fini(&found);
	if (keep)
		*keep = config;
	else
		hn_config_destroy(config);
	return hn_str_take(&out);
}

static void
expect(const char *text, const char *wanted)
{
	struct hn_host_options host;
	char *found = read_host(text, &host, NULL);

	assert_string_equal(found, wanted);
	free(found);
}

/* Would catch: a row whose member, default, range or alias does not fit. */
static void
test_host_options_tables_are_sound(void **state)
{
	size_t n;
	const struct hn_config_table *tables = hn_host_tables(&n);
	struct hone_error err = {0};

	(void)state;
	assert_int_equal(n, 7);
	for (size_t i = 0; i < n; i++) {
		if (hn_options_verify(tables[i].options, tables[i].name, &err))
			fail_msg("%s", err.text);
		/* An answered key is not one that exists: the answer would never be given. */
		for (size_t a = 0; a < tables[i].n_answers; a++)
			for (size_t t = 0; t < n; t++)
				assert_int_equal(hn_options_find(tables[t].options,
							 tables[i].answers[a].key),
					-1);
	}
}

/* Would catch: a default that drifts from the contract's. */
static void
test_host_options_defaults_are_the_fields(void **state)
{
	struct hn_host_options host;
	struct hn_config *config;
	char *found = read_host(LEAST "[train]\nlearning_rate = 2e-4\n", &host, &config);

	(void)state;
	assert_string_equal(found, "");
	assert_string_equal(host.run.output, "/b/o");
	assert_string_equal(host.run.adapter.items[0], "lora");
	assert_string_equal(host.run.backend, "cpu");
	assert_int_equal(host.run.seed, 42);
	assert_null(host.run.preset);
	assert_string_equal(host.model.storage, "native");
	assert_int_equal(host.model.init, HN_MODEL_INIT_PRETRAINED);
	assert_int_equal(host.data.max_length, 1024);
	assert_true(host.data.shuffle && !host.data.strict && host.data.validation_split == 0);
	assert_string_equal(host.data.schema, "auto");
	assert_true(host.train.learning_rate == 2e-4 && host.train.num_train_epochs == 3);
	assert_int_equal(host.train.max_steps, -1);
	assert_int_equal(host.train.per_device_train_batch_size, 8);
	assert_int_equal(host.train.gradient_accumulation_steps, 1);
	assert_int_equal(host.train.lr_scheduler_type, HN_SCHEDULE_LINEAR);
	assert_true(host.train.warmup_steps == 0 && host.train.weight_decay == 0);
	assert_true(host.train.adam_beta1 == 0.9 && host.train.adam_beta2 == 0.999);
	assert_true(host.train.adam_epsilon == 1e-8 && host.train.max_grad_norm == 1);
	assert_int_equal(host.train.optim, HN_OPTIM_ADAMW);
	assert_int_equal(host.train.compute, HN_COMPUTE_AUTO);
	assert_int_equal(host.train.logging_steps, 10);
	assert_int_equal(host.train.micro_batch_tokens, 0);
	assert_int_equal(host.train.memory_limit, 0);
	assert_int_equal(host.eval.eval_steps, 0);
	assert_int_equal(host.eval.per_device_eval_batch_size, 8);
	assert_int_equal(host.checkpoint.save_steps, 500);
	assert_int_equal(host.checkpoint.save_total_limit, 2);
	assert_false(host.checkpoint.load_best_model_at_end);
	assert_string_equal(host.checkpoint.metric_for_best_model, "loss");
	assert_true(host.generate.temperature == 0);
	free(found);
	hn_config_destroy(config);
}

/* Would catch: an enum whose order is not that of its choices. */
static void
test_host_options_choices_match_their_enums(void **state)
{
	static const char *const names[] = {"linear", "cosine", "cosine_with_restarts",
		"polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
		"cosine_with_min_lr"};
	static const int values[] = {HN_SCHEDULE_LINEAR, HN_SCHEDULE_COSINE,
		HN_SCHEDULE_COSINE_WITH_RESTARTS, HN_SCHEDULE_POLYNOMIAL, HN_SCHEDULE_CONSTANT,
		HN_SCHEDULE_CONSTANT_WITH_WARMUP, HN_SCHEDULE_INVERSE_SQRT,
		HN_SCHEDULE_COSINE_WITH_MIN_LR};
	static const char *const types[] = {"auto", "f32", "bf16", "f64"};
	static const int computes[] = {
		HN_COMPUTE_AUTO, HN_COMPUTE_F32, HN_COMPUTE_BF16, HN_COMPUTE_F64};
	char text[500];

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		struct hn_host_options host;
		char *found;

		(void)snprintf(text, sizeof text,
			LEAST "[train]\nlearning_rate = 1\nlr_scheduler_type = %s\ncompute = %s\n"
			      "[checkpoint]\ngreater_is_better = no\n[generate]\n[eval]\n",
			names[i], types[i % 4]);
		found = read_host(text, &host, NULL);
		assert_string_equal(found, "");
		assert_int_equal(host.train.lr_scheduler_type, values[i]);
		assert_int_equal(host.train.compute, computes[i % 4]);
		assert_int_equal(host.checkpoint.greater_is_better, HN_GREATER_NO);
		free(found);
	}
}

/* Would catch: a user of another trainer met with "unknown key". */
static void
test_host_options_words_of_the_field_are_answered(void **state)
{
	(void)state;
	expect("", "/b/run.ini: error: the file is empty\n1 error\n");
	expect("\n",
		"/b/run.ini: error: [run] output is required: folder of the run: result, "
		"checkpoints, metrics and log\n"
		"/b/run.ini: error: [run] adapter is required: what is trained, for example lora; "
		"several as a list, in the order of their effect\n"
		"/b/run.ini: error: [run] objective is required: what it is trained for, for "
		"example sft\n"
		"/b/run.ini: error: [model] path is required: folder of a Hugging Face model, or a "
		"GGUF file\n"
		"/b/run.ini: error: [data] train is required: file of training rows: JSON lines "
		"(.jsonl), one object a line\n"
		"/b/run.ini: error: [train] learning_rate is required: peak step size; usual: full "
		"1e-5 to 5e-5, LoRA 1e-4 to 5e-4\n"
		"6 errors\n");
	expect(LEAST
		"packing = yes\npadding_free = no\n[train]\nlr = 1e-4\nepochs = 1\nbf16 = yes\n"
		"output_dir = x\nmax_seq_length = 5\n[eval]\neval_strategy = epoch\n",
		"/b/run.ini:9:1: warning: [data] packing: always: examples are packed and never "
		"see "
		"each other; delete the line\n"
		"/b/run.ini:10:1: error: [data] padding_free: always: there is no padding here; "
		"delete the line\n"
		"/b/run.ini:12:1: warning: [train] 'lr' is called 'learning_rate' here and read as "
		"that\n"
		"/b/run.ini:13:1: warning: [train] 'epochs' is called 'num_train_epochs' here and "
		"read as that\n"
		"/b/run.ini:14:1: error: [train] bf16: write compute = bf16\n"
		"/b/run.ini:15:1: error: [train] output_dir belongs into [run]\n"
		"/b/run.ini:16:1: error: [train] max_seq_length belongs into [data]\n"
		"/b/run.ini:18:1: error: [eval] eval_strategy: write eval_steps; without it each "
		"epoch's end is evaluated\n"
		"5 errors, 3 warnings\n");
}

/* Would catch: keys that contradict each other and train all the same. */
static void
test_host_options_contradictions_name_both_lines(void **state)
{
	(void)state;
	expect(LEAST "validation = v.jsonl\nvalidation_split = 10%\n"
		     "[train]\nlearning_rate = 1e-4\nmax_steps = 0\nwarmup_steps = 2.5\n"
		     "lr_scheduler_type = linear\nlr_power = 2\nmin_lr = 1e-3\n"
		     "early_stopping_patience = 3\n[checkpoint]\nload_best_model_at_end = no\n",
		"/b/run.ini:10:20: error: [data] validation_split = 10%: there is a validation "
		"file "
		"already; keep one of the two (validation = v.jsonl, /b/run.ini:9)\n"
		"/b/run.ini:13:13: error: [train] max_steps = 0: must be at least 1, or -1 for "
		"num_train_epochs\n"
		"/b/run.ini:14:16: error: [train] warmup_steps = 2.5: from 1 on it is a number of "
		"steps, a whole one\n"
		"/b/run.ini:16:12: error: [train] lr_power = 2: only polynomial has a power "
		"(lr_scheduler_type = linear, /b/run.ini:15)\n"
		"/b/run.ini:17:10: error: [train] min_lr = 1e-3: only cosine_with_min_lr reads it "
		"(lr_scheduler_type = linear, /b/run.ini:15)\n"
		"/b/run.ini:18:27: error: [train] early_stopping_patience = 3: needs [checkpoint] "
		"load_best_model_at_end = yes (load_best_model_at_end = no, /b/run.ini:20)\n"
		"6 errors\n");
	expect(LEAST "[train]\nlearning_rate = 1e-4\nwarmup_ratio = 2\n[checkpoint]\n"
		     "load_best_model_at_end = yes\n",
		"/b/run.ini:11:1: warning: [train] 'warmup_ratio' is called 'warmup_steps' here "
		"and "
		"read as that\n"
		"/b/run.ini:11:16: error: [train] warmup_ratio = 2: a ratio is below 1; for steps "
		"write warmup_steps\n"
		"/b/run.ini:13:26: error: [checkpoint] load_best_model_at_end = yes: needs [data] "
		"validation or validation_split\n"
		"2 errors, 1 warning\n");
	expect(LEAST
		"validation_split = 3.5\n[train]\nlearning_rate = 1e-4\n"
		"lr_scheduler_type = constant\nwarmup_steps = 5\nearly_stopping_threshold = 0.1\n",
		"/b/run.ini:9:20: error: [data] validation_split = 3.5: from 1 on it is a number "
		"of "
		"rows, a whole one\n"
		"/b/run.ini:13:16: error: [train] warmup_steps = 5: constant has no warmup; write "
		"constant_with_warmup (lr_scheduler_type = constant, /b/run.ini:12)\n"
		"/b/run.ini:14:28: error: [train] early_stopping_threshold = 0.1: needs "
		"early_stopping_patience\n"
		"3 errors\n");
	expect(LEAST "[train]\nlearning_rate = 1e-4\nlr_scheduler_type = cosine_with_restarts\n"
		     "lr_num_cycles = 1.5\nlr_end = 1\n",
		"/b/run.ini:12:17: error: [train] lr_num_cycles = 1.5: restarts are a whole number "
		"(lr_scheduler_type = cosine_with_restarts, /b/run.ini:11)\n"
		"/b/run.ini:13:10: error: [train] lr_end = 1: only polynomial has this end "
		"(lr_scheduler_type = cosine_with_restarts, /b/run.ini:11)\n"
		"2 errors\n");
	expect(LEAST "[train]\nlearning_rate = 1e-4\nlr_scheduler_type = polynomial\nlr_end = 1\n",
		"/b/run.ini:12:10: error: [train] lr_end = 1: must be below the learning rate "
		"(learning_rate = 1e-4, /b/run.ini:10)\n"
		"1 error\n");
}

/* Would catch: a resume refused for a changed interval, or allowed for a changed seed. */
static void
test_host_options_runtime_keys_are_those_of_the_contract(void **state)
{
	static const char *const free_keys[] = {"output", "preset", "memory_limit", "logging_steps",
		"eval_steps", "save_steps", "save_total_limit"};
	size_t n, n_free = 0;
	const struct hn_config_table *tables = hn_host_tables(&n);

	(void)state;
	for (size_t t = 0; t < n; t++) {
		if (hn_streq(tables[t].name, "generate"))
			continue;
		for (uint32_t i = 0; i < tables[t].options->n; i++) {
			struct hone_option row = hn_options_at(tables[t].options, i);
			bool is_listed = false;

			for (size_t k = 0; k < 7; k++)
				is_listed |= hn_streq(row.key, free_keys[k]);
			assert_int_equal(is_listed, (row.flags & HONE_OPTION_RUNTIME) != 0);
			n_free += is_listed;
		}
	}
	assert_int_equal(n_free, 7);
}

/* Would catch: a resolved file that hone itself would refuse. */
static void
test_host_options_resolved_file_is_accepted(void **state)
{
	struct hn_host_options host;
	struct hn_config *config;
	struct hn_str text = {0};
	char *found = read_host(LEAST
		"validation = v\n[train]\nlr = 1e-3\nwarmup_ratio = 3%\n[generate]\ntop_k = 5\n",
		&host, &config);

	(void)state;
	hn_config_print(config, true, &text);
	free(found);
	hn_config_destroy(config);
	found = read_host(text.text, &host, NULL);
	assert_string_equal(found, "");
	assert_true(host.train.warmup_steps == 0.03 && host.generate.top_k == 5);
	free(found);
	hn_str_fini(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host_options_tables_are_sound),
		cmocka_unit_test(test_host_options_defaults_are_the_fields),
		cmocka_unit_test(test_host_options_choices_match_their_enums),
		cmocka_unit_test(test_host_options_words_of_the_field_are_answered),
		cmocka_unit_test(test_host_options_contradictions_name_both_lines),
		cmocka_unit_test(test_host_options_runtime_keys_are_those_of_the_contract),
		cmocka_unit_test(test_host_options_resolved_file_is_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
