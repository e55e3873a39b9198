/*
 * host_check.c - the host's sections read together: what no single key can say wrongly.
 *
 * Each contradiction names both keys and, where they stand in the file, the other's line.
 */
#include <math.h>
#include <string.h>

#include "config/host_options.h"

/* The given value of a host key, NULL where it is the default. */
static const struct hn_config_value *
given(const struct hn_config_check *check, const char *section, const char *key)
{
	const struct hn_config_table *table = hn_config_table(check, section);
	int64_t row = table ? hn_options_find(table->options, key) : -1;
	struct hone_option option;

	if (row < 0)
		return NULL;
	option = hn_options_at(table->options, (uint32_t)row);
	return hn_config_find(check->config, section, &option);
}

/* The same, but only where it says something else than the default does: a resolved file
 * gives every key, and contradicts nothing by that. */
static const struct hn_config_value *
changed(const struct hn_config_check *check, const char *section, const char *key)
{
	const struct hn_config_value *value = given(check, section, key);
	const struct hone_options *options = hn_config_table(check, section)->options;
	struct hn_arena arena = {0};
	struct hn_option_ground ground = {.dir = "/", .arena = &arena};
	struct hn_option_value is, was;
	struct hn_str is_text = {0}, was_text = {0};
	struct hone_option option;
	bool is_default = false;

	if (!value)
		return NULL;
	option = hn_options_at(options, (uint32_t)hn_options_find(options, key));
	if (option.default_value && !hn_option_parse(&option, value->text, &ground, &is, NULL) &&
		!hn_option_parse(&option, option.default_value, &ground, &was, NULL)) {
		hn_option_put(&option, &is, &is_text);
		hn_option_put(&option, &was, &was_text);
		is_default = is_text.len == was_text.len && is_text.len &&
			hn_streq(is_text.text, was_text.text);
	}
	hn_str_fini(&is_text);
	hn_str_fini(&was_text);
	hn_arena_fini(&arena);
	return is_default ? NULL : value;
}

/* A value's text, fit for a message. */
static const char *
shown(const struct hn_config_check *check, const struct hn_config_value *value)
{
	return hn_clip(&check->diagnostics->arena, value->text, strlen(value->text));
}

/* Reports `text` at a value that is given, followed by where the other one stands. */
static void
contradict(const struct hn_config_check *check, const struct hn_config_value *value,
	const struct hn_config_value *other, const char *text)
{
	struct hn_ini_place at = value->at;
	struct hn_str origin = {0};

	if (at.line)
		at.column = value->value_column;
	if (other) {
		hn_str_printf(&origin, " (%s = %s, ", other->key, shown(check, other));
		hn_config_put_origin(check->config, other, &origin);
		hn_str_puts(&origin, ")");
	}
	hn_diagnose(check->diagnostics, HN_SEVERITY_ERROR, at, "[%s] %s = %s: %s%s", value->section,
		value->key, shown(check, value), text, origin.text ? origin.text : "");
	hn_str_fini(&origin);
}

/* Shares are below 1; from 1 on it must count something. */
static bool
is_count(double value)
{
	return value < 1 || value == floor(value);
}

/* A chain names each part once; a second one of a kind has a section of its own. */
static void
check_list(const struct hn_config_check *check, const char *key, const struct hone_strings *list)
{
	const struct hn_config_value *value = given(check, "run", key);
	char text[160];

	if (value && list->n > 1 && hn_streq(key, "objective")) {
		contradict(check, value, NULL, "several objectives in one run are not offered yet");
		return;
	}
	for (int64_t i = 1; value && i < list->n; i++) {
		for (int64_t j = 0; j < i; j++) {
			if (!hn_streq(list->items[i], list->items[j]))
				continue;
			(void)snprintf(text, sizeof text,
				"'%.40s' stands there twice; a second one is [%.40s.second], with "
				"its own keys",
				list->items[i], list->items[i]);
			contradict(check, value, NULL, text);
			return;
		}
	}
}

/* Validation rows come from one place. */
static void
check_data(const struct hn_config_check *check, const struct hn_data_options *data)
{
	const struct hn_config_value *split = changed(check, "data", "validation_split");
	const struct hn_config_value *validation = given(check, "data", "validation");

	if (!split)
		return;
	if (!is_count(data->validation_split))
		contradict(check, split, NULL, "from 1 on it is a number of rows, a whole one");
	if (data->validation && data->validation_split > 0)
		contradict(check, split, validation,
			"there is a validation file already; keep one of the two");
}

/* One key for both of HF's: warmup_ratio is read, but must be a ratio. */
static void
check_warmup(const struct hn_config_check *check, const struct hn_train_options *train)
{
	const struct hn_config_value *warmup = changed(check, "train", "warmup_steps");

	if (!warmup)
		return;
	if (!is_count(train->warmup_steps))
		contradict(check, warmup, NULL, "from 1 on it is a number of steps, a whole one");
	if (hn_streq(warmup->key, "warmup_ratio") && train->warmup_steps >= 1)
		contradict(check, warmup, NULL, "a ratio is below 1; for steps write warmup_steps");
}

/* A key that only some schedules read must not be given with another one. */
static void
check_schedule(const struct hn_config_check *check, const struct hn_train_options *train)
{
	const struct {
		const char *key;
		double rate;        /* a learning rate below the peak, or 0 */
		uint32_t schedules; /* bits of enum hn_schedule */
		const char *text;
	} keys[] = {
		{"lr_num_cycles", 0,
			1u << HN_SCHEDULE_COSINE | 1u << HN_SCHEDULE_COSINE_WITH_RESTARTS |
				1u << HN_SCHEDULE_COSINE_WITH_MIN_LR,
			"only the cosine schedules have cycles"},
		{"lr_power", 0, 1u << HN_SCHEDULE_POLYNOMIAL, "only polynomial has a power"},
		{"lr_end", train->lr_end, 1u << HN_SCHEDULE_POLYNOMIAL,
			"only polynomial has this end"},
		{"min_lr", train->min_lr, 1u << HN_SCHEDULE_COSINE_WITH_MIN_LR,
			"only cosine_with_min_lr reads it"},
	};
	const struct hn_config_value *type = given(check, "train", "lr_scheduler_type");
	const struct hn_config_value *value;

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		value = changed(check, "train", keys[i].key);
		if (!value)
			continue;
		if (!(keys[i].schedules >> train->lr_scheduler_type & 1))
			contradict(check, value, type, keys[i].text);
		else if (keys[i].rate >= train->learning_rate)
			contradict(check, value, given(check, "train", "learning_rate"),
				"must be below the learning rate");
	}
	value = changed(check, "train", "lr_num_cycles");
	if (value && train->lr_scheduler_type == HN_SCHEDULE_COSINE_WITH_RESTARTS &&
		train->lr_num_cycles != floor(train->lr_num_cycles))
		contradict(check, value, type, "restarts are a whole number");
	value = changed(check, "train", "warmup_steps");
	if (value && train->lr_scheduler_type == HN_SCHEDULE_CONSTANT)
		contradict(
			check, value, type, "constant has no warmup; write constant_with_warmup");
}

/* -1 and 1 are in range, 0 between them is nothing. */
static void
check_steps(const struct hn_config_check *check, const struct hn_train_options *train)
{
	const struct hn_config_value *steps = changed(check, "train", "max_steps");

	if (steps && train->max_steps == 0)
		contradict(check, steps, NULL, "must be at least 1, or -1 for num_train_epochs");
}

/* Early stopping and the best model need evaluations, so validation rows. */
static void
check_best(const struct hn_config_check *check, const struct hn_host_options *host)
{
	const struct hn_config_value *patience = given(check, "train", "early_stopping_patience");
	const struct hn_config_value *threshold =
		changed(check, "train", "early_stopping_threshold");
	const struct hn_config_value *best = given(check, "checkpoint", "load_best_model_at_end");
	bool has_validation = host->data.validation || host->data.validation_split > 0;

	if (patience && !host->checkpoint.load_best_model_at_end)
		contradict(
			check, patience, best, "needs [checkpoint] load_best_model_at_end = yes");
	if (threshold && !patience)
		contradict(check, threshold, NULL, "needs early_stopping_patience");
	if (best && host->checkpoint.load_best_model_at_end && !has_validation)
		contradict(check, best, NULL, "needs [data] validation or validation_split");
}

enum hone_status
hn_host_options_read(const struct hn_config_check *check, struct hn_host_options *out)
{
	size_t n_errors = check->diagnostics->n_errors;

	*out = (struct hn_host_options){0};
	(void)hn_config_read(check, "run", &out->run);
	(void)hn_config_read(check, "model", &out->model);
	(void)hn_config_read(check, "data", &out->data);
	(void)hn_config_read(check, "train", &out->train);
	(void)hn_config_read(check, "eval", &out->eval);
	(void)hn_config_read(check, "checkpoint", &out->checkpoint);
	(void)hn_config_read(check, "generate", &out->generate);

	/* A contradiction between values is only worth a word where the values are right. */
	if (check->diagnostics->n_errors == n_errors) {
		check_list(check, "adapter", &out->run.adapter);
		check_list(check, "objective", &out->run.objective);
		check_data(check, &out->data);
		check_warmup(check, &out->train);
		check_steps(check, &out->train);
		check_schedule(check, &out->train);
		check_best(check, out);
	}
	return check->diagnostics->n_errors > n_errors || check->config->is_unread ? HONE_ECONFIG
										   : HONE_OK;
}
