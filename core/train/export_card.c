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

/* ---- how it is used: lines that work as they stand, in the folder, wherever it is moved ---- */

/* One word for a shell, whatever is in it. */
static void
put_word(struct hn_str *out, const char *text)
{
	hn_str_putc(out, '\'');
	for (; *text; text++)
		if (*text == '\'')
			hn_str_puts(out, "'\\''");
		else
			hn_str_putc(out, *text);
	hn_str_putc(out, '\'');
}

/* A text for Python: JSON's strings are Python's, too. */
static void
put_string(struct hn_str *out, const char *text)
{
	hn_str_put_json(out, text, strlen(text));
}

static void
put_generate(struct hn_str *out, const struct hn_adapted *of, bool is_adapter)
{
	char *base = hn_path_normal(of->model->checkpoint.path);

	hn_str_puts(out, "\nIn this folder:\n\n```sh\nhone generate --model ");
	put_word(out, is_adapter ? base : ".");
	hn_str_puts(out, is_adapter ? " --adapter ." : "");
	hn_str_puts(out, " --prompt \"...\"\n```\n");
	free(base);
}

/* A GGUF file without a repository is read by transformers as a file of its folder. */
static void
put_python_base(struct hn_str *out, const struct hn_adapted *of, const char *base)
{
	const struct hn_checkpoint *checkpoint = &of->model->checkpoint;
	const bool is_file = checkpoint->tensors.format == HN_FILE_GGUF && !of->model->is_random &&
		!hn_gguf_repository(&checkpoint->tensors);
	char *dir = is_file ? hn_path_dir(base) : NULL;

	hn_str_puts(out, "model = AutoModelForCausalLM.from_pretrained(");
	put_string(out, dir ? dir : base);
	if (dir) {
		hn_str_puts(out, ", gguf_file=");
		put_string(out, hn_path_base(base));
	}
	hn_str_puts(out, dir ? ")  # needs the package gguf\n" : ")\n");
	free(dir);
}

static void
put_python(struct hn_str *out, const struct hn_adapted *of, const struct hn_card_of *what,
	const char *base)
{
	hn_str_printf(out,
		"\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n%s\n",
		what->type ? "from peft import PeftModel\n" : "");
	if (what->type) {
		put_python_base(out, of, base);
		hn_str_puts(out, "model = PeftModel.from_pretrained(model, \".\")\n");
	} else {
		hn_str_puts(out, "model = AutoModelForCausalLM.from_pretrained(\".\")\n");
	}
	hn_str_puts(out, "tokenizer = AutoTokenizer.from_pretrained(\".\")\n```\n");
}

/* What a result was trained on, where it is not what the file holds. */
static void
put_storage(struct hn_str *out, const struct hn_card *card, const struct hn_card_of *what)
{
	if (!card || !card->storage)
		return;
	hn_str_printf(out, "\nIn training the weights of the linear layers were held as `%s`.  ",
		card->storage);
	if (what->type)
		hn_str_printf(out,
			"The lines below take them as the file holds them, and answers differ a "
			"little; with "
			"`[model] storage = %s` in an INI file, or `--set model.storage=%s`, they "
			"are the "
			"same.\n",
			card->storage, card->storage);
	else
		hn_str_puts(out, "They are merged into the weights as the file held them.\n");
}

static void
put_use(struct hn_str *out, const struct hn_adapted *of, const struct hn_card_of *what,
	const char *base)
{
	if (what->type && !what->is_peft)
		hn_str_printf(out,
			"\nPEFT does not know `%s`; hone reads it where the plugin that gives it "
			"is installed:\n",
			what->type);
	put_generate(out, of, what->type != NULL);
	if (!what->type || what->is_peft)
		put_python(out, of, what, base);
	if (what->type && what->can_be_merged)
		hn_str_puts(out,
			"\n`hone export run.ini --merge --to DIR`, with the run's INI file, makes "
			"a "
			"whole model of it.\n");
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
	put_storage(&text, card, what);
	put_use(&text, of, what, base);
	st = hn_folder_put(folder, "README.md", &text, err);
	hn_str_fini(&text);
	free(base);
	return st;
}
