/*
 * fuzz_model_config.c - any text as a config.json.
 *
 * What is accepted can be written and read again.
 */
#include <stdint.h>

#include "model/hf_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct hn_model_config config = {0}, again = {0};
	struct hone_error err = {0};
	struct hn_str text = {0};
	int64_t ids[4];
	size_t n_ids;

	if (hn_model_config_parse(&config, (const char *)bytes, n, "fuzz", &err)) {
		HONE_BUG_ON(err.status != HONE_EMODEL || !err.text[0]);
		return 0;
	}
	(void)hn_config_i64s(&config, "eos_token_id", ids, 4, &n_ids, &err);
	if (!hn_model_config_render(&config, NULL, &text, &err))
		HONE_BUG_ON(hn_model_config_parse(&again, text.text, text.len, "again", &err));
	hn_str_fini(&text);
	hn_model_config_close(&config);
	hn_model_config_close(&again);
	return 0;
}
