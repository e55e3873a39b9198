/*
 * tokenizer_write.c - a tokenizer as Hugging Face's files, and its hash.
 *
 * What was read from a tokenizer.json is written back byte for byte.  A tokenizer from GGUF
 * metadata, or a trained one, is written anew: the same tokens, merges, added tokens and
 * pre-tokenizer, so that `tokenizers` and `transformers` give the same ids.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/table.h"
#include "text/parts.h"

static void
put_text(struct hn_str *out, struct hn_text text)
{
	hn_str_put_json(out, text.bytes, text.len);
}

static void
put_bool(struct hn_str *out, const char *key, bool value)
{
	hn_str_printf(out, ",\"%s\":%s", key, value ? "true" : "false");
}

static int
compare_ids(const void *left, const void *right)
{
	const struct hn_added *const *a = left, *const *b = right;

	return (*a)->id < (*b)->id ? -1 : (*a)->id > (*b)->id;
}

/* The added tokens by id; the caller frees. */
static const struct hn_added **
added_by_id(const struct hn_tokenizer *tok)
{
	const struct hn_added **list = hn_alloc((tok->addeds.n + 1) * sizeof *list);

	for (size_t i = 0; i < tok->addeds.n; i++)
		list[i] = &tok->addeds.at[i];
	if (tok->addeds.n)
		qsort(list, tok->addeds.n, sizeof *list, compare_ids);
	return list;
}

static void
put_flags(struct hn_str *out, const struct hn_added *added)
{
	hn_str_puts(out, "\"content\":");
	hn_str_put_json(out, added->content, added->content_len);
	put_bool(out, "single_word", added->single_word);
	put_bool(out, "lstrip", added->lstrip);
	put_bool(out, "rstrip", added->rstrip);
	put_bool(out, "normalized", added->normalized);
	put_bool(out, "special", added->special);
	hn_str_puts(out, "}");
}

static void
put_added(struct hn_str *out, const struct hn_tokenizer *tok)
{
	const struct hn_added **list = added_by_id(tok);

	hn_str_puts(out, "[");
	for (size_t i = 0; i < tok->addeds.n; i++) {
		hn_str_printf(out, "%s{\"id\":%d,", i ? ",\n    " : "\n    ", list[i]->id);
		put_flags(out, list[i]);
	}
	hn_str_puts(out, "\n  ]");
	free(list);
}

static void
put_template_item(struct hn_str *out, const struct hn_tokenizer *tok, int32_t id)
{
	hn_str_puts(out, "{\"SpecialToken\":{\"id\":");
	put_text(out, hn_vocab_text(&tok->vocab, id));
	hn_str_puts(out, ",\"type_id\":0}}");
}

/* One side of `single`; `pair` repeats it for the second text. */
static void
put_template_text(struct hn_str *out, const struct hn_tokenizer *tok, char name)
{
	for (size_t i = 0; i < tok->n_before; i++) {
		put_template_item(out, tok, tok->before[i]);
		hn_str_putc(out, ',');
	}
	hn_str_printf(out, "{\"Sequence\":{\"id\":\"%c\",\"type_id\":%d}}", name, name == 'B');
	for (size_t i = 0; i < tok->n_after; i++) {
		hn_str_putc(out, ',');
		put_template_item(out, tok, tok->after[i]);
	}
}

static void
put_post(struct hn_str *out, const struct hn_tokenizer *tok)
{
	const size_t n = tok->n_before + tok->n_after;
	struct hn_table seen = {0};

	if (!n) {
		hn_str_puts(out,
			"{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
			"\"trim_offsets\":false,\"use_regex\":true}");
		return;
	}
	hn_str_puts(out, "{\"type\":\"TemplateProcessing\",\"single\":[");
	put_template_text(out, tok, 'A');
	hn_str_puts(out, "],\"pair\":[");
	put_template_text(out, tok, 'A');
	hn_str_putc(out, ',');
	put_template_text(out, tok, 'B');
	hn_str_puts(out, "],\"special_tokens\":{");
	for (size_t i = 0; i < n; i++) {
		const int32_t id =
			i < tok->n_before ? tok->before[i] : tok->after[i - tok->n_before];
		const struct hn_text text = hn_vocab_text(&tok->vocab, id);

		if (!hn_table_put(&seen, text.bytes, text.len, 0))
			continue;
		hn_str_puts(out, i ? "," : "");
		put_text(out, text);
		hn_str_puts(out, ":{\"id\":");
		put_text(out, text);
		hn_str_printf(out, ",\"ids\":[%d],\"tokens\":[", id);
		put_text(out, text);
		hn_str_puts(out, "]}");
	}
	hn_str_puts(out, "}}");
	hn_table_fini(&seen);
}

static void
put_model(struct hn_str *out, const struct hn_tokenizer *tok)
{
	bool first = true;

	hn_str_puts(out, "{\n    \"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
	if (tok->bpe.unk >= 0)
		put_text(out, hn_vocab_text(&tok->vocab, tok->bpe.unk));
	else
		hn_str_puts(out, "null");
	hn_str_puts(out, ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null");
	put_bool(out, "fuse_unk", tok->bpe.fuse_unk);
	put_bool(out, "byte_fallback", false);
	put_bool(out, "ignore_merges", tok->bpe.ignore_merges);
	hn_str_puts(out, ",\n    \"vocab\":{");
	for (int32_t id = 0; id < tok->vocab.n; id++) {
		const struct hn_text text = hn_vocab_text(&tok->vocab, id);

		if (!text.len || hn_vocab_find(&tok->vocab, text.bytes, text.len) != id)
			continue;
		hn_str_puts(out, first ? "\n      " : ",\n      ");
		put_text(out, text);
		hn_str_printf(out, ":%d", id);
		first = false;
	}
	hn_str_puts(out, "\n    },\n    \"merges\":[");
	for (uint32_t i = 0; i < tok->bpe.n_merges; i++) {
		const uint64_t pair = tok->bpe.pairs[i];

		hn_str_puts(out, i ? ",\n      [" : "\n      [");
		put_text(out, hn_vocab_text(&tok->vocab, (int32_t)(pair >> 32)));
		hn_str_putc(out, ',');
		put_text(out, hn_vocab_text(&tok->vocab, (int32_t)(uint32_t)pair));
		hn_str_putc(out, ']');
	}
	hn_str_puts(out, "\n    ]\n  }");
}

static void
put_tokenizer(struct hn_str *out, const struct hn_tokenizer *tok)
{
	hn_str_puts(out,
		"{\n  \"version\":\"1.0\",\n  \"truncation\":null,\n  \"padding\":null,\n"
		"  \"added_tokens\":");
	put_added(out, tok);
	hn_str_printf(out,
		",\n  \"normalizer\":%s,\n  \"pre_tokenizer\":%s,\n  \"post_processor\":",
		tok->norms_json, tok->pres_json);
	put_post(out, tok);
	hn_str_puts(out,
		",\n  \"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
		"\"trim_offsets\":true,\"use_regex\":true},\n  \"model\":");
	put_model(out, tok);
	hn_str_puts(out, "\n}\n");
}

static void
put_special(struct hn_str *out, const struct hn_tokenizer *tok, const char *key, int32_t id)
{
	if (id < 0)
		return;
	hn_str_printf(out, "  \"%s\": ", key);
	put_text(out, hn_vocab_text(&tok->vocab, id));
	hn_str_puts(out, ",\n");
}

static void
put_config(struct hn_str *out, const struct hn_tokenizer *tok)
{
	const struct hn_added **list = added_by_id(tok);

	hn_str_puts(out, "{\n  \"added_tokens_decoder\": {");
	for (size_t i = 0; i < tok->addeds.n; i++) {
		hn_str_printf(out, "%s\n    \"%d\":{", i ? "," : "", list[i]->id);
		put_flags(out, list[i]);
	}
	free(list);
	hn_str_puts(out, "\n  },\n");
	put_special(out, tok, "bos_token", tok->bos);
	put_special(out, tok, "eos_token", tok->eos);
	put_special(out, tok, "unk_token", tok->unk);
	put_special(out, tok, "pad_token", tok->pad);
	if (tok->chat_template_len) {
		hn_str_puts(out, "  \"chat_template\": ");
		put_text(out, hn_tokenizer_chat_template(tok));
		hn_str_puts(out, ",\n");
	}
	hn_str_printf(out,
		"  \"add_bos_token\": %s,\n  \"add_eos_token\": %s,\n"
		"  \"add_prefix_space\": false,\n  \"clean_up_tokenization_spaces\": false,\n"
		"  \"model_max_length\": 1000000000000000019884624838656,\n"
		"  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n",
		tok->n_before ? "true" : "false", tok->n_after ? "true" : "false");
}

static enum hone_status
write_one(const char *folder, const char *name, const char *bytes, size_t n, struct hone_error *err)
{
	char *path = hn_path_join(folder, name);
	const enum hone_status st = hn_file_replace(path, bytes, n, err);

	free(path);
	return st;
}

enum hone_status
hn_tokenizer_write(const struct hn_tokenizer *tok, const char *folder, struct hone_error *err)
{
	struct hn_str tokenizer = {0}, config = {0};
	enum hone_status st;

	if (tok->source)
		hn_str_add(&tokenizer, tok->source, tok->source_len);
	else
		put_tokenizer(&tokenizer, tok);
	if (tok->source && tok->config_source_len)
		hn_str_add(&config, tok->config_source, tok->config_source_len);
	else
		put_config(&config, tok);
	st = write_one(folder, "tokenizer.json", tokenizer.text, tokenizer.len, err);
	if (!st)
		st = write_one(folder, "tokenizer_config.json", config.text, config.len, err);
	hn_str_fini(&tokenizer);
	hn_str_fini(&config);
	return st;
}

/* --- hash ------------------------------------------------------------------------------------ */

static void
put_hash(struct hn_str *out, const char *name, const void *bytes, size_t n)
{
	char hex[33];

	hn_hash_hex(bytes, n, hex);
	hn_str_printf(out, "%s %zu %s\n", name, n, hex);
}

void
hn_tokenizer_hash(const struct hn_tokenizer *tok, char out[33])
{
	struct hn_str text = {0}, added = {0};

	put_hash(&text, "tokens", tok->vocab.blob, tok->vocab.begin[tok->vocab.n]);
	put_hash(&text, "ids", tok->vocab.begin,
		((size_t)tok->vocab.n + 1) * sizeof *tok->vocab.begin);
	put_hash(&text, "merges", tok->bpe.pairs, tok->bpe.n_merges * sizeof *tok->bpe.pairs);
	put_hash(&text, "bytes", tok->bpe.byte_id, sizeof tok->bpe.byte_id);
	put_added(&added, tok);
	put_hash(&text, "added", added.text, added.len);
	put_hash(&text, "before", tok->before, tok->n_before * sizeof *tok->before);
	put_hash(&text, "after", tok->after, tok->n_after * sizeof *tok->after);
	put_hash(&text, "template", tok->chat_template, tok->chat_template_len);
	hn_str_printf(&text, "%s\n%s\nunk %d fuse %d ignore %d bos %d eos %d pad %d\n",
		tok->norms_json, tok->pres_json, tok->bpe.unk, tok->bpe.fuse_unk,
		tok->bpe.ignore_merges, tok->bos, tok->eos, tok->pad);
	hn_hash_hex(text.text, text.len, out);
	hn_str_fini(&text);
	hn_str_fini(&added);
}
