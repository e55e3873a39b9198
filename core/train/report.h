/*
 * train/report.h - what a run says: lines of metrics.jsonl, log lines, the progress line.
 *
 * Names are those of Hugging Face's Trainer; keys only ever get added.
 */
#ifndef HN_TRAIN_REPORT_H
#define HN_TRAIN_REPORT_H

#include <stdbool.h>

#include "base/log.h"
#include "base/str.h"

enum { HN_MAX_METRICS = 16 };

struct hn_train_line {
	int64_t step;
	double epoch, loss, grad_norm, learning_rate;
	int64_t num_tokens, num_supervised_tokens; /* since the run's start */
	double tokens_per_second, memory_mb, time_s;
};

struct hn_metric {
	const char *name;
	double value;
};

struct hn_eval_line {
	int64_t step;
	double epoch, loss;
	double perplexity; /* exp of the mean negative log-likelihood */
	bool has_perplexity;
	int64_t num_tokens; /* that were evaluated: supervised ones */
	struct hn_metric metrics[HN_MAX_METRICS];
	uint32_t n_metrics;
};

/* One JSON object without a line break; a value that is not finite is written as a string
 * ("non-finite"), because JSON has no other way and hiding it is worse. */
void hn_train_line_json(const struct hn_train_line *line, struct hn_str *out);
/* With keys eval_loss, eval_<metric> ... */
void hn_eval_line_json(const struct hn_eval_line *line, struct hn_str *out);
/* The result of `hone eval`: a document, or lines "name value". */
void hn_eval_line_put(
	const struct hn_eval_line *line, const char *split, bool as_json, struct hn_str *out);

void hn_train_line_log(struct hn_log *log, const struct hn_train_line *line, int64_t n_steps);
void hn_eval_line_log(struct hn_log *log, const struct hn_eval_line *line, const char *what);

/* Resident memory of this process now, and at most so far, in MB (10^6 bytes). */
double hn_memory_now_mb(void);
double hn_memory_peak_mb(void);

/* "1 h 02 min", "3 min 20 s", "12 s". */
void hn_put_duration(struct hn_str *out, double seconds);

#endif
