/*
 * support/bench_data.h - rows to windows by hand: a tokenizer of tests/data, the text service, a
 * file in a temporary folder, an objective of the causal plugin.
 */
#ifndef HN_TEST_BENCH_DATA_H
#define HN_TEST_BENCH_DATA_H

#include <hone/plugin.h>

#include "data/window.h"

struct bench_sft {
	int32_t completion_only_loss, assistant_only_loss;
	double label_smoothing_factor;
};

struct bench_data {
	char *folder, *path;
	struct hn_tokenizer *tok;
	struct hn_text_service text;
	struct hn_pool *pool;
	struct bench_sft sft;
	const struct hone_factory *factory;
	struct hn_layout layout;
	struct hn_dataset_request request;
	struct hn_dataset data;
	struct hn_window window;
	struct hone_error err;
};

#define BENCH_CHATML                                                                               \
	"{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' + m.content + "              \
	"'<|im_end|>\\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}"                        \
	"{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"

/* tests/data/tokenizer/<name>.json with begin and end of sequence (bos NULL = none), pad = end,
 * and BENCH_CHATML. */
struct hn_tokenizer *bench_tokenizer(const char *name, const char *bos, const char *eos);

/* Tokenizer "smollm" with end <|im_end|>, objective "sft" or "next_token", two threads,
 * max_length 1024; `request` may be changed before bench_data_read. */
void bench_data_open(struct bench_data *bench, const char *objective);
/* The same with another tokenizer, which the bench takes over. */
void bench_data_open_with(
	struct bench_data *bench, const char *objective, struct hn_tokenizer *tok);
/* Writes the rows and opens them as a dataset; the status is hn_dataset_open's. */
enum hone_status bench_data_read(struct bench_data *bench, const char *rows);
enum hone_status bench_data_read_bytes(struct bench_data *bench, const void *rows, size_t n);
/* A window over the dataset; fails the test when it cannot be made. */
void bench_window(struct bench_data *bench, int64_t max_examples, int64_t budget);
void bench_data_close(struct bench_data *bench);

#endif
