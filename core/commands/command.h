/*
 * commands/command.h - a command: its words, its flags, and what it does.
 *
 * Flags are a table per command, so parsing, help and "did you mean" are one thing.  Results
 * go to stdout; everything else goes through the log to stderr.
 */
#ifndef HN_COMMANDS_COMMAND_H
#define HN_COMMANDS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "run.h"

enum hn_flag_kind {
	HN_FLAG_BOOL = 1, /* bool */
	HN_FLAG_TEXT,     /* const char *; once */
	HN_FLAG_LIST,     /* struct hn_words; may be given again */
	HN_FLAG_MANY,     /* struct hn_words; takes all words up to the next flag */
};

struct hn_words {
	const char **items;
	size_t n, cap;
};

/* Everything a command line may say; a command's table says which of it is its own. */
struct hn_args {
	const char *path; /* the word that is no flag: INI file, name, file or folder */
	struct hn_words sets, plugin_dirs;
	bool json, quiet, help;
	bool fresh, base, chat, raw, merge, show_origin, graph;
	const char *split, *model, *adapter, *prompt, *system, *max_new_tokens, *temperature, *to;
	const char *vocab_size, *dtype, *rows;
	struct hn_words train;
};

struct hn_flag {
	const char *name;  /* "--split" */
	int32_t kind;      /* enum hn_flag_kind */
	size_t offset;     /* in struct hn_args */
	const char *value; /* how help calls it: "NAME" */
	const char *help;
};

/* Flags that several commands share, by what these read. */
enum hn_takes {
	HN_TAKES_PLUGINS = 1, /* --plugin-dir */
	HN_TAKES_CONFIG = 2,  /* --set */
	HN_TAKES_RUN = HN_TAKES_PLUGINS | HN_TAKES_CONFIG,
};

/* What main gives to every command. */
struct hn_context {
	struct hn_log *log;
	const struct hn_args *args;
	const struct hone_plugin *const *builtins;
	size_t n_builtins;
	const char *preset_dir;
	struct hn_str *out; /* the result; main writes it to stdout */
	FILE *stream;       /* stdout, for what is shown while it comes: before `out` */
	bool is_colour_out; /* stdout is a terminal that may have colours */
	bool is_terminal_out;
};

struct hn_command_spec {
	const char *name;
	const char *words;   /* "run.ini", "NAME[.KEY]"; "" = takes none; "[...]" = may be absent */
	const char *summary; /* one line */
	const struct hn_flag *flags;
	size_t n_flags;
	enum hone_status (*run)(const struct hn_context *context, struct hone_error *err);
	uint32_t takes; /* enum hn_takes */
};

extern const struct hn_command_spec hn_command_train, hn_command_eval, hn_command_generate,
	hn_command_export, hn_command_check, hn_command_plan, hn_command_plugins,
	hn_command_explain, hn_command_inspect, hn_command_tokenizer, hn_command_version;

/* All commands in the order of help; the program's whole surface. */
const struct hn_command_spec *const *hn_commands(size_t *n);

/* Flag `i` of a command: its own, then those it shares; NULL behind the last. */
const struct hn_flag *hn_command_flag(const struct hn_command_spec *command, size_t i);

/* Appends what `hone COMMAND --help` says. */
void hn_command_help(const struct hn_command_spec *command, struct hn_str *out);

/* Parses what stands behind the command.  Behind "--" nothing is a flag; a value that begins
 * with "--" is written --flag=value.  HONE_EUSAGE names the word and the nearest flag. */
enum hone_status hn_args_parse(struct hn_args *args, const struct hn_command_spec *command,
	int argc, char **argv, struct hone_error *err);
void hn_args_fini(struct hn_args *args);

/* Runs argv[1]; returns the exit code.  What main is made of, so that tests can call it. */
int hn_main(int argc, char **argv, const struct hone_plugin *const *builtins, size_t n_builtins);

/* A request for hn_run_open made of the context. */
struct hn_run_request hn_context_request(const struct hn_context *context);

/* Writes a part of the result to stdout at once.  Where nobody reads any more it is
 * HONE_EINTERRUPTED without a text, and the program's code is 141. */
enum hone_status hn_show(FILE *stream, const char *bytes, size_t n, struct hone_error *err);

/* A flag that says what a key of [generate] says, with that key's range; absent = `otherwise`. */
enum hone_status hn_flag_generate(const char *text, const char *flag, const char *key,
	double otherwise, double *out, struct hone_error *err);

/* A flag's text as a whole number; absent = `otherwise`. */
enum hone_status hn_flag_i64(const char *text, const char *flag, int64_t otherwise, int64_t min,
	int64_t *out, struct hone_error *err);

#define HN_ARG(member) offsetof(struct hn_args, member)

#endif
