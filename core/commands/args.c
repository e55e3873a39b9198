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

#include <jansson.h>

#include "base/arena.h"
#include "base/guard.h"
#include "commands/command.h"
#include "config/host_options.h"

enum { LARGE_BLOCK_BYTES = 256 << 10, FLAGS_MAX = 64 };

/* Flags of more than one command, and what a command must take to have them (0: all have). */
static const struct {
	struct hn_flag flag;
	uint32_t takes;
} shared[] = {
	{{"--set", HN_FLAG_LIST, HN_ARG(sets), "SECTION.KEY=VALUE",
		 "override a key of the configuration; may be given again"},
		HN_TAKES_CONFIG},
	{{"--plugin-dir", HN_FLAG_LIST, HN_ARG(plugin_dirs), "DIR",
		 "look for plugins there first; may be given again"},
		HN_TAKES_PLUGINS},
	{{"--json", HN_FLAG_BOOL, HN_ARG(json), NULL, "print the result as one JSON document"}, 0},
	{{"--quiet", HN_FLAG_BOOL, HN_ARG(quiet), NULL, "warnings and errors only"}, 0},
	{{"--help", HN_FLAG_BOOL, HN_ARG(help), NULL, "this text"}, 0},
};

const struct hn_flag *
hn_command_flag(const struct hn_command_spec *command, size_t i)
{
	if (i < command->n_flags)
		return &command->flags[i];
	i -= command->n_flags;
	for (size_t k = 0; k < sizeof shared / sizeof shared[0]; k++) {
		if ((shared[k].takes & command->takes) != shared[k].takes)
			continue;
		if (i-- == 0)
			return &shared[k].flag;
	}
	return NULL;
}

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
	const struct hn_flag *flag;

	for (size_t i = 0; (flag = hn_command_flag(command, i)); i++)
		if (strlen(flag->name) == len && strncmp(flag->name, name, len) == 0)
			return flag;
	return NULL;
}

/* A word of the command line for a message: cut, because it may be a megabyte. */
static const char *
shown(struct hn_arena *arena, const char *word)
{
	return hn_clip(arena, word, strlen(word));
}

static enum hone_status
fail_flag(const struct hn_command_spec *command, const char *word, struct hone_error *err)
{
	struct hn_arena arena = {0};
	const char *names[FLAGS_MAX], *near;
	const char *name = hn_arena_strndup(&arena, word, strcspn(word, "="));
	size_t n = 0;

	for (const struct hn_flag *flag; n < FLAGS_MAX && (flag = hn_command_flag(command, n)); n++)
		names[n] = flag->name;
	near = hn_nearest(name, names, n);
	(void)hone_fail(err, HONE_EUSAGE,
		"hone %s has no flag '%s'%s%s%s; hone %s --help lists them", command->name,
		shown(&arena, name), near ? "; did you mean '" : "", near ? near : "",
		near ? "'?" : "", command->name);
	hn_arena_fini(&arena);
	return HONE_EUSAGE;
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
	value = equals ? equals + 1 : *i + 1 < argc ? argv[*i + 1] : NULL;
	if (!value || (!equals && hn_starts_with(value, "--")))
		return hone_fail(err, HONE_EUSAGE, "%s needs a value: %s %s%s", flag->name,
			flag->name, flag->value,
			value ? " (one that begins with -- is written behind a '=')" : "");
	*i += !equals;
	if (flag->kind == HN_FLAG_TEXT) {
		if (*(const char **)at)
			return hone_fail(
				err, HONE_EUSAGE, "%s is given twice; keep one", flag->name);
		*(const char **)at = value;
		return HONE_OK;
	}
	add_word(at, value);
	while (flag->kind == HN_FLAG_MANY && *i + 1 < argc && !hn_starts_with(argv[*i + 1], "--"))
		add_word(at, argv[++*i]);
	return HONE_OK;
}

/* A word that is no flag. */
static enum hone_status
take_word(struct hn_args *args, const struct hn_command_spec *command, const char *word,
	struct hone_error *err)
{
	struct hn_arena arena = {0};
	enum hone_status st = HONE_OK;

	if (args->path || !command->words[0])
		st = hone_fail(err, HONE_EUSAGE, "hone %s: '%s' is one word too many",
			command->name, shown(&arena, word));
	else if (!word[0])
		st = hone_fail(err, HONE_EUSAGE, "hone %s: an empty word; it takes %s",
			command->name, command->words);
	else
		args->path = word;
	hn_arena_fini(&arena);
	return st;
}

enum hone_status
hn_args_parse(struct hn_args *args, const struct hn_command_spec *command, int argc, char **argv,
	struct hone_error *err)
{
	enum hone_status st = HONE_OK;
	bool is_open = true; /* flags may come */

	memset(args, 0, sizeof *args);
	for (int i = 2; i < argc && !st; i++) {
		if (is_open && hn_streq(argv[i], "--"))
			is_open = false;
		else if (is_open && hn_streq(argv[i], "-h"))
			args->help = true;
		else if (is_open && hn_starts_with(argv[i], "--"))
			st = take_flag(args, command, argc, argv, &i, err);
		else if (is_open && argv[i][0] == '-' && argv[i][1])
			st = fail_flag(command, argv[i], err);
		else
			st = take_word(args, command, argv[i], err);
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

void
hn_command_help(const struct hn_command_spec *command, struct hn_str *out)
{
	const struct hn_flag *flag;

	hn_str_printf(
		out, "hone %s %s\n\n%s.\n\n", command->name, command->words, command->summary);
	for (size_t i = 0; (flag = hn_command_flag(command, i)); i++)
		put_flag(out, flag);
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
	hn_str_puts(out,
		"\nhone COMMAND --help says more.  README.md has a configuration to begin with.\n");
}

/* ---- from argv to a command ---- */

static const struct hn_command_spec *
find_command(const char *name, struct hone_error *err)
{
	const char *names[32];
	const struct hn_command_spec *const *all;
	struct hn_arena arena = {0};
	const char *near;
	size_t n;

	all = hn_commands(&n);
	for (size_t i = 0; i < n; i++) {
		if (hn_streq(all[i]->name, name))
			return all[i];
		names[i] = all[i]->name;
	}
	near = hn_nearest(name, names, n);
	(void)hone_fail(err, HONE_EUSAGE, "no command '%s'%s%s%s; hone --help lists them",
		shown(&arena, name), near ? "; did you mean '" : "", near ? near : "",
		near ? "'?" : "");
	hn_arena_fini(&arena);
	return NULL;
}

static int
exit_code(int32_t status, int32_t signal)
{
	return status == HONE_EINTERRUPTED && signal ? 128 + signal : hn_exit_code(status);
}

/* Whether the command ended because nobody reads its result any more. */
static bool
is_unread(const struct hone_error *err)
{
	return err->status == HONE_EINTERRUPTED && err->reserved == SIGPIPE;
}

/* The reader of a pipe that had enough (`| head`) is not told so: no text, and the code with
 * which a shell reports SIGPIPE, 141.  That the signal itself is ignored lets a run come to
 * its end first. */
enum hone_status
hn_show(FILE *stream, const char *bytes, size_t n, struct hone_error *err)
{
	if (fwrite(bytes, 1, n, stream) == n && !fflush(stream))
		return HONE_OK;
	if (errno != EPIPE)
		return hone_fail(err, HONE_EIO, "the result could not be written to stdout");
	(void)hone_fail(err, HONE_EINTERRUPTED, "%s", "");
	if (err)
		err->reserved = SIGPIPE;
	return HONE_EINTERRUPTED;
}

/* Presets: share/hone/presets of an installation, or etc/presets of a tree that is built in build/
 * or in a folder of it, as quickstart and check do; "" = none. */
static void
find_presets(char *out, size_t n)
{
	static const char *const places[] = {
		"../share/hone/presets", "../../etc/presets", "../../../etc/presets"};
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
		return hone_fail(err, HONE_EUSAGE, "%s '%.60s' is no whole number from %lld on",
			flag, text, (long long)min);
	return HONE_OK;
}

enum hone_status
hn_flag_generate(const char *text, const char *flag, const char *key, double otherwise, double *out,
	struct hone_error *err)
{
	const struct hn_option_ground ground = {0}; /* numbers need none */
	const struct hone_options *options = NULL;
	const struct hn_config_table *tables;
	struct hn_option_value value;
	struct hone_option row;
	size_t n;
	enum hone_status st;

	*out = otherwise;
	if (!text)
		return HONE_OK;
	tables = hn_host_tables(&n);
	for (size_t i = 0; i < n; i++)
		if (hn_streq(tables[i].name, "generate"))
			options = tables[i].options;
	row = hn_options_at(options, (uint32_t)hn_options_find(options, key));
	row.key = flag;
	st = hn_option_parse(&row, text, &ground, &value, err);
	if (st)
		return HONE_EUSAGE;
	*out = row.type == HONE_OPTION_I64 ? (double)value.i64 : value.f64;
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
		hn_command_help(command, context->out);
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
		.is_terminal_out = isatty(STDOUT_FILENO)};
	enum hone_status st;

	/* A large block goes back to the system when it is freed, whatever was freed before it:
	 * what a run holds is what its plan says. */
	(void)mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	hn_guard_install();
	json_set_alloc_funcs(hn_alloc, free); /* else a lack of memory reads as a wrong token */
	hn_log_init(&log, stderr);
	if (getenv("NO_COLOR"))
		log.has_colour = false;
	context.is_colour_out = context.is_terminal_out && !getenv("NO_COLOR");
	find_presets(presets, sizeof presets);
	context.preset_dir = presets[0] ? presets : NULL;
	st = dispatch(argc, argv, &context, &err);
	if (out.len && (!st || !is_unread(&err))) {
		struct hone_error why = {0};
		const enum hone_status put = hn_show(stdout, out.text, out.len, &why);

		if (put && (!st || is_unread(&why))) {
			st = put;
			err = why;
		}
	}
	hn_str_fini(&out);
	hn_log_progress_end(&log);
	if (st && err.text[0]) {
		err.status = (int32_t)st;
		hn_log_error(&log, &err);
	}
	return exit_code((int32_t)st, err.reserved);
}
