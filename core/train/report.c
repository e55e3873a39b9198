/*
 * report.c - numbers as JSON and as text.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "train/report.h"
#include "train/step.h"

static void
put_number(struct hn_str *out, const char *key, double value)
{
	hn_str_printf(out, ", \"%s\": ", key);
	if (hn_is_finite(value))
		hn_str_put_f64(out, value);
	else
		hn_str_puts(out, "\"non-finite\"");
}

static void
put_count(struct hn_str *out, const char *key, int64_t value)
{
	hn_str_printf(out, ", \"%s\": %" PRId64, key, value);
}

void
hn_train_line_json(const struct hn_train_line *line, struct hn_str *out)
{
	hn_str_printf(out, "{\"schema\": \"hone.metrics/1\", \"step\": %" PRId64, line->step);
	put_number(out, "epoch", line->epoch);
	put_number(out, "loss", line->loss);
	put_number(out, "grad_norm", line->grad_norm);
	put_number(out, "learning_rate", line->learning_rate);
	put_count(out, "num_tokens", line->num_tokens);
	put_count(out, "num_supervised_tokens", line->num_supervised_tokens);
	put_number(out, "tokens_per_second", line->tokens_per_second);
	put_number(out, "memory_mb", line->memory_mb);
	put_number(out, "time_s", line->time_s);
	hn_str_putc(out, '}');
}

static void
put_eval(const struct hn_eval_line *line, const char *prefix, struct hn_str *out)
{
	char key[128];

	(void)snprintf(key, sizeof key, "%sloss", prefix);
	put_number(out, key, line->loss);
	(void)snprintf(key, sizeof key, "%sperplexity", prefix);
	if (line->has_perplexity)
		put_number(out, key, line->perplexity);
	(void)snprintf(key, sizeof key, "%snum_tokens", prefix);
	put_count(out, key, line->num_tokens);
	for (uint32_t i = 0; i < line->n_metrics; i++) {
		(void)snprintf(key, sizeof key, "%s%s", prefix, line->metrics[i].name);
		put_number(out, key, line->metrics[i].value);
	}
}

void
hn_eval_line_json(const struct hn_eval_line *line, struct hn_str *out)
{
	hn_str_printf(out, "{\"schema\": \"hone.metrics/1\", \"step\": %" PRId64, line->step);
	put_number(out, "epoch", line->epoch);
	put_eval(line, "eval_", out);
	hn_str_putc(out, '}');
}

static void
put_lines(const struct hn_eval_line *line, const char *split, struct hn_str *out)
{
	hn_str_printf(out, "%-20s %s\n%-20s %.5f\n", "split", split, "loss", line->loss);
	if (line->has_perplexity)
		hn_str_printf(out, "%-20s %.4f\n", "perplexity", line->perplexity);
	hn_str_printf(out, "%-20s %" PRId64 "\n", "num_tokens", line->num_tokens);
	for (uint32_t i = 0; i < line->n_metrics; i++)
		hn_str_printf(out, "%-20s %.4f\n", line->metrics[i].name, line->metrics[i].value);
}

void
hn_eval_line_put(
	const struct hn_eval_line *line, const char *split, bool as_json, struct hn_str *out)
{
	if (!as_json) {
		put_lines(line, split, out);
		return;
	}
	hn_str_puts(out, "{\"schema\": \"hone.eval/1\", \"split\": ");
	hn_str_put_json(out, split, strlen(split));
	put_eval(line, "", out);
	hn_str_puts(out, "}\n");
}

void
hn_train_line_log(struct hn_log *log, const struct hn_train_line *line, int64_t n_steps)
{
	hn_log_info(log,
		"step %" PRId64 "/%" PRId64 "  epoch %.2f  loss %.4f  grad norm %.3g  rate %.3g  "
		"%.0f tok/s  %.0f MB",
		line->step, n_steps, line->epoch, line->loss, line->grad_norm, line->learning_rate,
		line->tokens_per_second, line->memory_mb);
}

void
hn_eval_line_log(struct hn_log *log, const struct hn_eval_line *line, const char *what)
{
	struct hn_str text = {0};

	hn_str_printf(&text, "%s: loss %.4f", what, line->loss);
	if (line->has_perplexity)
		hn_str_printf(&text, "  perplexity %.3f", line->perplexity);
	hn_str_printf(&text, "  (%" PRId64 " tokens)", line->num_tokens);
	for (uint32_t i = 0; i < line->n_metrics; i++)
		hn_str_printf(&text, "  %s %.4f", line->metrics[i].name, line->metrics[i].value);
	hn_log_info(log, "%s", text.text);
	hn_str_fini(&text);
}

/* A line "VmHWM:   1234 kB" of /proc/self/status, in MB; 0 when there is none. */
static double
status_mb(const char *key)
{
	struct hone_error err = {0};
	char *text = NULL, *at;
	int64_t kb = 0;
	size_t n = 0;

	if (hn_file_read("/proc/self/status", 65536, HONE_EIO, &text, &n, &err))
		return 0.0;
	at = strstr(text, key);
	if (at)
		for (at += strlen(key); *at && *at != '\n'; at++)
			if (*at >= '0' && *at <= '9')
				kb = kb * 10 + (*at - '0');
	free(text);
	return (double)kb * 1024e-6;
}

double
hn_memory_now_mb(void)
{
	return status_mb("VmRSS:");
}

double
hn_memory_peak_mb(void)
{
	return status_mb("VmHWM:");
}

void
hn_put_duration(struct hn_str *out, double seconds)
{
	const int64_t s = seconds > 0.0 ? (int64_t)(seconds + 0.5) : 0;

	if (s >= 3600)
		hn_str_printf(out, "%" PRId64 " h %02" PRId64 " min", s / 3600, s / 60 % 60);
	else if (s >= 60)
		hn_str_printf(out, "%" PRId64 " min %02" PRId64 " s", s / 60, s % 60);
	else
		hn_str_printf(out, "%" PRId64 " s", s);
}
