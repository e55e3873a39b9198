/*
 * test_malformed_plugins.c - the catalogue of bad plugins (69 to 79), as the program's user
 * meets them: exit code 6, the file, what is wrong with it, what to do.
 *
 * What the loader sees in a file is looked at one by one in tests/abi/test_loader.c.  Would
 * catch: a refusal that is lost on its way to the user, the exit code of another fault, a plugin
 * that makes the run unstoppable or its numbers unreadable.  73 asks for processor features in
 * the note, which has none: a plugin chooses its code itself, as backends/cpu does.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "cli.h"
#include "probe.h"
#include "support.h"

struct place {
	struct cli cli;
	char *dir, *file; /* of the plugin: p/probe.so */
};

static int
set_up(void **state)
{
	struct place *place = calloc(1, sizeof *place);

	cli_open(&place->cli, NULL);
	place->dir = hn_path_join(place->cli.folder, "p");
	place->file = hn_path_join(place->dir, "probe.so");
	assert_int_equal(mkdir(place->dir, 0755), 0);
	*state = place;
	return 0;
}

static int
tear_down(void **state)
{
	struct place *place = *state;

	cli_close(&place->cli);
	free(place->dir);
	free(place->file);
	free(place);
	return 0;
}

/* `hone check` of a run that wants LoRA and the probe. */
static void
check(struct place *place)
{
	(void)cli_run(&place->cli, "check", "run.ini", "--plugin-dir", "p", "--set",
		"run.adapter=lora, probe", NULL);
}

/* Would catch: a check that fails whatever the plugin is. */
static void
test_malformed_plugins_sound_one_is_used(void **state)
{
	struct place *place = *state;

	probe_compile(place->file, NULL, NULL);
	check(place);
	cli_expect(&place->cli, 0, NULL);
}

static void
test_malformed_plugins_69_absent_one_is_sought_in_words(void **state)
{
	struct place *place = *state;
	struct cli *cli = &place->cli;
	char *other = hn_path_join(place->dir, "other.so");

	(void)cli_run(
		cli, "check", "run.ini", "--set", "run.adapter=loar", "--plugin-dir", "p", NULL);
	cli_expect(cli, 3, "no adapter 'loar'; did you mean 'lora'?", "looked in ", place->dir,
		"/lib/hone", NULL);
	(void)cli_run(cli, "check", "run.ini", "--set", "run.objective=zzzz", NULL);
	cli_expect(cli, 3, "no objective 'zzzz'; there are ", "sft", "looked in ", NULL);
	(void)cli_run(cli, "check", "run.ini", "--set", "run.backend=zzzz", NULL);
	cli_expect(cli, 3, "no backend 'zzzz'; there are ", "cpu", NULL);
	/* what was refused may be what was meant */
	probe_compile(other, "-DPROBE_NO_NOTE", NULL);
	check(place);
	cli_expect(cli, 3, "no adapter 'probe'", "refused: ", "other.so: note: found no .note.hone",
		NULL);
	(void)cli_run(cli, "check", "run.ini", "--plugin-dir", "none", NULL);
	cli_expect(cli, 2, "none: --plugin-dir: there is no such folder", NULL);
	(void)cli_run(cli, "plugins", "--plugin-dir", "run.ini", NULL);
	cli_expect(cli, 2, "run.ini: --plugin-dir: there is no such folder", NULL);
	free(other);
}

/* 70, 71, 74, 77, 78: one fault of the file each. */
static void
test_malformed_plugins_70_to_78_faults_exit_6_with_field(void **state)
{
	static const struct {
		int entry;
		const char *flag, *says;
	} rows[] = {
		{70, "-DPROBE_MISSING_SYMBOL", "hone_symbol_that_nobody_has"},
		{71, "-DPROBE_ABI", "abi: found 0.2"},
		{71, "-DPROBE_PLUGIN_SIZE", "plugin.struct_size: found 16 bytes, expected"},
		{71, "-DPROBE_VT_SIZE", "adapter 'probe'.vt.struct_size: found 8 bytes, expected"},
		{74, "-DPROBE_FACTORY_TWICE", "found 'probe' twice"},
		{76, "-DPROBE_FAST_MATH", "floating-point state: its start-up code changed"},
		{77, "-DPROBE_VT_MEMBER", "adapter 'probe'.vt.declare: found NULL"},
		{77, "-DPROBE_NULL_CREATE", "probe.create (it has a destroy): found NULL"},
		{78, "-DPROBE_SECTION_NAME", "expected none of hone's own sections"},
		{78, "-DPROBE_OPTION_TWICE", "option 'rank' stands twice"},
	};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		(void)unlink(place->file);
		probe_compile(place->file, rows[i].flag, NULL);
		check(place);
		if (place->cli.code != 6)
			print_message("%d %s\n", rows[i].entry, rows[i].flag);
		cli_expect(&place->cli, 6, "probe.so was refused: ", rows[i].says, NULL);
	}
}

static void
test_malformed_plugins_72_file_that_others_can_write_is_refused(void **state)
{
	struct place *place = *state;

	probe_compile(place->file, NULL, NULL);
	assert_int_equal(chmod(place->file, 0666), 0);
	check(place);
	cli_expect(&place->cli, 6, "probe.so was refused: permissions: found 0666", "chmod go-w",
		NULL);
	assert_int_equal(chmod(place->file, 0644), 0);
	assert_int_equal(chmod(place->dir, 0777), 0);
	check(place);
	cli_expect(
		&place->cli, 3, "no adapter 'probe'", "refused: ", "permissions: found 0777", NULL);
}

static void
test_malformed_plugins_73_file_of_another_machine_is_refused(void **state)
{
	struct place *place = *state;
	FILE *file;

	probe_compile(place->file, NULL, NULL);
	file = fopen(place->file, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, 18, SEEK_SET), 0); /* e_machine: SPARC */
	assert_int_equal(fwrite("\2", 1, 2, file), 2);
	assert_int_equal(fclose(file), 0);
	check(place);
	cli_expect(&place->cli, 6, "probe.so was refused: ELF machine: found 2, expected", NULL);
}

/* 74, 78: two files that give the same name, and the same section with other keys. */
static void
test_malformed_plugins_74_second_file_of_a_name_is_refused(void **state)
{
	static const char *const flags[] = {NULL, "-DPROBE_ROLE"};
	struct place *place = *state;
	char *other = hn_path_join(place->dir, "other.so");

	probe_compile(place->file, NULL, NULL);
	for (int i = 0; i < 2; i++) {
		(void)unlink(other);
		probe_compile(other, "-DPROBE_ID", flags[i]);
		(void)cli_run(&place->cli, "plugins", "--plugin-dir", "p", NULL);
		cli_expect(&place->cli, 0, NULL);
		assert_non_null(strstr(place->cli.out, "refused: "));
		assert_non_null(strstr(place->cli.out, "expected a name that is free"));
		(void)unlink(place->file); /* the one that came second, in the order of names */
		probe_compile(place->file, NULL, NULL);
	}
	free(other);
}

/* 76: Would catch: a run that SIGINT no longer ends, because some library ignored it. */
static void
test_malformed_plugins_76_signals_are_put_back(void **state)
{
	static const char *const words[] = {"train", "run.ini", "--plugin-dir", "p", "--set",
		"run.adapter=lora, probe", "--set", "train.num_train_epochs=100000", NULL};
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	struct place *place = *state;
	struct cli *cli = &place->cli;
	int has = 0;

	probe_compile(place->file, "-DPROBE_SIGNALS", NULL);
	(void)cli_run(cli, "plugins", "--plugin-dir", "p", NULL);
	cli_expect(cli, 0, NULL);
	assert_non_null(
		strstr(cli->out, "probe.so: its start-up code changed the handling of SIGINT"));
	cli_write(cli, "stderr", "");
	cli_start(cli, words);
	for (int i = 0; i < 1500 && !has; i++) {
		char *said = cli_read(cli, "stderr");

		has = strstr(said, "\nstep ") != NULL;
		free(said);
		(void)nanosleep(&pause, NULL);
	}
	(void)kill(cli->child, SIGINT);
	for (int i = 0; i < 500 && !kill(cli->child, 0); i++) { /* a mutant must not hang here */
		char *said = cli_read(cli, "stderr");
		const int is_over = strstr(said, "goes on") != NULL;

		free(said);
		if (is_over)
			break;
		(void)nanosleep(&pause, NULL);
		if (i == 499)
			(void)kill(cli->child, SIGKILL);
	}
	(void)cli_wait(cli);
	cli_expect(cli, 130,
		"warning: probe: plugin probe changed the handling of SIGINT, the handling of "
		"SIGTERM, the handling of SIGPIPE, the mask of signals",
		"the same command goes on", NULL);
}

/* 77: what a function of a plugin gives back. */
static void
test_malformed_plugins_77_failing_calls_are_named(void **state)
{
	static const struct {
		const char *flag;
		int code;
		const char *says;
	} rows[] = {
		{"-DPROBE_CREATE_STATUS", 6, "plugin probe failed with status 4242 and no word"},
		{"-DPROBE_DECLARE_STATUS", 6,
			"the plugin failed with status 4242 and no word; report it to its author "
			"(while probe declares its parameters)"},
		{"-DPROBE_DECLARE_FAILS", 3, "the plugin failed with status 11 and no word"},
		{"-DPROBE_CREATE_SAYS", 3, "[probe]: rank = 8 does not fit"},
	};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		(void)unlink(place->file);
		probe_compile(place->file, rows[i].flag, NULL);
		check(place);
		cli_expect(&place->cli, rows[i].code, rows[i].says, NULL);
	}
}

/* 79: a library that this system lacks, as with a build for another C library. */
static void
test_malformed_plugins_79_missing_library_is_named(void **state)
{
	struct place *place = *state;
	char *needed = hn_path_join(place->cli.folder, "libneeded.so.7");

	probe_compile(needed, "-DPROBE_NO_SYMBOL", "-Wl,-soname,libneeded.so.7");
	{
		const char *argv[] = {HONE_TEST_CC, "-shared", "-fPIC", "-fvisibility=hidden",
			"-I" HONE_SOURCE_DIR "/sdk/include", "-D_GNU_SOURCE", "-o", place->file,
			HONE_SOURCE_DIR "/tests/abi/plugins/probe.c", "-Wl,--no-as-needed", needed,
			NULL};

		test_run(argv);
	}
	assert_int_equal(unlink(needed), 0);
	check(place);
	cli_expect(&place->cli, 6, "probe.so was refused: dlopen: libneeded.so.7: ",
		"install what is missing, or build it against this system", NULL);
	free(needed);
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PLACE(test_malformed_plugins_sound_one_is_used),
		WITH_PLACE(test_malformed_plugins_69_absent_one_is_sought_in_words),
		WITH_PLACE(test_malformed_plugins_70_to_78_faults_exit_6_with_field),
		WITH_PLACE(test_malformed_plugins_72_file_that_others_can_write_is_refused),
		WITH_PLACE(test_malformed_plugins_73_file_of_another_machine_is_refused),
		WITH_PLACE(test_malformed_plugins_74_second_file_of_a_name_is_refused),
		WITH_PLACE(test_malformed_plugins_76_signals_are_put_back),
		WITH_PLACE(test_malformed_plugins_77_failing_calls_are_named),
		WITH_PLACE(test_malformed_plugins_79_missing_library_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
