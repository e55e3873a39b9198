/*
 * test_plugin_faults.c - plugins that build what does not fit, or end the process, as the
 * program's user meets them.
 *
 * Would catch: a gradient of another shape that is added up all the same, or one that is missing
 * and counts as zero; a hook that calls itself until the stack ends; a crash without a word; a
 * plugin whose exit(0) makes `hone check` pass; an error that does not say whose it is.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli.h"
#include "probe.h"
#include "support.h"

#define SOURCE "tests/abi/plugins/culprit.c"

struct place {
	struct cli cli;
	char *file; /* p/culprit.so */
};

/* No core files; and a sanitizer in the program leaves the signals to it. */
static void
prepare(const struct cli *cli)
{
	const struct rlimit none = {0, 0};

	(void)cli;
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)setenv("ASAN_OPTIONS",
		"handle_segv=0:handle_abort=0:handle_sigfpe=0:handle_sigill=0:handle_sigbus=0:"
		"detect_leaks=0",
		1);
}

static int
set_up(void **state)
{
	struct place *place = calloc(1, sizeof *place);
	char *dir;

	cli_open(&place->cli, NULL);
	cli_patch(&place->cli, "run.ini", "[lora]\nr = 2\n", "");
	cli_patch(&place->cli, "run.ini", "adapter   = lora", "adapter   = culprit");
	place->cli.prepare = prepare;
	dir = hn_path_join(place->cli.folder, "p");
	assert_int_equal(mkdir(dir, 0755), 0);
	place->file = hn_path_join(dir, "culprit.so");
	free(dir);
	*state = place;
	return 0;
}

static int
tear_down(void **state)
{
	struct place *place = *state;

	cli_close(&place->cli);
	free(place->file);
	free(place);
	return 0;
}

/* The command with the culprit as the run's adapter, compiled with one fault. */
static void
run(struct place *place, const char *command, const char *flag)
{
	(void)unlink(place->file);
	plugin_compile(SOURCE, place->file, flag);
	(void)cli_run(&place->cli, command, "run.ini", "--plugin-dir", "p", NULL);
}

struct row {
	const char *flag;
	int code;
	const char *says, *too;
};

static void
expect_each(struct place *place, const char *command, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		run(place, command, rows[i].flag);
		if (place->cli.code != rows[i].code)
			print_message("%s\n", rows[i].flag);
		cli_expect(&place->cli, rows[i].code, rows[i].says, rows[i].too ? rows[i].too : "",
			NULL);
	}
}

#define EXPECT_EACH(place, command, rows)                                                          \
	expect_each(place, command, rows, sizeof(rows) / sizeof *(rows))

/* Would catch: faults that are found in a sound plugin, too. */
static void
test_plugin_faults_sound_one_trains(void **state)
{
	run(*state, "train", NULL);
	cli_expect(&((struct place *)*state)->cli, 0, NULL);
}

static void
test_plugin_faults_gradient_of_other_shape_is_named(void **state)
{
	static const struct row rows[] = {
		{"-DCULPRIT_DX_SHAPE", 6, "[culprit.so: culprit_twice] backward(): ",
			"dx[0] comes back as f32[1,4], not f32[text,4]"},
		{"-DCULPRIT_DX_COLS", 6, "[culprit.so: culprit_twice] backward(): ",
			"dx[0] comes back as f32[text,3], not f32[text,4]"},
		{"-DCULPRIT_DX_ID", 6, "[culprit.so: culprit_twice] backward(): ",
			"dx[0] comes back as no node of this graph, not f32[text,4]"},
	};

	EXPECT_EACH(*state, "check", rows);
}

static void
test_plugin_faults_gradient_that_is_missing_is_named(void **state)
{
	static const struct row rows[] = {
		{"-DCULPRIT_DX_NONE", 6, "[culprit.so: culprit_twice] backward(): ",
			"dx[0] is wanted and comes back as none"},
	};

	EXPECT_EACH(*state, "check", rows);
}

static void
test_plugin_faults_hook_that_calls_a_site_is_refused(void **state)
{
	static const struct row rows[] = {
		{"-DCULPRIT_LINEAR", 6,
			"[culprit] output(): hone_linear is for architectures; a product with a "
			"weight is hone_matmul_nt",
			NULL},
		{"-DCULPRIT_NORM", 6, "[culprit] output(): hone_norm is for architectures", NULL},
		{"-DCULPRIT_EMBED", 6, "[culprit] output(): embed is for architectures", NULL},
		{"-DCULPRIT_ATTENTION", 6, "[culprit] output(): attention is for architectures",
			NULL},
		{"-DCULPRIT_HIDDEN", 6, "[culprit] output(): hidden is for architectures", NULL},
		{"-DCULPRIT_HEAD", 6, "[culprit] output(): head is for objectives", NULL},
	};

	EXPECT_EACH(*state, "check", rows);
}

static void
test_plugin_faults_node_that_does_not_exist_is_refused(void **state)
{
	static const struct row rows[] = {
		{"-DCULPRIT_STOP_ID", 6, "[culprit] output(): ", "no node of this graph"},
		{"-DCULPRIT_DROPOUT_ID", 6, "[culprit] output(): ", "dropout of "},
		{"-DCULPRIT_HIDDEN_ID", 6,
			"[culprit] hidden(): ", "h comes back as no node of this graph"},
	};

	EXPECT_EACH(*state, "check", rows);
}

static void
test_plugin_faults_crash_is_named_and_keeps_its_signal(void **state)
{
	static const struct row rows[] = {
		{"-DCULPRIT_SEGV", 128 + SIGSEGV, "error: [culprit] output() at model.layers.0.",
			": segmentation fault in the plugin"},
		{"-DCULPRIT_FPE", 128 + SIGFPE, "error: [culprit] output() at model.layers.0.",
			": arithmetic fault in the plugin"},
		{"-DCULPRIT_ILL", 128 + SIGILL, "error: [culprit] output() at model.layers.0.",
			": illegal instruction in the plugin"},
		{"-DCULPRIT_ABRT", 128 + SIGABRT, "error: [culprit] output() at model.layers.0.",
			": abort in the plugin"},
		{"-DCULPRIT_STACK", 128 + SIGSEGV, "error: [culprit] output() at model.layers.0.",
			": segmentation fault in the plugin"},
		{"-DCULPRIT_DECLARE_SEGV", 128 + SIGSEGV,
			"error: [culprit] declare(): ", "segmentation fault in the plugin"},
	};

	EXPECT_EACH(*state, "check", rows);
}

static void
test_plugin_faults_crash_of_an_op_is_named(void **state)
{
	static const struct row rows[] = {
		{"-DCULPRIT_RUN_SEGV", 128 + SIGSEGV,
			"error: [culprit.so: culprit_twice] run() at model.layers.0.",
			": segmentation fault in the plugin"},
	};

	EXPECT_EACH(*state, "train", rows);
}

static void
test_plugin_faults_exit_in_a_plugin_is_exit_6(void **state)
{
	static const struct row rows[] = {
		{"-DCULPRIT_EXIT", 6, "error: [culprit] output() at model.layers.0.",
			": the plugin ended the process"},
		{"-DCULPRIT_EXIT_AT_START", 6,
			"error: [culprit.so] dlopen(): ", "the plugin ended the process"},
	};

	EXPECT_EACH(*state, "check", rows);
}

static void
test_plugin_faults_silent_failure_gets_words(void **state)
{
	static const struct row built[] = {
		{"-DCULPRIT_SILENT", 6, "[culprit] output(): ", "failed with status "},
		{"-DCULPRIT_INFER_SILENT", 6,
			"[culprit.so: culprit_twice] infer(): ", "failed with status "},
	};
	static const struct row ran[] = {
		{"-DCULPRIT_RUN_SILENT", 6,
			"[culprit.so: culprit_twice] run(): ", "failed with status "},
		{"-DCULPRIT_RUN_SAYS", 7,
			"[culprit.so: culprit_twice] run(): ", "the disk drum stands still"},
	};

	EXPECT_EACH(*state, "check", built);
	EXPECT_EACH(*state, "train", ran);
}

static void
test_plugin_faults_plan_says_who_runs_an_op(void **state)
{
	struct place *place = *state;

	run(place, "plan", NULL);
	cli_expect(&place->cli, 0, NULL);
	assert_non_null(strstr(place->cli.out, " commands are run by culprit.so: culprit_twice\n"));
	assert_null(strstr(place->cli.out, "does not know operation"));
	(void)cli_run(&place->cli, "plan", "run.ini", "--plugin-dir", "p", "--set",
		"run.backend=cpu", NULL);
	cli_expect(&place->cli, 0, NULL);
	assert_non_null(strstr(place->cli.out, " commands are run by culprit.so: culprit_twice\n"));
	assert_null(strstr(place->cli.out, "does not know operation"));
	assert_null(strstr(place->cli.out, "reference backend"));
}

static void
test_plugin_faults_merge_without_a_merge_hook_is_said_of_the_plugin(void **state)
{
	struct place *place = *state;

	run(place, "train", NULL);
	cli_expect(&place->cli, 0, NULL);
	(void)cli_run(&place->cli, "export", "run.ini", "--merge", "--to", "merged", "--plugin-dir",
		"p", NULL);
	cli_expect(&place->cli, 3, "[culprit] has no merge()", NULL);
	assert_null(strstr(place->cli.err, "model.embed_tokens"));
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PLACE(test_plugin_faults_sound_one_trains),
		WITH_PLACE(test_plugin_faults_gradient_of_other_shape_is_named),
		WITH_PLACE(test_plugin_faults_gradient_that_is_missing_is_named),
		WITH_PLACE(test_plugin_faults_hook_that_calls_a_site_is_refused),
		WITH_PLACE(test_plugin_faults_node_that_does_not_exist_is_refused),
		WITH_PLACE(test_plugin_faults_crash_is_named_and_keeps_its_signal),
		WITH_PLACE(test_plugin_faults_crash_of_an_op_is_named),
		WITH_PLACE(test_plugin_faults_exit_in_a_plugin_is_exit_6),
		WITH_PLACE(test_plugin_faults_silent_failure_gets_words),
		WITH_PLACE(test_plugin_faults_plan_says_who_runs_an_op),
		WITH_PLACE(test_plugin_faults_merge_without_a_merge_hook_is_said_of_the_plugin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
