/*
 * fuzz_safetensors.c - any bytes as a safetensors file.
 *
 * What is accepted must keep the reader's promises: every tensor inside the file, of the bytes
 * that its shape asks for, and readable.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/inspect.h"
#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void
check(const struct hn_tensor_file *file, const uint8_t *bytes, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < file->n_tensors; i++) {
		const struct hn_tensor_info *tensor = &file->tensors[i];
		int64_t first;

		HONE_BUG_ON(tensor->bytes < bytes || tensor->bytes > bytes + n);
		HONE_BUG_ON(tensor->n_bytes > (uint64_t)(bytes + n - tensor->bytes));
		HONE_BUG_ON(hn_tensor_file_find(file, tensor->name) != tensor);
		sum += tensor->n_bytes;
		if (hn_storage_is_host(tensor->storage))
			(void)hn_tensor_count_nonfinite(tensor, &first);
	}
	HONE_BUG_ON(sum > n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct hn_tensor_file file = {0};
	struct hone_error err = {0};
	struct hn_str text = {0};

	if (hn_safetensors_parse(&file, bytes, n, "fuzz", &err)) {
		HONE_BUG_ON(err.status != HONE_EMODEL || !err.text[0]);
		return 0;
	}
	check(&file, bytes, n);
	hn_inspect_json(&file, NULL, &text);
	hn_inspect_text(&file, NULL, &text);
	hn_str_fini(&text);
	hn_tensor_file_close(&file);
	return 0;
}
