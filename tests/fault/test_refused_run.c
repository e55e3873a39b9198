/*
 * test_refused_run.c - what a user of the program sees of a bad file: one line, its exit code,
 * and nothing half written.
 *
 * One row is one run of `hone train` in a folder of its own: a copy of tiny-llama in m/, some
 * rows, one fault.  The readers have their own tests beside this one; here is what only the
 * whole way can show.  Would catch: a code that scripts cannot rely on, a cause told twice or
 * buried under its consequences, a message without the file to mend.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli.h"

#define CHAT                                                                                       \
	"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"                                    \
	"{\"role\":\"assistant\",\"content\":\"b\"}]}\n"
#define PAIR     "{\"prompt\":\"1 + 2 =\",\"completion\":\" 3\"}\n"
#define TEMPLATE "{% for message in messages %}"

struct refusal {
	int entry, code;
	const char *file, *from, *to; /* a patch; from NULL: the whole file */
	const char *set;              /* one --set, or NULL */
	const char *says, *also;      /* both in the one line; also may be NULL */
};

/* Keys that only contradict each other or the model. */
static const struct refusal configurations[] = {
	{6, 3, "run.ini", NULL, "[run]\routput = o\r", NULL, "run.ini: error: the lines end with a",
		"Unix"},
	{7, 3, "run.ini", NULL, "", NULL, "run.ini: error: the file is empty", NULL},
	{10, 3, "run.ini", "r = 2", "r = 64", NULL,
		"run.ini:12:5: [lora] r = 64 does not fit model.", "which is [32, 32]"},
	{10, 3, NULL, NULL, NULL, "lora.r=64", "--set lora.r=64: [lora] r = 64 does not fit", NULL},
	{10, 3, NULL, NULL, NULL, "lora.rank_pattern=q_proj: 99999999999999999999",
		"[lora] r = 1e+20 does not fit model.layers.0.self_attn.q_proj",
		"which is [32, 32]"},
	{10, 3, NULL, NULL, NULL, "lora.rank_pattern=q_proj: 1.5",
		"[lora] rank_pattern gives model.layers.0.self_attn.q_proj 1.5", "a rank is whole"},
	{10, 3, NULL, NULL, NULL, "lora.alpha_pattern=k_proj: 0",
		"[lora] alpha_pattern gives model.layers.0.self_attn.k_proj 0", "must be above 0"},
	{10, 3, "run.ini", "adapter   = lora", "adapter = lora, lora", NULL,
		"run.ini:3:11: error: [run] adapter", "'lora' stands there twice"},
	{10, 3, "run.ini", "objective = sft", "objective = sft, next_token", NULL,
		"run.ini:4:13: error: [run] objective", "several objectives"},
	{17, 3, "run.ini", "[lora]", "config_version = 3\n[lora]", NULL,
		"run.ini:11:1: error: [data] unknown key 'config_version'", NULL},
};

static const struct refusal data[] = {
	{18, 4, "train.jsonl", NULL, PAIR "{\"prompt\" \"a\"}\n", NULL, "train.jsonl:2:13: ", NULL},
	{19, 4, "train.jsonl", NULL, PAIR "{\"prompt\": \"cu", NULL,
		"train.jsonl:2:", "the file looks cut"},
	{21, 4, "train.jsonl", NULL, "{\"text\":\"a\\u0000\"}\n", NULL,
		"train.jsonl:1:", "U+0000 (\\u0000) cannot be carried"},
	{23, 4, "train.jsonl", NULL, "\n", NULL, "train.jsonl: there is no row", NULL},
	{24, 4, "train.jsonl", NULL, PAIR PAIR "{\"text\":\"x\"}\n", NULL,
		"train.jsonl:3: ", "'prompt' is missing"},
	{25, 4, NULL, NULL, NULL, "data.max_length=2",
		"train.jsonl: none of 16 rows has a token to", "the longest row has"},
	{27, 4, "run.ini", "max_length", "strict = yes\nvalidation = train.jsonl\nmax_length", NULL,
		"train.jsonl: [data] strict = yes: 16 rows of the validation data stand in", NULL},
	{33, 4, "train.jsonl", NULL, "PAR1", NULL, "train.jsonl: this is a Parquet file", "duckdb"},
	{35, 4, "train.jsonl", NULL, "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"b\"}\n",
		NULL, "train.jsonl:1: this row has the keys prompt, chosen, rejected", "known are"},
};

static const struct refusal models[] = {
	{37, 5, "m/model.safetensors", NULL, "\xff\xff\xff\xff\xff\xff\xff\x7f{}", NULL,
		"m/model.safetensors: at byte 0: header length 9223372036854775807", NULL},
	{44, 5, "m/model.safetensors", NULL,
		"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", NULL,
		"m/model.safetensors: this is a Git LFS pointer", "git lfs pull"},
	{47, 5, "m/config.json", "\"intermediate_size\": 96", "\"intermediate_size\": 48", NULL,
		"mlp.gate_proj.weight\" is [96, 32], and the configuration asks for [48, 32]",
		"(and 8 more: model.layers.0.mlp.up_proj.weight, "},
	{47, 5, "m/config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4", NULL,
		"tensor \"model.layers.3.input_layernorm.weight\" is missing", "(and 8 more: "},
	{47, 5, "m/config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2", NULL,
		"tensor \"model.layers.2.input_layernorm.weight\" has no place in the model",
		"(and 8 more: "},
	{48, 5, "g.gguf", NULL, "GGUF\x07", "model.path=g.gguf", "g.gguf: ", "cut"},
	{64, 5, "m/config.json", "\"model_type\": \"llama\"", "\"model_type\": \"lama\"", NULL,
		"m/config.json: no architecture here knows", "did you mean \"llama\"?"},
	{64, 5, "m/config.json", "\"hidden_size\": 32", "\"hidden_width\": 32", NULL,
		"m/config.json: the configuration has no 'hidden_size'", NULL},
	{64, 5, "m/config.json", "\"silu\"", "\"gelu\"", NULL,
		"m/config.json: hidden_act = gelu; only silu is offered", NULL},
	{64, 5, "m/config.json", "\"rope_theta\": 10000.0",
		"\"rope_scaling\": {\"rope_type\": \"magic\"}", NULL,
		"m/config.json: rope_scaling of type \"magic\" is not known", NULL},
	{65, 5, "m/config.json", "\"model_type\": \"llama\"",
		"\"model_type\": \"x\", \"auto_map\": {}", NULL, "m/config.json: no architecture",
		"hone runs no code from model repositories"},
	{67, 5, "x.pt", NULL, "PK\3\4          ", "model.path=x.pt", "x.pt: this is pickle",
		"convert it to safetensors"},
	{67, 5, NULL, NULL, NULL, "model.path=HuggingFaceTB/SmolLM2-135M",
		"SmolLM2-135M: there is no such file or folder", "hone downloads nothing"},
	{67, 5, NULL, NULL, NULL, "model.path=/dev/zero", "/dev/zero: is a device", NULL},
};

static const struct refusal tokenizers[] = {
	{58, 5, "m/tokenizer.json", "\"!\":33", "\"!\":34", NULL,
		"m/tokenizer.json: id 34 has two tokens", NULL},
	{60, 5, "m/tokenizer_config.json", "\"<|im_end|>\"", "\"<nope>\"", NULL,
		"m/tokenizer_config.json: eos_token is '<nope>'", NULL},
	{61, 5, "m/tokenizer.json", "\"Digits\"", "\"Metaspace\"", NULL,
		"m/tokenizer.json: pre-tokenizer 'Metaspace' is not supported",
		"(at pre_tokenizer.pretokenizers[0])"},
	{62, 5, "m/tokenizer.json", "\"!\":33", "\"!\":33,\"!!\":263", NULL,
		"the tokenizer has 264 tokens, the embeddings have 263 rows", NULL},
	{66, 5, "m/tokenizer_config.json", TEMPLATE, "{% for %}", NULL,
		"m/tokenizer_config.json: chat_template, line 1, column 8: ", NULL},
	{66, 5, "m/tokenizer_config.json", TEMPLATE, "{{ messages.__class__ }}" TEMPLATE, NULL,
		"train.jsonl:1: the attribute \"__class__\"", "m/tokenizer_config.json)"},
	{66, 4, "m/tokenizer_config.json", TEMPLATE, "{{ raise_exception('no') }}" TEMPLATE, NULL,
		"train.jsonl:1: the template refuses these messages: no (line 1, column 19",
		"m/tokenizer_config.json)"},
	{66, 5, "m/tokenizer_config.json", "\"chat_template\"", "\"chat_templet\"", NULL,
		"train.jsonl:1: the rows are conversations and the tokenizer has no chat template",
		"chat_template.jinja"},
};

static int
count_lines(const char *text, const char *word)
{
	int n = 0;

	for (const char *at = text; (at = strstr(at, word)); at++)
		n++;
	return n;
}

/* Trains on the copy of the model, with the fault. */
static void
run_one(const struct refusal *r, const char *rows)
{
	struct cli cli;

	cli_open(&cli, NULL);
	cli_copy_model(&cli, "m");
	if (rows)
		cli_write(&cli, "train.jsonl", rows);
	if (r->file && r->from)
		cli_patch(&cli, r->file, r->from, r->to);
	else if (r->file)
		cli_write(&cli, r->file, r->to);
	(void)cli_run(&cli, "train", "run.ini", "--set", "model.path=m", r->set ? "--set" : NULL,
		r->set, NULL);
	if (cli.code != r->code || !strstr(cli.err, r->says) ||
		(r->also && !strstr(cli.err, r->also)) || count_lines(cli.err, "error:") != 1 ||
		cli.out[0] || cli_has(&cli, "out/adapter") || cli_has(&cli, "out/checkpoints"))
		fail_msg("entry %d: exit %d, expected %d and \"%s\" \"%s\" once:\n%s%s", r->entry,
			cli.code, r->code, r->says, r->also ? r->also : "", cli.out, cli.err);
	cli_close(&cli);
}

static void
test_refused_run_configuration_is_3(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof configurations / sizeof configurations[0]; i++)
		run_one(&configurations[i], NULL);
}

static void
test_refused_run_data_is_4(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof data / sizeof data[0]; i++)
		run_one(&data[i], NULL);
}

static void
test_refused_run_model_is_5(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
		run_one(&models[i], NULL);
}

static void
test_refused_run_tokenizer_is_5(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof tokenizers / sizeof tokenizers[0]; i++)
		run_one(&tokenizers[i], CHAT);
}

/* What is told and goes on: warnings by default, because the run means what was asked for. */
static void
test_refused_run_what_is_only_told_goes_on(void **state)
{
	static const struct {
		int entry;
		const char *rows, *set, *says;
	} cases[] = {
		{10, NULL, "data.max_length=4096", NULL},
		{10, "L", "data.max_length=4096",
			"and the model was made for 256; lower [data] max_"},
		{15, NULL, "run.output=${HOME}/o", "hone reads no environment variables"},
		{24, "L" PAIR, "data.max_length=32",
			"1 rows are longer than max_length and were cut"},
		{25, CHAT "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n",
			"data.strict=no", "1 examples have nothing to learn and were dropped"},
		{27, NULL, "data.validation=train.jsonl",
			"16 rows of the validation data stand in the training data, too"},
		{31, CHAT, "data.strict=yes", NULL},
		{34, "\xef\xbb\xbf" CHAT, "data.strict=yes", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct hn_str rows = {0};
		struct cli cli;

		cli_open(&cli, NULL);
		if (cases[i].rows && cases[i].rows[0] == 'L') { /* one that is longer than 256 */
			hn_str_puts(&rows, "{\"prompt\":\"");
			for (int n = 0; n < 300; n++)
				hn_str_puts(&rows, "x ");
			hn_str_printf(&rows, "\",\"completion\":\" y\"}\n%s", cases[i].rows + 1);
		} else if (cases[i].rows) {
			hn_str_puts(&rows, cases[i].rows);
		}
		if (rows.len)
			cli_write(&cli, "train.jsonl", rows.text);
		(void)cli_run(&cli, "train", "run.ini", "--set", cases[i].set, NULL);
		if (cli.code || (cases[i].says && !strstr(cli.err, cases[i].says)) ||
			count_lines(cli.err, "warning:") < (cases[i].says != NULL) ||
			(!cases[i].says && strstr(cli.err, "warning:")))
			fail_msg("entry %d: exit %d, not \"%s\":\n%s", cases[i].entry, cli.code,
				cases[i].says ? cases[i].says : "", cli.err);
		hn_str_fini(&rows);
		cli_close(&cli);
	}
}

/* 47.  Would catch: a bias that the file has and the configuration forgets, left out in
 * silence: each layer would compute something else. */
static void
test_refused_run_tensor_without_a_place_is_named(void **state)
{
	static const char used[] = "\"model.layers.1.input_layernorm.weight\"";
	static const char bias[] = "\"model.layers.1.input_layernorm.biasss\"";
	static const char table[] = "\"model.layers.1.rotary_emb.inv_freq\"   ";
	struct cli cli;

	(void)state;
	_Static_assert(sizeof used == sizeof bias && sizeof used == sizeof table, "same length");
	cli_open(&cli, NULL);
	cli_copy_model(&cli, "m");
	cli_patch(&cli, "m/config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1");
	(void)cli_run(&cli, "check", "run.ini", "--set", "model.path=m", NULL);
	cli_expect(&cli, 5, "model.layers.1.input_layernorm.weight\" has no place",
		"(and 17 more: ", NULL);
	/* a table that older files keep is no difference */
	cli_patch(&cli, "m/model.safetensors", used, table);
	(void)cli_run(&cli, "check", "run.ini", "--set", "model.path=m", NULL);
	cli_expect(&cli, 5, "has no place", "(and 16 more: ", NULL);
	cli_patch(&cli, "m/model.safetensors", table, bias);
	(void)cli_run(&cli, "check", "run.ini", "--set", "model.path=m", NULL);
	cli_expect(&cli, 5, "model.layers.1.input_layernorm.biasss\" has no place", NULL);
	cli_close(&cli);
}

/* 32, 63, 94.  Would catch: a run that goes on with other rows, another tokenizer, another
 * model or another configuration than it began with. */
static void
test_refused_run_going_on_with_other_files_is_named(void **state)
{
	static const struct {
		int entry, code;
		const char *file, *from, *to, *says;
	} cases[] = {
		{32, 3, "train.jsonl", "0 and 0", "0 plus 0",
			"the file of [data] train had 16 rows in "},
		{63, 3, "m/tokenizer.json", "\"individual_digits\":true",
			"\"individual_digits\":false", "tokenizer was "},
		{94, 3, "run.ini", "r = 2", "r = 4", "[lora] r was 2 and is 4"},
		{94, 3, "m/config.json", "\"rope_theta\": 10000.0", "\"rope_theta\": 20000.0",
			"since this run began"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		static const char *const words[] = {"train", "run.ini", "--set", "model.path=m",
			"--set", "checkpoint.save_steps=2", NULL};
		struct cli cli;

		cli_open(&cli, NULL);
		cli_copy_model(&cli, "m");
		cli_start(&cli, words);
		assert_int_equal(cli_wait(&cli), 0);
		/* As if it had been killed after step 2 of 4. */
		cli_patch(&cli, "out/state.json", "\"finished\"", "\"running\"");
		cli_remove(&cli, "out/adapter");
		cli_remove(&cli, "out/checkpoints/step-000004");
		cli_patch(&cli, cases[i].file, cases[i].from, cases[i].to);
		cli_start(&cli, words);
		(void)cli_wait(&cli);
		if (!strstr(cli.err, cases[i].says))
			fail_msg("entry %d does not say %s:\n%s", cases[i].entry, cases[i].says,
				cli.err);
		cli_expect(&cli, cases[i].code, "--fresh", NULL);
		assert_false(cli_has(&cli, "out/adapter"));
		cli_close(&cli);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_run_configuration_is_3),
		cmocka_unit_test(test_refused_run_data_is_4),
		cmocka_unit_test(test_refused_run_model_is_5),
		cmocka_unit_test(test_refused_run_tokenizer_is_5),
		cmocka_unit_test(test_refused_run_what_is_only_told_goes_on),
		cmocka_unit_test(test_refused_run_tensor_without_a_place_is_named),
		cmocka_unit_test(test_refused_run_going_on_with_other_files_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
