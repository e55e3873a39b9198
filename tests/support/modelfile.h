/*
 * modelfile.h - model files made in memory, valid ones and ones with a fault in them.
 */
#ifndef HN_TEST_MODELFILE_H
#define HN_TEST_MODELFILE_H

#include <stdint.h>

#include "base/str.h"

/* Little-endian numbers and GGUF's strings, appended to `out`. */
void test_put_u8(struct hn_str *out, uint8_t value);
void test_put_u32(struct hn_str *out, uint32_t value);
void test_put_u64(struct hn_str *out, uint64_t value);
void test_put_f32(struct hn_str *out, float value);
void test_put_string(struct hn_str *out, const char *text);
/* Zeroes up to a multiple of `alignment`. */
void test_put_padding(struct hn_str *out, size_t alignment);

/* A safetensors file: the header's text and `n_data` bytes behind it. */
void test_put_safetensors(struct hn_str *out, const char *header, size_t n_data);

/* A GGUF header: magic, version, counts. */
void test_put_gguf(struct hn_str *out, uint32_t version, uint64_t n_tensors, uint64_t n_kv);
/* key, type; the value follows. */
void test_put_key(struct hn_str *out, const char *key, uint32_t type);
void test_put_kv_u32(struct hn_str *out, const char *key, uint32_t value);
void test_put_kv_f32(struct hn_str *out, const char *key, float value);
void test_put_kv_string(struct hn_str *out, const char *key, const char *value);
/* Tensor info; ne innermost first, ended by 0. */
void test_put_info(
	struct hn_str *out, const char *name, const uint64_t *ne, uint32_t type, uint64_t offset);

/* Writes the bytes to folder/name; fails the test when it cannot. */
char *test_write(const char *folder, const char *name, const void *bytes, size_t n);

#endif
