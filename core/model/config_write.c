/*
 * config_write.c - a model's configuration as the text of a config.json.
 *
 * The document goes out with the keys it came in with, in their order; only the element type
 * is replaced.  Floats are printed with the fewest digits that read back the same and always
 * look like floats (100000.0), because transformers 5 checks types.  jansson's own writer
 * prints 1e-05 with seventeen digits and another exponent.
 */
#include <jansson.h>
#include <string.h>

#include "model/hf_config.h"

/* The parser allows a depth of 2048; a configuration has four levels. */
#define DEPTH_MAX 64

static void
put_real(struct hn_str *out, double value)
{
	const size_t from = out->len;

	hn_str_put_f64(out, value);
	if (!strpbrk(out->text + from, ".e"))
		hn_str_puts(out, ".0");
}

/* Two spaces a level, as json.dumps(indent=2) writes it. */
static void
put_line(struct hn_str *out, int depth)
{
	hn_str_putc(out, '\n');
	for (int i = 0; i < depth; i++)
		hn_str_puts(out, "  ");
}

static bool put_value(struct hn_str *out, json_t *value, int depth);

/* Members in the order in which they were read. */
static bool
put_object(struct hn_str *out, json_t *object, int depth)
{
	const char *key;
	json_t *value;
	bool first = true;

	hn_str_putc(out, '{');
	json_object_foreach(object, key, value)
	{
		if (!first)
			hn_str_putc(out, ',');
		first = false;
		put_line(out, depth + 1);
		hn_str_put_json(out, key, strlen(key));
		hn_str_puts(out, ": ");
		if (!put_value(out, value, depth + 1))
			return false;
	}
	if (!first)
		put_line(out, depth);
	hn_str_putc(out, '}');
	return true;
}

/* One element a line, as Python does. */
static bool
put_array(struct hn_str *out, json_t *array, int depth)
{
	const size_t n = json_array_size(array);

	hn_str_putc(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (i)
			hn_str_putc(out, ',');
		put_line(out, depth + 1);
		if (!put_value(out, json_array_get(array, i), depth + 1))
			return false;
	}
	if (n)
		put_line(out, depth);
	hn_str_putc(out, ']');
	return true;
}

/* False when the depth is above the limit; `out` is then worthless. */
static bool
put_value(struct hn_str *out, json_t *value, int depth)
{
	if (depth > DEPTH_MAX)
		return false;
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return put_object(out, value, depth);
	case JSON_ARRAY:
		return put_array(out, value, depth);
	case JSON_STRING:
		hn_str_put_json(out, json_string_value(value), json_string_length(value));
		return true;
	case JSON_INTEGER:
		hn_str_printf(out, "%lld", (long long)json_integer_value(value));
		return true;
	case JSON_REAL:
		put_real(out, json_real_value(value));
		return true;
	case JSON_TRUE:
	case JSON_FALSE:
		hn_str_puts(out, json_is_true(value) ? "true" : "false");
		return true;
	case JSON_NULL:
		break;
	}
	hn_str_puts(out, "null");
	return true;
}

/* The copy is shallow: only a member of the top level is replaced. */
enum hone_status
hn_model_config_render(const struct hn_model_config *config, const char *dtype, struct hn_str *out,
	struct hone_error *err)
{
	json_t *doc;
	bool is_done;

	if (config->has_rope_freqs)
		return hone_fail_at(err, HONE_EUNSUPPORTED, config->path, 0, 0,
			"its rope_freqs are of no scaling that config.json can name, so the model "
			"cannot be written as a Hugging Face folder; export an adapter instead");
	doc = json_copy(config->stored);
	if (dtype)
		(void)json_object_set_new(doc,
			json_object_get(doc, "dtype") ? "dtype" : "torch_dtype",
			json_string(dtype));
	is_done = put_value(out, doc, 0);
	json_decref(doc);
	if (!is_done)
		return hone_fail_at(err, HONE_EMODEL, config->path, 0, 0,
			"it is nested more than %d deep", DEPTH_MAX);
	hn_str_putc(out, '\n');
	return HONE_OK;
}
