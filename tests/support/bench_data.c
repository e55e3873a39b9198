/*
 * bench_data.c - what stands between a file of rows and a program, made by hand.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "bench_data.h"
#include "bench_model.h"
#include "support.h"

struct hn_tokenizer *
bench_tokenizer(const char *name, const char *bos, const char *eos)
{
	struct hn_tokenizer_files files = {.origin = "tokenizer"};
	struct hn_str path = {0}, config = {0};
	struct hn_tokenizer *tok = NULL;
	struct hone_error err = {0};
	char *text = NULL;
	size_t n = 0;

	hn_str_printf(&path, "%s/tokenizer/%s.json", HONE_TEST_DATA, name);
	if (hn_file_read(path.text, 1 << 24, HONE_EMODEL, &text, &n, &err))
		fail_msg("%s: %s", err.place, err.text);
	hn_str_printf(&config, "{\"eos_token\":\"%s\",\"pad_token\":\"%s\",", eos, eos);
	if (bos)
		hn_str_printf(&config, "\"bos_token\":\"%s\",", bos);
	hn_str_puts(&config, "\"chat_template\":");
	hn_str_put_json(&config, BENCH_CHATML, strlen(BENCH_CHATML));
	hn_str_putc(&config, '}');
	files.tokenizer_json = (struct hn_text){text, n};
	files.tokenizer_config = (struct hn_text){config.text, config.len};
	if (hn_tokenizer_parse(&tok, &files, &err))
		fail_msg("%s: %s", err.place, err.text);
	free(text);
	hn_str_fini(&path);
	hn_str_fini(&config);
	return tok;
}

void
bench_data_open_with(struct bench_data *bench, const char *objective, struct hn_tokenizer *tok)
{
	memset(bench, 0, sizeof *bench);
	bench->tok = tok;
	bench->sft = (struct bench_sft){1, 1, 0.0};
	bench->folder = test_folder_make();
	bench->path = hn_path_join(bench->folder, "rows.jsonl");
	bench->factory = bench_factory("causal", HONE_ROLE_OBJECTIVE, objective);
	if (hn_pool_create(&bench->pool, 2, &bench->err) ||
		hn_text_service_init(&bench->text, tok, 1753500000, &bench->err) ||
		hn_layout_collect(&bench->layout, bench->factory->vt, &bench->sft, &bench->err))
		fail_msg("%s: %s", bench->err.place, bench->err.text);
	bench->request = (struct hn_dataset_request){.path = bench->path,
		.text = &bench->text,
		.objective = bench->factory->vt,
		.objective_self = &bench->sft,
		.objective_section = objective,
		.max_length = 1024,
		.seed = 42,
		.pool = bench->pool};
}

void
bench_data_open(struct bench_data *bench, const char *objective)
{
	bench_data_open_with(bench, objective, bench_tokenizer("smollm", NULL, "<|im_end|>"));
}

enum hone_status
bench_data_read_bytes(struct bench_data *bench, const void *rows, size_t n)
{
	struct hone_error err = {0};

	if (hn_file_replace(bench->path, rows, n, &err))
		fail_msg("%s: %s", err.place, err.text);
	hn_window_fini(&bench->window);
	hn_dataset_close(&bench->data);
	memset(&bench->err, 0, sizeof bench->err);
	return hn_dataset_open(&bench->data, &bench->request, &bench->err);
}

enum hone_status
bench_data_read(struct bench_data *bench, const char *rows)
{
	return bench_data_read_bytes(bench, rows, strlen(rows));
}

void
bench_window(struct bench_data *bench, int64_t max_examples, int64_t budget)
{
	const struct hn_window_request request = {.data = &bench->data,
		.layout = &bench->layout,
		.objective = bench->factory->vt,
		.objective_self = &bench->sft,
		.objective_section = bench->request.objective_section,
		.seed = 42,
		.max_length = bench->request.max_length,
		.max_examples = max_examples,
		.micro_batch_tokens = budget,
		.vocab = hn_tokenizer_vocab_size(bench->tok)};

	hn_window_fini(&bench->window);
	if (hn_window_init(&bench->window, &request, &bench->err))
		fail_msg("%s", bench->err.text);
}

void
bench_data_close(struct bench_data *bench)
{
	hn_window_fini(&bench->window);
	hn_dataset_close(&bench->data);
	hn_layout_fini(&bench->layout);
	hn_text_service_fini(&bench->text);
	hn_tokenizer_destroy(bench->tok);
	hn_pool_destroy(bench->pool);
	free(bench->path);
	test_folder_remove(bench->folder);
	memset(bench, 0, sizeof *bench);
}
