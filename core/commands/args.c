/*
 * args.c - the command line: flags by table, help, and the way from argv to a command.
 */
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/guard.h"
#include "commands/command.h"

enum { LARGE_BLOCK_BYTES = 256 << 10 };

/* Flags that every command has. */
static const struct hn_flag common[] = {
	{"--set", HN_FLAG_LIST, HN_ARG(sets), "SECTION.KEY=VALUE",
		"override a key of the configuration; may be given again"},
	{"--plugin-dir", HN_FLAG_LIST, HN_ARG(plugin_dirs), "DIR", "look for plugins there first"},
	{"--json", HN_FLAG_BOOL, HN_ARG(json), NULL, "print the result as one JSON document"},
	{"--quiet", HN_FLAG_BOOL, HN_ARG(quiet), NULL, "warnings and errors only"},
	{"--help", HN_FLAG_BOOL, HN_ARG(help), NULL, "this text"},
};

const struct hn_command_spec *const *
hn_commands(size_t *n)
{
	static const struct hn_command_spec *const all[] = {&hn_command_train, &hn_command_eval,
		&hn_command_generate, &hn_command_export, &hn_command_check, &hn_command_plan,
		&hn_command_plugins, &hn_command_explain, &hn_command_inspect,
		&hn_command_tokenizer, &hn_command_version};

	*n = sizeof all / sizeof all[0];
	return all;
}

static const struct hn_flag *
find_flag(const struct hn_command_spec *command, const char *name, size_t len)
{
	for (size_t i = 0; i < command->n_flags; i++)
		if (strlen(command->flags[i].name) == len &&
			strncmp(command->flags[i].name, name, len) == 0)
			return &command->flags[i];
	for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
		if (strlen(common[i].name) == len && strncmp(common[i].name, name, len) == 0)
			return &common[i];
	return NULL;
}

static enum hone_status
fail_flag(const struct hn_command_spec *command, const char *word, struct hone_error *err)
{
	const char *names[64];
	const char *near;
	size_t n = 0;

	for (size_t i = 0; i < command->n_flags && n < 56; i++)
		names[n++] = command->flags[i].name;
	for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
		names[n++] = common[i].name;
	near = hn_nearest(word, names, n);
	return hone_fail(err, HONE_EUSAGE,
		"hone %s has no flag '%s'%s%s%s; hone %s --help lists them", command->name, word,
		near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", command->name);
}

static void
add_word(struct hn_words *words, const char *word)
{
	words->items = hn_grow(words->items, &words->cap, words->n + 1, sizeof *words->items);
	words->items[words->n++] = word;
}

static enum hone_status
take_flag(struct hn_args *args, const struct hn_command_spec *command, int argc, char **argv,
	int *i, struct hone_error *err)
{
	const char *word = argv[*i], *equals = strchr(word, '=');
	const size_t len = equals ? (size_t)(equals - word) : strlen(word);
	const struct hn_flag *flag = find_flag(command, word, len);
	void *at;
	const char *value;

	if (!flag)
		return fail_flag(command, word, err);
	at = (char *)args + flag->offset;
	if (flag->kind == HN_FLAG_BOOL) {
		if (equals)
			return hone_fail(err, HONE_EUSAGE, "%s takes no value", flag->name);
		*(bool *)at = true;
		return HONE_OK;
	}
	value = equals ? equals + 1 : *i + 1 < argc ? argv[++*i] : NULL;
	if (!value)
		return hone_fail(err, HONE_EUSAGE, "%s needs a value: %s %s", flag->name,
			flag->name, flag->value);
	if (flag->kind == HN_FLAG_TEXT) {
		*(const char **)at = value;
		return HONE_OK;
	}
	add_word(at, value);
	while (flag->kind == HN_FLAG_MANY && *i + 1 < argc && !hn_starts_with(argv[*i + 1], "--"))
		add_word(at, argv[++*i]);
	return HONE_OK;
}

enum hone_status
hn_args_parse(struct hn_args *args, const struct hn_command_spec *command, int argc, char **argv,
	struct hone_error *err)
{
	enum hone_status st = HONE_OK;

	memset(args, 0, sizeof *args);
	for (int i = 2; i < argc && !st; i++) {
		if (hn_starts_with(argv[i], "--"))
			st = take_flag(args, command, argc, argv, &i, err);
		else if (argv[i][0] == '-' && argv[i][1])
			st = fail_flag(command, argv[i], err);
		else if (args->path || !command->words[0])
			st = hone_fail(err, HONE_EUSAGE, "hone %s: '%s' is one word too many",
				command->name, argv[i]);
		else
			args->path = argv[i];
	}
	if (!st && !args->help && !args->path && command->words[0] && command->words[0] != '[')
		st = hone_fail(err, HONE_EUSAGE, "hone %s needs %s: hone %s %s", command->name,
			command->words, command->name, command->words);
	return st;
}

void
hn_args_fini(struct hn_args *args)
{
	free(args->sets.items);
	free(args->plugin_dirs.items);
	free(args->train.items);
	memset(args, 0, sizeof *args);
}

/* ---- help ---- */

static void
put_flag(struct hn_str *out, const struct hn_flag *flag)
{
	char left[64];

	(void)snprintf(left, sizeof left, "%s%s%s", flag->name, flag->value ? " " : "",
		flag->value ? flag->value : "");
	hn_str_printf(out, "  %-28s %s\n", left, flag->help);
}

static void
put_help(struct hn_str *out, const struct hn_command_spec *command)
{
	hn_str_printf(
		out, "hone %s %s\n\n%s.\n\n", command->name, command->words, command->summary);
	for (size_t i = 0; i < command->n_flags; i++)
		put_flag(out, &command->flags[i]);
	for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
		put_flag(out, &common[i]);
}

static void
put_usage(struct hn_str *out)
{
	const struct hn_command_spec *const *all;
	size_t n;

	hn_str_puts(out, "hone - fine-tuning of transformer models from one INI file\n\n");
	all = hn_commands(&n);
	for (size_t i = 0; i < n; i++)
		hn_str_printf(out, "  hone %-10s %-20s %s\n", all[i]->name, all[i]->words,
			all[i]->summary);
	hn_str_puts(out, "\nhone COMMAND --help says more.\n");
}

/* ---- from argv to a command ---- */

static const struct hn_command_spec *
find_command(const char *name, struct hone_error *err)
{
	const char *names[32];
	const struct hn_command_spec *const *all;
	const char *near;
	size_t n;

	all = hn_commands(&n);
	for (size_t i = 0; i < n; i++) {
		if (hn_streq(all[i]->name, name))
			return all[i];
		names[i] = all[i]->name;
	}
	near = hn_nearest(name, names, n);
	(void)hone_fail(err, HONE_EUSAGE, "no command '%s'%s%s%s; hone --help lists them", name,
		near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
	return NULL;
}

static int
exit_code(int32_t status, int32_t signal)
{
	return status == HONE_EINTERRUPTED && signal ? 128 + signal : hn_exit_code(status);
}

/* Presets: etc/presets of a build tree, or share/hone/presets of an installation; "" = none. */
static void
find_presets(char *out, size_t n)
{
	static const char *const places[] = {"../share/hone/presets", "../../etc/presets"};
	char exe[PATH_MAX] = {0};
	const ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
	char *dir = hn_path_dir(len > 0 ? exe : ".");

	out[0] = '\0';
	for (size_t i = 0; i < sizeof places / sizeof places[0] && !out[0]; i++) {
		char *path = hn_path_join(dir, places[i]);

		if (hn_path_is_dir(path))
			(void)snprintf(out, n, "%s", path);
		free(path);
	}
	free(dir);
}

struct hn_run_request
hn_context_request(const struct hn_context *context)
{
	const struct hn_args *args = context->args;

	return (struct hn_run_request){.path = args->path,
		.sets = args->sets.items,
		.n_sets = args->sets.n,
		.plugin_dirs = args->plugin_dirs.items,
		.n_plugin_dirs = args->plugin_dirs.n,
		.builtins = context->builtins,
		.n_builtins = context->n_builtins,
		.preset_dir = context->preset_dir,
		.log = context->log};
}

enum hone_status
hn_flag_i64(const char *text, const char *flag, int64_t otherwise, int64_t min, int64_t *out,
	struct hone_error *err)
{
	*out = otherwise;
	if (text && (!hn_parse_i64(text, out) || *out < min))
		return hone_fail(err, HONE_EUSAGE, "%s '%s' is no whole number from %lld on", flag,
			text, (long long)min);
	return HONE_OK;
}

enum hone_status
hn_flag_f64(
	const char *text, const char *flag, double otherwise, double *out, struct hone_error *err)
{
	*out = otherwise;
	if (text && (!hn_parse_f64(text, out) || *out < 0.0))
		return hone_fail(err, HONE_EUSAGE, "%s '%s' is no number from 0 on", flag, text);
	return HONE_OK;
}

static enum hone_status
dispatch(int argc, char **argv, struct hn_context *context, struct hone_error *err)
{
	const struct hn_command_spec *command;
	struct hn_args args = {0};
	enum hone_status st;

	if (argc < 2 || hn_streq(argv[1], "--help") || hn_streq(argv[1], "-h") ||
		hn_streq(argv[1], "help")) {
		put_usage(context->out);
		return argc < 2 ? hone_fail(err, HONE_EUSAGE, "no command") : HONE_OK;
	}
	command = find_command(hn_streq(argv[1], "--version") ? "version" : argv[1], err);
	if (!command)
		return HONE_EUSAGE;
	st = hn_args_parse(&args, command, argc, argv, err);
	context->args = &args;
	context->log->is_quiet = args.quiet;
	if (!st && args.help)
		put_help(context->out, command);
	else if (!st)
		st = command->run(context, err);
	hn_args_fini(&args);
	return st;
}

int
hn_main(int argc, char **argv, const struct hone_plugin *const *builtins, size_t n_builtins)
{
	char presets[PATH_MAX];
	struct hn_log log;
	struct hn_str out = {0};
	struct hone_error err = {0};
	struct hn_context context = {.log = &log,
		.builtins = builtins,
		.n_builtins = n_builtins,
		.out = &out,
		.stream = stdout,
		.is_colour_out = isatty(STDOUT_FILENO) && !getenv("NO_COLOR")};
	enum hone_status st;

	/* A large block goes back to the system when it is freed, whatever was freed before it:
	 * what a run holds is what its plan says. */
	(void)mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	hn_guard_install();
	hn_log_init(&log, stderr);
	if (getenv("NO_COLOR"))
		log.has_colour = false;
	find_presets(presets, sizeof presets);
	context.preset_dir = presets[0] ? presets : NULL;
	st = dispatch(argc, argv, &context, &err);
	if (out.len && (fwrite(out.text, 1, out.len, stdout) != out.len || fflush(stdout))) {
		if (errno == EPIPE) { /* nobody reads any more: as a shell reports SIGPIPE */
			hn_str_fini(&out);
			return 141;
		}
		if (!st)
			st = hone_fail(&err, HONE_EIO, "the result could not be written to stdout");
	}
	hn_str_fini(&out);
	hn_log_progress_end(&log);
	if (st && err.text[0]) {
		err.status = (int32_t)st;
		hn_log_error(&log, &err);
	}
	return exit_code((int32_t)st, err.reserved);
}
