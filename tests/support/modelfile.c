/*
 * modelfile.c - model files made in memory.
 */
#include "modelfile.h"

#include <string.h>

#include "base/file.h"
#include "support.h"

static void
put(struct hn_str *out, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		hn_str_putc(out, (char)(value >> (8 * i) & 0xff));
}

void
test_put_u8(struct hn_str *out, uint8_t value)
{
	put(out, value, 1);
}

void
test_put_u32(struct hn_str *out, uint32_t value)
{
	put(out, value, 4);
}

void
test_put_u64(struct hn_str *out, uint64_t value)
{
	put(out, value, 8);
}

void
test_put_f32(struct hn_str *out, float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof bits);
	put(out, bits, 4);
}

void
test_put_string(struct hn_str *out, const char *text)
{
	put(out, strlen(text), 8);
	hn_str_puts(out, text);
}

void
test_put_padding(struct hn_str *out, size_t alignment)
{
	while (out->len % alignment)
		hn_str_putc(out, '\0');
}

void
test_put_safetensors(struct hn_str *out, const char *header, size_t n_data)
{
	test_put_string(out, header);
	for (size_t i = 0; i < n_data; i++)
		hn_str_putc(out, (char)(i & 0x3f));
}

void
test_put_gguf(struct hn_str *out, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
	hn_str_puts(out, "GGUF");
	put(out, version, 4);
	put(out, n_tensors, 8);
	put(out, n_kv, 8);
}

void
test_put_key(struct hn_str *out, const char *key, uint32_t type)
{
	test_put_string(out, key);
	put(out, type, 4);
}

void
test_put_kv_u32(struct hn_str *out, const char *key, uint32_t value)
{
	test_put_key(out, key, 4);
	put(out, value, 4);
}

void
test_put_kv_f32(struct hn_str *out, const char *key, float value)
{
	test_put_key(out, key, 6);
	test_put_f32(out, value);
}

void
test_put_kv_string(struct hn_str *out, const char *key, const char *value)
{
	test_put_key(out, key, 8);
	test_put_string(out, value);
}

void
test_put_info(
	struct hn_str *out, const char *name, const uint64_t *ne, uint32_t type, uint64_t offset)
{
	uint32_t rank = 0;

	while (ne[rank])
		rank++;
	test_put_string(out, name);
	put(out, rank, 4);
	for (uint32_t i = 0; i < rank; i++)
		put(out, ne[i], 8);
	put(out, type, 4);
	put(out, offset, 8);
}

char *
test_write(const char *folder, const char *name, const void *bytes, size_t n)
{
	struct hone_error err = {0};
	char *path = hn_path_join(folder, name);

	if (hn_file_replace(path, bytes, n, &err))
		fail_msg("%s: %s", path, err.text);
	return path;
}
