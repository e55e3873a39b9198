/*
 * export_card.c - the README.md of a result: a model card with the run's numbers.
 *
 * The front matter is what the Hugging Face hub reads: base_model, library_name, tags.  Texts in
 * it are written as JSON strings, which are YAML.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/export_parts.h"

struct hn_card
hn_card_none(void)
{
	const double none = (double)NAN;

	return (struct hn_card){.loss = none,
		.eval_loss = none,
		.epochs = none,
		.learning_rate = none,
		.time_s = none,
		.steps = -1,
		.num_tokens = -1};
}

char *
hn_base_name(const struct hn_model *model)
{
	const bool is_gguf = !model->is_random && model->checkpoint.tensors.format == HN_FILE_GGUF;
	const char *repository = is_gguf ? hn_gguf_repository(&model->checkpoint.tensors) : NULL;

	return repository ? hn_strdup(repository) : hn_path_normal(model->checkpoint.path);
}

static void
put_front(struct hn_str *out, const char *base, const struct hn_card_of *what)
{
	const char *library = !what->type ? "transformers" : what->is_peft ? "peft" : "hone";

	hn_str_puts(out, "---\nbase_model: ");
	hn_str_put_json(out, base, strlen(base));
	hn_str_printf(
		out, "\nlibrary_name: %s\npipeline_tag: text-generation\ntags:\n- hone\n", library);
	if (what->type)
		hn_str_printf(out, "- %s\n", what->type);
	hn_str_puts(out, "---\n\n");
}

static void
put_f64(struct hn_str *out, const char *name, double value)
{
	if (isfinite(value))
		hn_str_printf(out, "| %s | %.6g |\n", name, value);
}

static void
put_i64(struct hn_str *out, const char *name, int64_t value)
{
	if (value >= 0)
		hn_str_printf(out, "| %s | %lld |\n", name, (long long)value);
}

static void
put_text(struct hn_str *out, const char *name, const char *value)
{
	if (value)
		hn_str_printf(out, "| %s | %s |\n", name, value);
}

static void
put_numbers(struct hn_str *out, const struct hn_adapted *of, const struct hn_card *card)
{
	hn_str_puts(out, "| | |\n|---|---|\n");
	for (uint32_t i = 0; i < of->n_adapters; i++)
		put_text(out, "adapter", of->adapters[i].section);
	put_i64(out, "trained parameters", of->params->n_trained);
	if (!card)
		return;
	put_text(out, "objective", card->objective);
	put_text(out, "data", card->data);
	put_i64(out, "steps", card->steps);
	put_f64(out, "epochs", card->epochs);
	put_i64(out, "tokens", card->num_tokens);
	put_f64(out, "learning rate", card->learning_rate);
	put_f64(out, "loss", card->loss);
	put_f64(out, "validation loss", card->eval_loss);
	put_f64(out, "seconds", card->time_s);
}

/* PEFT does not know the technique: hone reads the folder where the technique's plugin is. */
static void
put_use_of_plugin(struct hn_str *out, const struct hn_card_of *what)
{
	hn_str_printf(out,
		"\nPEFT does not know `%s`; hone reads it with the plugin that gives it:\n\n"
		"```\nhone generate --model BASE --adapter HERE --prompt \"...\"\n```\n",
		what->type);
	if (what->can_be_merged)
		hn_str_puts(out,
			"\n`hone export run.ini --merge --to DIR` makes a whole model of it that "
			"transformers loads.\n");
}

static void
put_use(struct hn_str *out, const struct hn_card_of *what)
{
	if (what->type && !what->is_peft) {
		put_use_of_plugin(out, what);
		return;
	}
	hn_str_puts(out,
		"\n```python\nfrom transformers import AutoModelForCausalLM, "
		"AutoTokenizer\n");
	if (what->type)
		hn_str_puts(out,
			"from peft import PeftModel\n\n"
			"model = AutoModelForCausalLM.from_pretrained(BASE)\n"
			"model = PeftModel.from_pretrained(model, HERE)\n");
	else
		hn_str_puts(out, "\nmodel = AutoModelForCausalLM.from_pretrained(HERE)\n");
	hn_str_puts(out, "tokenizer = AutoTokenizer.from_pretrained(HERE)\n```\n");
}

enum hone_status
hn_card_write(const struct hn_adapted *of, const struct hn_card *card,
	const struct hn_card_of *what, const char *folder, struct hone_error *err)
{
	char *base = hn_base_name(of->model);
	struct hn_str text = {0};
	enum hone_status st;

	put_front(&text, base, what);
	hn_str_printf(&text, "# %s, fine-tuned\n\nMade by hone %s.  %s\n\n", hn_path_base(base),
		HONE_VERSION,
		what->type ? "An adapter: it is loaded on top of its base model."
			   : "A whole model: what was trained is merged into its weights.");
	put_numbers(&text, of, card);
	put_use(&text, what);
	st = hn_folder_put(folder, "README.md", &text, err);
	hn_str_fini(&text);
	free(base);
	return st;
}
