/*
 * fuzz_gguf.c - any bytes as a GGUF file, and its configuration.
 *
 * What is accepted must keep the reader's promises: tensors inside the file and apart from
 * each other, arrays that can be walked to their end.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf.h"
#include "model/hf_config.h"
#include "model/inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void
check(const struct hn_tensor_file *file, const uint8_t *bytes, size_t n)
{
	const uint8_t *end = bytes;

	for (size_t i = 0; i < file->n_tensors; i++) {
		const struct hn_tensor_info *tensor = &file->tensors[i];
		int64_t first;

		HONE_BUG_ON(tensor->bytes < end || tensor->bytes > bytes + n);
		HONE_BUG_ON(tensor->n_bytes > (uint64_t)(bytes + n - tensor->bytes));
		end = tensor->bytes + tensor->n_bytes;
		if (hn_storage_is_host(tensor->storage))
			(void)hn_tensor_count_nonfinite(tensor, &first);
	}
	for (size_t i = 0; i < file->n_metas; i++) {
		struct hn_meta_cursor cursor = {.array = &file->metas[i]};
		struct hn_meta_value value;

		while (hn_meta_next(&cursor, &value))
			continue;
		HONE_BUG_ON(cursor.idx != file->metas[i].n_elems);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct hn_tensor_file file = {0};
	struct hn_model_config config = {0};
	struct hone_error err = {0};
	struct hn_str text = {0};

	if (hn_gguf_parse(&file, bytes, n, "fuzz", &err)) {
		HONE_BUG_ON(err.status != HONE_EMODEL || !err.text[0]);
		return 0;
	}
	check(&file, bytes, n);
	hn_inspect_json(&file, NULL, &text);
	if (!hn_model_config_from_gguf(&config, &file, &err) &&
		!hn_model_config_render(&config, "bfloat16", &text, &err))
		HONE_BUG_ON(!text.len);
	hn_model_config_close(&config);
	hn_str_fini(&text);
	hn_tensor_file_close(&file);
	return 0;
}
